"""Letters to a company about its apps, each a row until it is sent.

What a letter says is settled when it is sent, by the words of its kind: those about keys and purposes are here, a
slice above says what its own are (`wiring.py`).
"""

from __future__ import annotations

import json
from datetime import UTC
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import select, text

from portal import tray
from portal.companies.models import Company, CompanyLetter, Staff
from portal.companies.queries import VERIFIED
from portal.db import new_id
from portal.identity import queries as identity
from portal.tray import Letter, Tray

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import Row
    from sqlalchemy.orm import Session

    from portal.companies.models import Client
    from portal.config import Settings

    # Returns what is filled into which template, None when what the letter is about is over.
    Wording = Callable[[Session, Row[Any], Settings], "Words | None"]

ADDED, HELD, IN_USE = "key_added", "key_held", "key_in_use"
SIGNING_ADDED = "signing_key_added"
PURPOSE_LIVE, PURPOSE_SENT_BACK = "purpose_live", "purpose_sent_back"
PURPOSE_TAKEN_DOWN = "purpose_taken_down"
_SHOWN = 10
_OWNER = "owner"
# An app that comes and goes is not written about each time: its company can have it come and go as it likes.
_WRITE = text(f"""
    INSERT INTO company_letter (letter_id, company_id, client_id, person_id, kind, about, once, written_at, due_at)
    SELECT :letter_id, c.company_id, c.client_id, o.person_id, CAST(:kind AS text), CAST(:about AS jsonb), :once,
           clock_timestamp(), clock_timestamp()
      FROM client c
      JOIN company co ON co.company_id = c.company_id
      LEFT JOIN LATERAL (
          SELECT person_id FROM staff WHERE company_id = c.company_id AND role = '{_OWNER}' AND co.state <> '{VERIFIED}'
           ORDER BY person_id LIMIT 1) o ON true
     WHERE c.client_id = :client_id AND (co.state = '{VERIFIED}' OR o.person_id IS NOT NULL)
       AND :most > (SELECT count(*) FROM company_letter l
                     WHERE l.client_id = c.client_id AND l.kind = CAST(:kind AS text)
                       AND l.written_at > clock_timestamp() - interval '24 hours')
        ON CONFLICT DO NOTHING RETURNING letter_id
""")  # noqa: S608 - put together from constants
# What could not be sent within a day is news no longer.  The lease runs by the database's clock.
_DUE: Final = "sent_at IS NULL AND due_at <= clock_timestamp() AND written_at > clock_timestamp() - interval '24 hours'"
_CLAIM = text(f"""
    UPDATE company_letter SET due_at = clock_timestamp() + interval '5 minutes'
     WHERE letter_id = (SELECT letter_id FROM company_letter WHERE {_DUE} ORDER BY due_at LIMIT 1
                           FOR UPDATE SKIP LOCKED)
    RETURNING letter_id, company_id, client_id, person_id, kind, about
""")  # noqa: S608 - put together from constants
_ANY_DUE = text(f"SELECT EXISTS (SELECT 1 FROM company_letter WHERE {_DUE})")  # noqa: S608 - put together from constants
_SENT = text("UPDATE company_letter SET sent_at = clock_timestamp() WHERE letter_id = :letter_id")
_DROP = text("DELETE FROM company_letter WHERE letter_id = :letter_id")
_FORGET = text("DELETE FROM company_letter WHERE written_at < clock_timestamp() - interval '400 days'")


class Words(NamedTuple):
    """A folder of `templates/mail`, and what is filled in."""

    template: str
    values: Mapping[str, object]


def write(
    session: Session, *, company_id: UUID, client_id: str, kind: str, about: Mapping[str, str], now: datetime
) -> None:
    """Keep a letter about a client for each who is to get it, and have them sent once `session` has committed.

    The contact address of a company that nobody has checked may be a stranger's: it gets none.
    """
    company = session.get_one(Company, company_id)
    owners = session.scalars(select(Staff.person_id).where(Staff.company_id == company_id, Staff.role == _OWNER))
    readers: list[UUID | None] = [*owners, *([None] if company.state == VERIFIED else [])]
    session.add_all(
        CompanyLetter(
            company_id=company_id, client_id=client_id, person_id=person_id, kind=kind, written_at=now, due_at=now,
            about={"company": company.trading_name, **about},
        )
        for person_id in readers
    )  # fmt: skip
    session.flush()
    TRAY.ring(session)


def write_once(session: Session, *, client_id: str, kind: str, about: Mapping[str, str], once: str, most: int) -> None:
    """Keep a letter to a client's contact address, unless one is there that is `once` too, and have it sent.

    At most `most` of a kind are written about a client in a day.  Of a company that nobody has checked an owner gets
    it, if there is one.
    """
    named = {"client_id": client_id, "kind": kind, "about": json.dumps(about), "once": once, "most": most}
    if session.execute(_WRITE, named | {"letter_id": new_id()}).one_or_none() is not None:
        TRAY.ring(session)


def of_keys(session: Session, client: Client, kind: str, *, kids: Sequence[str], at: datetime, now: datetime) -> None:
    """Write a letter about encryption keys of a client; `at` is when what it says happens."""
    about = {
        "app": client.name, "client_id": client.client_id, "keys": ", ".join(kids),
        "at": moment(at), "live": client.environment,
    }  # fmt: skip
    write(session, company_id=client.company_id, client_id=client.client_id, kind=kind, about=about, now=now)


def moment(at: datetime) -> str:
    """Return a moment as letters to a company say it, which may read them anywhere."""
    return f"{at.astimezone(UTC):%d %B %Y, %H:%M} UTC"


def word(kinds: Iterable[str], wording: Wording) -> None:
    """Say how letters of these kinds are worded."""
    _WORDINGS.update(dict.fromkeys(kinds, wording))


def forget(session: Session) -> None:
    """Forget what was written more than a year ago."""
    session.execute(_FORGET)


def sent(session: Session, *, client_id: str, kinds: Iterable[str]) -> Sequence[CompanyLetter]:
    """Return the latest ten letters of some kinds that have been sent about a client, newest first."""
    mine = select(CompanyLetter).where(
        CompanyLetter.client_id == client_id, CompanyLetter.kind.in_(kinds), CompanyLetter.sent_at.is_not(None)
    )
    return session.scalars(mine.order_by(CompanyLetter.sent_at.desc()).limit(_SHOWN)).all()


def _as_kept(_session: Session, row: Row[Any], _settings: Settings) -> Words:
    return Words(row.kind, row.about)


_WORDINGS: dict[str, Wording] = dict.fromkeys(
    (ADDED, HELD, IN_USE, SIGNING_ADDED, PURPOSE_LIVE, PURPOSE_SENT_BACK, PURPOSE_TAKEN_DOWN), _as_kept
)


def _worded(session: Session, settings: Settings, row: Row[Any]) -> Letter | None:
    address = _address(session, settings, row)
    words = _WORDINGS[row.kind](session, row, settings)
    if not address or words is None:
        return None
    return tray.letter(settings, to=address, template=words.template, once=row.letter_id.hex, **words.values)


def _address(session: Session, settings: Settings, row: Row[Any]) -> str | None:
    """Return whom a letter goes to; None when there is nobody left."""
    if row.person_id is None:
        return session.get_one(Company, row.company_id).contact_email
    return identity.address_of(session, settings, person_id=row.person_id)


def _done(session: Session, row: Row[Any], sent: bool) -> None:  # noqa: FBT001 - as a tray says it
    session.execute(_SENT if sent else _DROP, {"letter_id": row.letter_id})


TRAY: Final = Tray(
    job="portal.companies.jobs.send_letters",
    about="a letter to a company",
    pending=tray.any_of(_ANY_DUE),
    take=tray.one_of(_CLAIM),
    word=_worded,
    done=_done,
)

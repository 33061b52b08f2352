"""Letters to a company: to its contact address, once it has been checked, and to every owner's own.

They are kept with what they are about and sent by the mail worker; one that was sent is deleted, and one whose sender
died is sent again.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import delete, func, select, text

from portal import config, db, mail, queue
from portal.companies.models import Company, CompanyLetter, Staff
from portal.identity import queries as identity
from portal.vault import keyring as keyrings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.orm import Session

    from portal.companies.models import Client
    from portal.config import Settings
    from portal.vault.keyring import Keyring

log = logging.getLogger(__name__)

SEND: Final = "portal.companies.jobs.send_letters"
ADDED, HELD, IN_USE = "key_added", "key_held", "key_in_use"
SIGNING_ADDED = "signing_key_added"
_AT_ONCE: Final = 20
_LEASE: Final = timedelta(minutes=5)
_MOST_TRIES: Final = 50
_OWNER, _CHECKED = "owner", "verified"
# The lease runs by the database's clock.
_CLAIM = text("""
    UPDATE company_letter SET due_at = clock_timestamp() + :lease, attempts = attempts + 1
     WHERE letter_id IN (SELECT letter_id FROM company_letter WHERE due_at <= clock_timestamp()
                          ORDER BY due_at LIMIT :most FOR UPDATE SKIP LOCKED)
    RETURNING letter_id, company_id, person_id, template, about, attempts
""")


@dataclass(frozen=True, kw_only=True)
class _Letter:
    """A letter that has been taken to be sent; without an address there is nobody left to send it to."""

    letter_id: UUID
    address: str | None = field(repr=False)
    template: str
    about: Mapping[str, str]


def write(session: Session, *, company_id: UUID, template: str, about: Mapping[str, str], now: datetime) -> None:
    """Keep a letter for each who is to get it, and have them sent once `session` has committed.

    The contact address of a company that nobody has checked may be a stranger's: it gets none.
    """
    company = session.get_one(Company, company_id)
    owners = session.scalars(select(Staff.person_id).where(Staff.company_id == company_id, Staff.role == _OWNER))
    readers: list[UUID | None] = [*owners, *([None] if company.state == _CHECKED else [])]
    session.add_all(
        CompanyLetter(
            company_id=company_id, person_id=person_id, template=template, written_at=now, due_at=now,
            about={"company": company.trading_name, **about},
        )
        for person_id in readers
    )  # fmt: skip
    session.flush()
    queue.ring_once_after_commit(session, config.current().redis_url, queue.MAIL, SEND)


def of_keys(
    session: Session, client: Client, template: str, *, kids: Sequence[str], at: datetime, now: datetime
) -> None:
    """Write a letter about encryption keys of a client; `at` is when what it says happens."""
    about = {
        "app": client.name, "client_id": client.client_id, "keys": ", ".join(kids),
        "at": f"{at:%d %B %Y, %H:%M} UTC", "live": "live" if client.environment == "live" else "test",
    }  # fmt: skip
    write(session, company_id=client.company_id, template=template, about=about, now=now)


def send_due(settings: Settings) -> int:
    """Send letters that are due and return how many were taken; none is under way twice within five minutes."""
    keyring = keyrings.load(settings.keyring_file)
    with db.transaction(settings.database_url) as session:
        taken = _take(session, keyring)
    return sum(_sent(settings, letter) for letter in taken)


def due(session: Session) -> bool:
    """Say whether a letter waits for somebody to send it; one that was tried too often is given up."""
    session.execute(delete(CompanyLetter).where(CompanyLetter.attempts >= _MOST_TRIES))
    waiting = select(CompanyLetter.letter_id).where(CompanyLetter.due_at <= func.clock_timestamp()).limit(1)
    return session.scalar(waiting) is not None


def _take(session: Session, keyring: Keyring) -> list[_Letter]:
    rows = session.execute(_CLAIM, {"lease": _LEASE, "most": _AT_ONCE}).all()
    theirs = select(Company.company_id, Company.contact_email)
    found = session.execute(theirs.where(Company.company_id.in_({row.company_id for row in rows})))
    contacts = {row.company_id: row.contact_email for row in found}
    return [
        _Letter(
            letter_id=row.letter_id, template=row.template, about=row.about,
            address=contacts[row.company_id] if row.person_id is None
            else identity.email_of(session, keyring=keyring, person_id=row.person_id),
        )
        for row in rows
    ]  # fmt: skip


def _sent(settings: Settings, letter: _Letter) -> bool:
    if letter.address:
        subject, body = mail.compose(
            letter.template, service_name=settings.service_name, url=settings.url, **letter.about
        )
        try:
            mail.send(settings, to=letter.address, subject=subject, body=body, reference=letter.letter_id.hex)
        except mail.MailNotSentError as error:
            log.warning("a letter to a company was not taken: %s", error.private)
            return False
    with db.transaction(settings.database_url) as session:
        session.execute(delete(CompanyLetter).where(CompanyLetter.letter_id == letter.letter_id))
    return True

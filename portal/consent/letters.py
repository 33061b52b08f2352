"""Letters to a person about what they agreed to, changed and stopped, each a row until it is sent.

A letter names details and holds none of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import insert, text

from portal import tray
from portal.companies import queries as companies
from portal.consent import numbers
from portal.consent.models import ConsentLetter, Grant, GrantVersion
from portal.consumer.catalogue import label
from portal.identity import queries as identity
from portal.tray import Letter, Tray

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Row
    from sqlalchemy.orm import Session

    from portal.config import Settings

# What each of the steps that are written about is called in its letter.
SUBJECTS: Final = {
    "given": "You share with {}",
    "accepted": "You share with {}: they agreed to what you offered",
    "declined": "{} did not agree to what you offered",
    "changed": "You changed what {} gets",
    "renewed": "You go on sharing with {}",
    "withdrawn": "You stopped sharing with {}",
    "ended": "{} ended your sharing",
    "taken-down": "We ended your sharing with {}: they may not use details for this any more",
    "expired": "Your sharing with {} is over",
    "invalidated": "Your sharing with {} was declared void",
}
# What could not be sent within three days is news no longer: the page says the same at any time.
_DUE: Final = "sent_at IS NULL AND due_at <= clock_timestamp() AND written_at > clock_timestamp() - interval '3 days'"
_CLAIM = text(f"""
    UPDATE consent_letter SET due_at = clock_timestamp() + interval '5 minutes'
     WHERE (person_id, grant_id, version) = (
           SELECT person_id, grant_id, version FROM consent_letter WHERE {_DUE} ORDER BY due_at LIMIT 1
              FOR UPDATE SKIP LOCKED)
    RETURNING person_id, grant_id, version
""")  # noqa: S608 - put together from constants
_ANY_DUE = text(f"SELECT EXISTS (SELECT 1 FROM consent_letter WHERE {_DUE})")  # noqa: S608 - put together from constants
_THIS = "WHERE person_id = :person_id AND grant_id = :grant_id AND version = :version"
_SENT = text(f"UPDATE consent_letter SET sent_at = clock_timestamp() {_THIS}")  # noqa: S608 - put together from constants
_DROP = text(f"DELETE FROM consent_letter {_THIS}")  # noqa: S608 - put together from constants
_FORGET = text("DELETE FROM consent_letter WHERE written_at < clock_timestamp() - interval '30 days'")


def owe(session: Session, grant: Grant, step: str, *, at: datetime) -> None:
    """Keep that a person is to be written to about the step just taken, and have it sent after the commit."""
    if step not in SUBJECTS:
        return
    key = {"person_id": grant.person_id, "grant_id": grant.grant_id, "version": grant.version}
    session.execute(insert(ConsentLetter).values(**key, written_at=at, due_at=at))
    TRAY.ring(session)


def forget(session: Session) -> None:
    """Forget what was written a month ago."""
    session.execute(_FORGET)


def _worded(session: Session, settings: Settings, row: Row[Any]) -> Letter | None:
    held = session.get(Grant, (row.person_id, row.grant_id))
    version = session.get(GrantVersion, (row.person_id, row.grant_id, row.version))
    address = identity.address_of(session, settings, person_id=row.person_id)
    if held is None or version is None or not address:
        return None
    once = f"consent {row.person_id} {row.grant_id} {row.version}"
    return tray.letter(settings, to=address, template="consent", once=once, **_values(session, held, version))


def _values(session: Session, held: Grant, version: GrantVersion) -> dict[str, object]:
    client = companies.client(session, held.client_id)
    purpose = companies.purpose(session, held.purpose_id, version=held.purpose_version)
    company = companies.company(session, slug=client.company_slug) if client else None
    name = client.company_name if client else "An organisation that has left"
    return {
        "subject": SUBJECTS[version.step].format(name),
        "company": name,
        "contact": company.contact_email if company else "",
        "sentence": purpose.sentence if purpose else "",
        "details": [label(each) for each in version.attributes],
        "until": version.expires_at,
        "live": version.state in {"active", "paused"},
        "grant_id": held.grant_id,
        "number": numbers.of(held.grant_id, version.version, held.given_at.year),
    }


def _done(session: Session, row: Row[Any], sent: bool) -> None:  # noqa: FBT001 - as a tray says it
    session.execute(_SENT if sent else _DROP, row._asdict())


TRAY: Final = Tray(
    job="portal.consent.jobs.send_letters",
    about="a letter about a consent",
    pending=tray.any_of(_ANY_DUE),
    take=tray.one_of(_CLAIM),
    word=_worded,
    done=_done,
)

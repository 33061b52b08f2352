"""Letters to a person about what they agreed to, changed and stopped: each is a row, leased by one sender.

A sender that dies leaves its lease to run out, and the letter is sent again under the same Message-ID (RFC 5322
section 3.6.4).  A letter names details and holds none of them.
"""

from __future__ import annotations

import hashlib
import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import insert, text

from portal import config, db, mail, queue
from portal.companies import queries as companies
from portal.consent import numbers
from portal.consent.models import ConsentLetter, Grant, GrantVersion
from portal.consumer.catalogue import label
from portal.identity import queries as identity
from portal.vault import keyring as keyrings

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Row, TextClause
    from sqlalchemy.orm import Session

    from portal.config import Settings
    from portal.vault.keyring import Keyring

log = logging.getLogger(__name__)

SEND: Final = "portal.consent.jobs.send_letters"
# What each of the steps that are written about is called in its letter.
SUBJECTS: Final = {
    "given": "You share with {}",
    "accepted": "You share with {}: they agreed to what you offered",
    "declined": "{} did not agree to what you offered",
    "changed": "You changed what {} gets",
    "renewed": "You go on sharing with {}",
    "withdrawn": "You stopped sharing with {}",
    "ended": "{} ended your sharing",
    "expired": "Your sharing with {} is over",
    "invalidated": "Your sharing with {} was declared void",
}
_LONGEST_SECONDS: Final = 20
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


@dataclass(frozen=True, kw_only=True)
class _Letter:
    """A letter that has been taken to be sent; `key` finds its row again."""

    key: dict[str, Any]
    address: str = field(repr=False)
    subject: str
    body: str = field(repr=False)


def owe(session: Session, grant: Grant, step: str, *, at: datetime) -> None:
    """Keep that a person is to be written to about the step just taken, and have it sent after the commit."""
    if step not in SUBJECTS:
        return
    key = {"person_id": grant.person_id, "grant_id": grant.grant_id, "version": grant.version}
    session.execute(insert(ConsentLetter).values(**key, written_at=at, due_at=at))
    queue.ring_once_after_commit(session, config.current().redis_url, queue.WORK, SEND)


def send_due(settings: Settings) -> int:
    """Send letters that are due and return how many went; none is under way twice within five minutes."""
    keyring, ends, sent = keyrings.load(settings.keyring_file), time.monotonic() + _LONGEST_SECONDS, 0
    while settings.smtp_url and time.monotonic() < ends:
        with db.transaction(settings.database_url) as session:
            row = session.execute(_CLAIM).one_or_none()
            letter = _worded(settings, session, keyring, row) if row else None
            if row and letter is None:
                session.execute(_DROP, _key(row))
        if row is None:
            break
        # The database is not held while a mail server takes its time.
        sent += letter is not None and _send(settings, letter)
    return sent


def due(session: Session) -> bool:
    """Say whether a letter waits for somebody to send it."""
    return bool(session.scalar(_ANY_DUE))


def forget(session: Session) -> None:
    """Forget what was written a month ago."""
    session.execute(_FORGET)


def _worded(settings: Settings, session: Session, keyring: Keyring, row: Row[Any]) -> _Letter | None:
    held = session.get(Grant, (row.person_id, row.grant_id))
    version = session.get(GrantVersion, (row.person_id, row.grant_id, row.version))
    address = identity.email_of(session, keyring=keyring, person_id=row.person_id)
    if held is None or version is None or not address:
        return None
    subject, body = mail.compose("consent", **_values(settings, session, held, version))
    return _Letter(key=_key(row), address=address, subject=subject, body=body)


def _values(settings: Settings, session: Session, held: Grant, version: GrantVersion) -> dict[str, object]:
    client = companies.client(session, held.client_id)
    purpose = companies.purpose(session, held.purpose_id, version=held.purpose_version)
    company = companies.company(session, slug=client.company_slug) if client else None
    name = client.company_name if client else "An organisation that has left"
    return {
        "service_name": settings.service_name,
        "url": settings.url,
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


def _key(row: Row[Any]) -> dict[str, Any]:
    return {"person_id": row.person_id, "grant_id": row.grant_id, "version": row.version}


def _send(settings: Settings, letter: _Letter) -> bool:
    # The same if a job dies before it is noted, and nobody's id.
    named = " ".join(str(part) for part in letter.key.values())
    reference = hashlib.sha256(f"consent {named}".encode()).hexdigest()[:32]
    try:
        mail.send(settings, to=letter.address, subject=letter.subject, body=letter.body, reference=reference)
    except mail.MailNotSentError as error:
        log.warning("a letter about a consent was not taken: %s", error.private)
        if error.for_good:
            _note(settings, _DROP, letter)
        return False
    _note(settings, _SENT, letter)
    return True


def _note(settings: Settings, statement: TextClause, letter: _Letter) -> None:
    with db.transaction(settings.database_url) as session:
        session.execute(statement, letter.key)

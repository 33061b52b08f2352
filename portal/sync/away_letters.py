"""Letters to people whose details an organisation no longer takes: one a person and day, whoever it is.

An hour lies before the first, so that what is turned on again at once, or goes off with others, makes no letter or
one.  Rows are made in steps and handed to the mail server under a lease; nothing of a person's is in a row.
"""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from portal import db, mail
from portal.identity import queries as identity
from portal.sync import away
from portal.vault import keyring as keyrings

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.orm import Session

    from portal.config import Settings

log = logging.getLogger(__name__)

TELL_PEOPLE: Final = "portal.sync.jobs.tell_people"
STEP: Final = 1000
_AT_ONCE = 20
_OFF = "state = 'disabled' AND disabled_at <= now() - interval '1 hour' AND people_told_at IS NULL"
_UNSENT = """sent_at IS NULL AND about > now() - interval '7 days'
       AND (leased_until IS NULL OR leased_until <= clock_timestamp())
       AND (last_sent_at IS NULL OR last_sent_at <= now() - interval '24 hours')"""
_PENDING = text(f"""
    SELECT EXISTS (SELECT 1 FROM stream WHERE {_OFF}) OR EXISTS (SELECT 1 FROM away_letter WHERE {_UNSENT})
""")  # noqa: S608 - put together from constants
_NEXT = text(f"""
    SELECT stream_id, client_id, disabled_at, people_told_after FROM stream WHERE {_OFF}
     ORDER BY disabled_at LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED
""")  # noqa: S608 - put together from constants
_SPREAD = text("""
    WITH part AS (
        SELECT DISTINCT person_id FROM "grant"
         WHERE client_id = :client_id AND state = 'active' AND mode = 'kept-up-to-date'
           AND (CAST(:after AS uuid) IS NULL OR person_id > :after)
         ORDER BY person_id LIMIT :step),
    told AS (
        INSERT INTO away_letter AS l (person_id, about)
        SELECT person_id, CAST(:about AS timestamptz) FROM part ORDER BY person_id
            ON CONFLICT (person_id) DO UPDATE SET about = excluded.about, sent_at = NULL, leased_until = NULL
         WHERE l.about < excluded.about)
    SELECT person_id FROM part ORDER BY person_id
""")
_STEPPED = text("""
    UPDATE stream SET people_told_after = COALESCE(:after, people_told_after),
                      people_told_at = CASE WHEN :more THEN NULL ELSE clock_timestamp() END
     WHERE stream_id = :stream_id
""")
_TAKE = text(f"""
    UPDATE away_letter SET leased_until = clock_timestamp() + interval '5 minutes'
     WHERE person_id IN (SELECT person_id FROM away_letter WHERE {_UNSENT}
                          ORDER BY about, person_id LIMIT :at_once FOR UPDATE SKIP LOCKED)
    RETURNING person_id, about
""")  # noqa: S608 - put together from constants
# An organisation that went away meanwhile is another letter's.
_DONE = text("""
    UPDATE away_letter SET sent_at = clock_timestamp(), leased_until = NULL,
                           last_sent_at = CASE WHEN :sent THEN clock_timestamp() ELSE last_sent_at END
     WHERE person_id = :person_id AND about = :about
""")


def pending(session: Session) -> bool:
    """Say whether somebody is to be written to."""
    return bool(session.scalar(_PENDING))


def spread(session: Session) -> bool:
    """Note the next people of an endpoint that was turned off; False when there are no more."""
    stream = session.execute(_NEXT).one_or_none()
    if stream is None:
        return False
    values = {"client_id": stream.client_id, "about": stream.disabled_at, "after": stream.people_told_after}
    people = list(session.scalars(_SPREAD, values | {"step": STEP}))
    last = people[-1] if people else None
    session.execute(_STEPPED, {"stream_id": stream.stream_id, "after": last, "more": len(people) == STEP})
    return True


def send_some(settings: Settings) -> bool:
    """Send a few letters; False when none is left to send now, or the mail server is away."""
    with db.transaction(settings.database_url) as session:
        taken = session.execute(_TAKE, {"at_once": _AT_ONCE}).all()
    try:
        for person_id, about in taken:
            _send(settings, person_id, about)
    except mail.MailNotSentError as error:
        log.warning("letters to people wait: %s", error.private)
        return False
    return bool(taken)


def _send(settings: Settings, person_id: UUID, about: datetime) -> None:
    keyring = keyrings.load(settings.keyring_file)
    with db.transaction(settings.database_url) as session:
        still = away.of_person(session, person_id=person_id)
        email = identity.email_of(session, keyring=keyring, person_id=person_id) if still else None
    try:
        sent = email is not None and _hand_over(settings, email, person_id, about)
    except mail.MessageRefusedError as error:
        log.warning("a letter to a person was refused: %s", error.private)
        if not error.for_good:
            # It is tried again when its lease is over; the others wait for none of it.
            return
        sent = False
    with db.transaction(settings.database_url) as session:
        session.execute(_DONE, {"person_id": person_id, "about": about, "sent": sent})


def _hand_over(settings: Settings, email: str, person_id: UUID, about: datetime) -> bool:
    subject, body = mail.compose("away", service_name=settings.service_name, url=settings.url)
    # The same if a job dies before it is noted, and nobody's id.
    reference = hashlib.sha256(f"away {person_id} {about.isoformat()}".encode()).hexdigest()[:32]
    return mail.send(settings, to=email, subject=subject, body=body, reference=reference)

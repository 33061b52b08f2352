"""Letters to people whose details an organisation no longer takes: one a person and day, whoever it is.

An hour lies before the first, so that what is turned on again at once, or goes off with others, makes no letter or
one.  Rows are made in steps and handed to the mail server under a lease; nothing of a person's is in a row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text

from portal import tray
from portal.identity import queries as identity
from portal.sync import away
from portal.tray import Letter, Tray

if TYPE_CHECKING:
    from sqlalchemy import Row
    from sqlalchemy.orm import Session

    from portal.config import Settings

STEP: Final = 1000
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
     WHERE person_id = (SELECT person_id FROM away_letter WHERE {_UNSENT}
                         ORDER BY about, person_id LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING person_id, about
""")  # noqa: S608 - put together from constants
# An organisation that went away meanwhile is another letter's.
_DONE = text("""
    UPDATE away_letter SET sent_at = clock_timestamp(), leased_until = NULL,
                           last_sent_at = CASE WHEN :sent THEN clock_timestamp() ELSE last_sent_at END
     WHERE person_id = :person_id AND about = :about
""")


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


def _worded(session: Session, settings: Settings, row: Row[Any]) -> Letter | None:
    still = away.of_person(session, person_id=row.person_id)
    email = identity.address_of(session, settings, person_id=row.person_id) if still else None
    once = f"away {row.person_id} {row.about.isoformat()}"
    return tray.letter(settings, to=email, template="away", once=once) if email else None


def _done(session: Session, row: Row[Any], sent: bool) -> None:  # noqa: FBT001 - as a tray says it
    session.execute(_DONE, row._asdict() | {"sent": sent})


TRAY: Final = Tray(
    job="portal.sync.jobs.tell_people",
    about="a letter to a person",
    pending=tray.any_of(_PENDING),
    take=tray.one_of(_TAKE),
    word=_worded,
    done=_done,
)

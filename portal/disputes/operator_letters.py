"""The letter to operators that a question waits for them: whose, and about whom, stands in the portal alone.

Each has one at most that waits, and one in six hours at most: what comes meanwhile is told with the next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text

from portal import tray
from portal.disputes import queries
from portal.identity import queries as identity
from portal.tray import Letter, Tray

if TYPE_CHECKING:
    from sqlalchemy import Row
    from sqlalchemy.orm import Session

    from portal.config import Settings

_APART: Final = "interval '6 hours'"
_OWE = text(f"""
    INSERT INTO operator_letter AS l (person_id, asked_at, due_at)
    SELECT person_id, clock_timestamp(), clock_timestamp() FROM operator ORDER BY person_id
        ON CONFLICT (person_id) DO UPDATE
       SET asked_at = excluded.asked_at, due_at = COALESCE(l.due_at, GREATEST(excluded.due_at, l.told_at + {_APART}))
""")  # noqa: S608 - put together from constants
_ANY_DUE = text("SELECT EXISTS (SELECT 1 FROM operator_letter WHERE due_at <= clock_timestamp())")
_CLAIM = text("""
    UPDATE operator_letter SET due_at = clock_timestamp() + interval '5 minutes'
     WHERE person_id = (SELECT person_id FROM operator_letter WHERE due_at <= clock_timestamp() ORDER BY due_at
                         LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING person_id, asked_at
""")
# What came since this one was taken is another letter's.
_DONE = text(f"""
    UPDATE operator_letter
       SET told_at = CASE WHEN :sent THEN clock_timestamp() ELSE told_at END,
           due_at = CASE WHEN asked_at = :asked_at THEN NULL WHEN :sent THEN clock_timestamp() + {_APART}
                         ELSE clock_timestamp() END
     WHERE person_id = :person_id
""")  # noqa: S608 - put together from constants


def owe(session: Session) -> None:
    """Have every operator written to that a question waits, once `session` has committed."""
    session.execute(_OWE)
    TRAY.ring(session)


def _worded(session: Session, settings: Settings, row: Row[Any]) -> Letter | None:
    if not queries.escalated(session) or not identity.is_operator(session, person_id=row.person_id):
        return None
    address = identity.address_of(session, settings, person_id=row.person_id)
    once = f"operator {row.person_id} {row.asked_at.isoformat()}"
    return tray.letter(settings, to=address, template="operator_waits", once=once) if address else None


def _done(session: Session, row: Row[Any], sent: bool) -> None:  # noqa: FBT001 - as a tray says it
    session.execute(_DONE, row._asdict() | {"sent": sent})


TRAY: Final = Tray(
    job="portal.disputes.jobs.tell_operators",
    about="a letter to an operator",
    pending=tray.any_of(_ANY_DUE),
    take=tray.one_of(_CLAIM),
    word=_worded,
    done=_done,
)

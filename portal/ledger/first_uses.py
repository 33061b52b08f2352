"""The first time that an organisation gets any of a person's details: they are told at once, and once.

What was logged since the last look is known by the database's snapshots, as for the log itself
(docs/decisions/0020-the-log-grows-by-snapshots.md): whoever logs waits for nothing and writes nothing more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import select, text

from portal.ledger.models import FirstUse
from portal.ledger.sequencer import Snapshot

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.orm import Session

_UNSEEN: Final = "({row}.written_by >= :next OR {row}.written_by = ANY(CAST(:running AS bigint[])))"
_LOOK = text("""
    SELECT seen, CAST(pg_current_snapshot() AS text) AS seeing FROM first_use_watch FOR UPDATE SKIP LOCKED
""")
# What may have arrived counts.  Nobody is written to about what is long past: it came from elsewhere.
_NOTE = text(f"""
    WITH fresh AS (
        SELECT d.person_id, d.at, d.disclosure_id, d.context_id
          FROM disclosure d WHERE d.outcome = 'completed' AND d.given <> '{{}}' AND {_UNSEEN.format(row="d")}
        UNION ALL
        SELECT d.person_id, d.at, d.disclosure_id, d.context_id
          FROM disclosure_outcome o
          JOIN disclosure d ON (d.person_id, d.at, d.disclosure_id) = (o.person_id, o.at, o.disclosure_id)
         WHERE o.outcome IN ('completed', 'unknown') AND d.given <> '{{}}' AND {_UNSEEN.format(row="o")}),
    noted AS (
        INSERT INTO first_use (person_id, company_id, at, disclosure_id, told_at)
        SELECT DISTINCT ON (f.person_id, x.company_id) f.person_id, x.company_id, f.at, f.disclosure_id,
               CASE WHEN f.at < clock_timestamp() - interval '1 day' THEN clock_timestamp() END
          FROM fresh f JOIN disclosure_context x ON x.context_id = f.context_id
         ORDER BY f.person_id, x.company_id, f.at
            ON CONFLICT DO NOTHING),
    looked AS (UPDATE first_use_watch SET seen = CAST(pg_current_snapshot() AS text))
    SELECT
""")  # noqa: S608 - put together from constants
_AFRESH = text("UPDATE first_use_watch SET seen = CAST(pg_current_snapshot() AS text)")
# After a day a letter would say nothing that the list does not.
_WAITING: Final = """told_at IS NULL AND at > clock_timestamp() - interval '1 day'
       AND (leased_until IS NULL OR leased_until <= clock_timestamp())"""
_PENDING = text(f"SELECT EXISTS (SELECT FROM first_use WHERE {_WAITING})")  # noqa: S608 - a constant
_TAKE = text(f"""
    UPDATE first_use SET leased_until = clock_timestamp() + interval '5 minutes'
     WHERE {_WAITING} AND person_id = (
        SELECT person_id FROM first_use WHERE {_WAITING} ORDER BY at LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING person_id
""")  # noqa: S608 - a constant
_TOLD = text("""
    UPDATE first_use SET told_at = clock_timestamp(), leased_until = NULL
     WHERE person_id = :person_id AND told_at IS NULL AND leased_until IS NOT NULL
""")


def look(session: Session) -> None:
    """Note the first uses among what was logged since the last look; nothing where somebody else is at it."""
    watch = session.execute(_LOOK).one_or_none()
    if watch is None:
        return
    before = Snapshot.read(watch.seen)
    if Snapshot.read(watch.seeing).next < before.next:
        # The database was restored, or moved, and counts its transactions anew.
        session.execute(_AFRESH)
    else:
        session.execute(_NOTE, before._asdict())


def of_person(session: Session, *, person_id: UUID) -> set[UUID]:
    """Return the rows of a person's log with which an organisation got details of theirs for the first time."""
    return set(session.scalars(select(FirstUse.disclosure_id).where(FirstUse.person_id == person_id)))


def pending(session: Session) -> bool:
    """Say whether somebody is to be written to."""
    return bool(session.scalar(_PENDING))


def take(session: Session) -> UUID | None:
    """Take a person to write to, for five minutes; None when nobody is left."""
    return session.scalars(_TAKE).first()


def told(session: Session, *, person_id: UUID) -> None:
    """Note that a person was written to about all that was taken of theirs."""
    session.execute(_TOLD, {"person_id": person_id})

"""Sending many deliveries again: counted and shown first, then worked through by a job in steps.

A replay makes rows due and sends nothing itself, so the endpoint's own rate holds.  Its lease runs out when its
worker dies; the reconciler then rings, and the next one goes on behind the last step that was committed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import select, text, update

from portal import config, db, faults, queue
from portal.errors import RefusedError
from portal.sync import services, statements
from portal.sync.models import Replay

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.orm import Session

RUN_REPLAY: Final = "portal.sync.jobs.run_replay"
FAILED: Final = "failed"
MISSING: Final = "missing"
SCOPES: Final = (FAILED, MISSING)
STEP: Final = 500
_LEASE_SECONDS = 60

# Owed, and an attempt of it has failed since then.  What arrived afterwards is owed no longer.
_FAILED = """
    SELECT d.person_id, d.grant_id, d.client_id FROM delivery d
     WHERE d.client_id = :client_id AND d.generation > d.acked_generation
       AND EXISTS (SELECT 1 FROM attempt a WHERE a.client_id = :client_id AND a.person_id = d.person_id
                      AND a.grant_id = d.grant_id AND a.at >= :since AND a.outcome <> 'completed')"""
# Every sharing that is kept up to date and has not got the newest: never told, or owed something.
_MISSING = """
    SELECT g.person_id, g.grant_id, g.client_id FROM "grant" g
      LEFT JOIN delivery d ON d.person_id = g.person_id AND d.grant_id = g.grant_id
     WHERE g.client_id = :client_id AND g.state = 'active' AND g.mode = 'kept-up-to-date'
       AND CAST(:since AS timestamptz) IS NOT NULL
       AND (d.grant_id IS NULL OR d.generation > d.acked_generation)"""
_FOUND = {FAILED: _FAILED, MISSING: _MISSING}
_COUNT = {scope: text(f"SELECT count(*)::int FROM ({found}) f") for scope, found in _FOUND.items()}  # noqa: S608 - constants
# In the order in which everybody locks deliveries.  What is on its way keeps its lease: it is being sent already.
_STEP = {
    scope: text(f"""
    WITH part AS (
        SELECT * FROM ({found}) f
         WHERE CAST(:after_person AS uuid) IS NULL OR (f.person_id, f.grant_id) > (:after_person, :after_grant)
         ORDER BY f.person_id, f.grant_id LIMIT :step),
    again AS (
        {statements.OWE} FROM part g ORDER BY g.person_id, g.grant_id
        ON CONFLICT (person_id, grant_id) DO UPDATE
       SET due_at = LEAST(d.due_at, clock_timestamp()), held = false, attempts = 0)
    SELECT person_id, grant_id FROM part ORDER BY person_id, grant_id
""")  # noqa: S608 - put together from constants
    for scope, found in _FOUND.items()
}
_TAKE = text("""
    UPDATE replay SET state = 'running', leased_until = clock_timestamp() + make_interval(secs => :seconds)
     WHERE replay_id = :replay_id AND finished_at IS NULL
       AND (leased_until IS NULL OR leased_until <= clock_timestamp())
    RETURNING replay_id, client_id, scope, since, leased_until
""")
# Held until the step is committed, so that whoever stops it, stops it between two steps.
_HOLD = text("""
    SELECT after_person, after_grant FROM replay
     WHERE replay_id = :replay_id AND finished_at IS NULL AND leased_until = :leased_until FOR UPDATE
""")
_STEPPED = text("""
    UPDATE replay SET done = done + :number, after_person = :after_person, after_grant = :after_grant
     WHERE replay_id = :replay_id
""")
_RELEASE = text("""
    UPDATE replay
       SET leased_until = NULL, state = CASE WHEN :finished THEN 'done' ELSE state END,
           finished_at = CASE WHEN :finished THEN clock_timestamp() END
     WHERE replay_id = :replay_id AND finished_at IS NULL AND leased_until = :leased_until
""")
_UNFINISHED = text("""
    SELECT replay_id FROM replay
     WHERE finished_at IS NULL AND asked_at < clock_timestamp() - interval '2 seconds'
       AND (leased_until IS NULL OR leased_until <= clock_timestamp())
""")


class ReplayRunningError(RefusedError):
    """The app has a replay that is not finished; there is one at a time."""

    code = "replay-running"
    status = 409
    public = "Something is being sent again for this app already. Stop it first, or wait until it is done."


class Taken(NamedTuple):
    """A replay that this worker holds until `leased_until`; nobody else's lease ends at that very moment."""

    replay_id: UUID
    client_id: str
    scope: str
    since: datetime
    leased_until: datetime


def count(session: Session, *, client_id: str, scope: str, since: datetime) -> int:
    """Return how many subscriptions a replay would make due at this moment."""
    return session.scalar(_COUNT[scope], {"client_id": client_id, "since": since}) or 0


def begin(session: Session, *, client_id: str, scope: str, since: datetime, now: datetime) -> Replay:
    """Keep a replay for the job that works through it; raise `ReplayRunningError`."""
    replay = Replay(
        replay_id=db.new_id(), client_id=client_id, scope=scope, since=since, asked_at=now, state="queued", done=0,
        total=count(session, client_id=client_id, scope=scope, since=since),
    )  # fmt: skip
    with db.refused_by("replay_unfinished_key", ReplayRunningError()), session.begin_nested():
        session.add(replay)
    queue.ring_after_commit(session, config.current().redis_url, queue.WORK, RUN_REPLAY, str(replay.replay_id))
    return replay


def find(session: Session, *, replay_id: UUID) -> Replay | None:
    """Return a replay as it stands now; whose it is, its `client_id` says."""
    return session.get(Replay, replay_id, populate_existing=True)


def running(session: Session, *, client_id: str) -> Replay | None:
    """Return a client's replay that is not finished, if there is one."""
    return session.scalar(select(Replay).where(Replay.client_id == client_id, Replay.finished_at.is_(None)))


def stop(session: Session, *, replay_id: UUID, now: datetime) -> bool:
    """Stop a replay between two steps; False when it is over already.  What it made due is sent."""
    mine = update(Replay).where(Replay.replay_id == replay_id, Replay.finished_at.is_(None))
    over = mine.values(state="stopped", finished_at=now, leased_until=None).returning(Replay.replay_id)
    return session.scalar(over) is not None


def take(session: Session, *, replay_id: UUID) -> Taken | None:
    """Lease a replay; None when it is over or somebody else has it."""
    row = session.execute(_TAKE, {"replay_id": replay_id, "seconds": _LEASE_SECONDS}).one_or_none()
    return Taken(*row) if row else None


def step(session: Session, taken: Taken) -> bool:
    """Make the next `STEP` deliveries due; False when there are no more, or the replay is no longer ours."""
    held = session.execute(_HOLD, _lease(taken)).one_or_none()
    if held is None:
        return False
    found = session.execute(
        _STEP[taken.scope],
        {
            "client_id": taken.client_id, "since": taken.since, "step": STEP,
            "after_person": held.after_person, "after_grant": held.after_grant,
        },
    ).all()  # fmt: skip
    if not found:
        return False
    person_id, grant_id = found[-1]
    values = {"number": len(found), "after_person": person_id, "after_grant": grant_id}
    session.execute(_STEPPED, {"replay_id": taken.replay_id} | values)
    services.ring(session)
    faults.reach("replay.stepped")
    return len(found) == STEP


def release(session: Session, taken: Taken, *, finished: bool) -> None:
    """Give the lease back; a replay that was stopped meanwhile stays so."""
    session.execute(_RELEASE, _lease(taken) | {"finished": finished})


def unfinished(session: Session) -> Sequence[UUID]:
    """Return replays that nobody works at."""
    return session.scalars(_UNFINISHED).all()


def _lease(taken: Taken) -> dict[str, Any]:
    return {"replay_id": taken.replay_id, "leased_until": taken.leased_until}

"""Keeping how well each stream does, and telling its company when it does not; `circuit` decides, this keeps.

Time is the database's, read with the row: workers whose clocks differ take turns at the same circuit.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import func, select, text

from portal import events, faults
from portal.db import Prepared
from portal.sync import circuit, endpoint_letters
from portal.sync.circuit import Health

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from sqlalchemy import Row
    from sqlalchemy.orm import Session

    from portal.sync.models import Stream
    from portal.sync.rules import Result

_COLUMNS: Final = tuple(field.name for field in fields(Health))
_WELL: Final = """state = 'enabled' AND failures = 0 AND recent = 0 AND tries = 20 AND failing_since IS NULL
           AND circuit_until IS NULL AND circuit_step = 0 AND last_problem = ''"""
# Of a stream that is well a success says nothing new, and most attempts are that: it is not even locked.  Nor is one
# waited for that somebody else holds: an endpoint that has just proved itself is held until edits under way are over
# (`BACKFILL`), and whoever notes holds deliveries that the other may want.
_HELD = Prepared("ailing", f"""
    SELECT stream_id, client_id, url, warned, {", ".join(_COLUMNS)}, clock_timestamp() AS now FROM stream
     WHERE stream_id = ANY(CAST(:stream_ids AS uuid[])) AND (stream_id = ANY(CAST(:ailing AS uuid[])) OR NOT ({_WELL}))
     ORDER BY stream_id FOR NO KEY UPDATE SKIP LOCKED
""")  # fmt: skip  # noqa: S608 - put together from constants
_TAKEN = Prepared("ailing_taken", f"""
    SELECT stream_id FROM stream
     WHERE stream_id = ANY(CAST(:stream_ids AS uuid[])) AND stream_id <> ALL(CAST(:seen AS uuid[]))
       AND (stream_id = ANY(CAST(:ailing AS uuid[])) OR NOT ({_WELL}))
""")  # fmt: skip  # noqa: S608 - put together from constants
_KEEP = text("""
    UPDATE stream s
       SET state = v.state, reason = v.reason, failures = v.failures, recent = v.recent, tries = v.tries,
           failing_since = v.failing_since, circuit_until = v.circuit_until, circuit_step = v.circuit_step,
           disabled_at = v.disabled_at, last_problem = v.last_problem, warned = v.warned
      FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS v(
           stream_id uuid, state text, reason text, failures int, recent int, tries int, failing_since timestamptz,
           circuit_until timestamptz, circuit_step int, disabled_at timestamptz, last_problem text, warned int)
     WHERE s.stream_id = v.stream_id
""")
# Whoever waited for an endpoint that was away has been put off for hours by then: nobody waits once it is back.
_DUE_AT_ONCE = text("""
    UPDATE delivery SET due_at = clock_timestamp(), attempts = 0
     WHERE (person_id, grant_id) IN (
           SELECT person_id, grant_id FROM delivery
            WHERE client_id = :client_id AND generation > acked_generation
              AND due_at > clock_timestamp() AND NOT held
            ORDER BY person_id, grant_id FOR UPDATE SKIP LOCKED)
""")
_SILENT = text("""
    SELECT stream_id, client_id, warned, failing_since, clock_timestamp() AS now FROM stream
     WHERE state = 'enabled' AND failing_since <= clock_timestamp() - make_interval(secs => :warned_after)
     ORDER BY stream_id FOR NO KEY UPDATE SKIP LOCKED
""")
_FETCHED = text("""
    UPDATE stream SET failing_since = NULL, warned = 0
     WHERE stream_id IN (SELECT stream_id FROM stream WHERE client_id = :client_id AND failing_since IS NOT NULL
                            FOR NO KEY UPDATE SKIP LOCKED)
""")
_WARNED = text("UPDATE stream SET warned = :warned WHERE stream_id = :stream_id")


class Heard(NamedTuple):
    """What an attempt came to, and the address it went to: of another one it says nothing."""

    stream_id: UUID
    url: str
    result: Result


def note(session: Session, heard: Sequence[Heard]) -> list[Heard]:
    """Keep what attempts say of their streams, in the order they ended.

    It waits for nobody.  What is about streams that somebody else holds at this moment is returned and can be noted
    with the next; nothing but the circuit's own precision depends on it.
    """
    by_stream: dict[UUID, list[Heard]] = defaultdict(list)
    for each in heard:
        if circuit.says(each.result) is not circuit.Says.NOTHING:
            by_stream[each.stream_id].append(each)
    if not by_stream:
        return []
    ailing = [
        key for key, said in by_stream.items() if {circuit.says(one.result) for one in said} != {circuit.Says.WORKS}
    ]
    asked = {"stream_ids": list(by_stream), "ailing": ailing}
    rows = _HELD.within(session, asked)
    _keep(session, rows, by_stream)
    seen = [row.stream_id for row in rows]
    if len(seen) == len(by_stream):
        return []
    taken = {row.stream_id for row in _TAKEN.within(session, asked | {"seen": seen})}
    return [each for each in heard if each.stream_id in taken]


def returned(session: Session, stream: Stream) -> None:
    """Begin anew with a stream that proved itself or was turned on: its backlog is due at once.

    Held messages stay held: their receiver refused them, and staff say when to send them again.
    """
    rested = stream.state == "paused" or stream.disabled_at is not None
    begun = Health()
    for column in _COLUMNS:
        setattr(stream, column, getattr(begun, column))
    stream.warned, stream.people_told_at, stream.people_told_after = 0, None, None
    due_at_once(session, client_id=stream.client_id)
    if rested:
        at = session.scalars(select(func.clock_timestamp())).one()
        events.announce(
            session, events.StreamStatusChanged(client_id=stream.client_id, status="enabled", reason="", at=at)
        )


def heard_by_poll(session: Session, *, client_id: str) -> None:
    """Note that a company took what it was owed by fetching it: it has gone without no longer."""
    session.execute(_FETCHED, {"client_id": client_id})


def due_at_once(session: Session, *, client_id: str) -> None:
    """Let nothing that a client is owed wait any longer, but what its receiver refused."""
    session.flush()
    session.execute(_DUE_AT_ONCE, {"client_id": client_id})


def warn_of_silence(session: Session) -> None:
    """Write the letters that time alone makes due."""
    for row in session.execute(_SILENT, {"warned_after": circuit.WARNED_AFTER[0].total_seconds()}).all():
        due = circuit.warnings_due(Health(failing_since=row.failing_since), now=row.now)
        if due > row.warned:
            endpoint_letters.write(session, client_id=row.client_id, kind=f"failing-{due}", about=row.failing_since)
            session.execute(_WARNED, {"stream_id": row.stream_id, "warned": due})


def _keep(session: Session, rows: Sequence[Row[Any]], by_stream: dict[UUID, list[Heard]]) -> None:
    kept = []
    for row in rows:
        # The company may have named another address while an answer of the old one was awaited.
        said = [each.result for each in by_stream[row.stream_id] if each.url == row.url]
        if not said:
            continue
        before = Health(**{column: getattr(row, column) for column in _COLUMNS})
        health = circuit.after_all(before, said, now=row.now)
        warned = _tell(session, row, before, health)
        if any(result.refused for result in said):
            endpoint_letters.write(session, client_id=row.client_id, kind="held", about=row.now)
        if before.circuit_step and not health.circuit_step:
            session.execute(_DUE_AT_ONCE, {"client_id": row.client_id})
        kept.append(asdict(health) | {"stream_id": row.stream_id, "warned": warned})
    if kept:
        session.execute(_KEEP, {"rows": json.dumps(kept, default=str)})
    if {each["state"] for each in kept} - {row.state for row in rows}:
        faults.reach("health.disabled")


def _tell(session: Session, row: Row[Any], before: Health, health: Health) -> int:
    """Write what the company is to read of the change; return how many warnings it has had by then."""
    if health.state == "disabled" and before.state != "disabled":
        endpoint_letters.write(session, client_id=row.client_id, kind="disabled", about=row.now)
        off = events.StreamStatusChanged(client_id=row.client_id, status="disabled", reason=health.reason, at=row.now)
        events.announce(session, off)
    if health.failing_since is None or health.state == "disabled":
        return 0
    due = circuit.warnings_due(health, now=row.now)
    if due > row.warned:
        endpoint_letters.write(session, client_id=row.client_id, kind=f"failing-{due}", about=health.failing_since)
    return max(due, int(row.warned))

"""Putting what is logged into the tree, in one order, by one process at a time.

Whoever logs something waits for nobody: their row bears the number of their transaction, and what the last growth
could not see yet is what this one adds (docs/decisions/0020-the-log-grows-by-snapshots.md).
"""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import orjson
from sqlalchemy import text

from portal.errors import PortalError
from portal.ledger import entries, tiles, tree
from portal.ledger.tiles import HEIGHT, Tile
from portal.ledger.tree import Growth

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import Row
    from sqlalchemy.orm import Session

_ROWS_AT_ONCE = 2000
_SECRET_BYTES = 32
_LOCK = text("SELECT pg_try_advisory_xact_lock(1430473986)")
_OPEN = text("""
    INSERT INTO log (log_id, origin, size, seen, grown_at)
    VALUES ((SELECT coalesce(max(log_id), 0) + 1 FROM log), :origin, 0, '1:1:', :now) ON CONFLICT (origin) DO NOTHING
""")
_STANDS = text(
    "SELECT log_id, size, seen, CAST(pg_current_snapshot() AS text) AS seeing FROM log WHERE origin = :origin"
)
_UNSEEN = "{row}.written_by >= :next OR {row}.written_by = ANY(CAST(:running AS bigint[]))"
# What became of something comes behind it, though one transaction wrote both.
_FRESH = text(f"""
    SELECT d.person_id, d.at, d.disclosure_id, '' AS outcome,
           CAST({entries.OF_DISCLOSURE} AS text) AS said, d.written_by
      FROM disclosure d LEFT JOIN disclosure_context x ON x.context_id = d.context_id WHERE {_UNSEEN.format(row="d")}
    UNION ALL
    SELECT o.person_id, o.at, o.disclosure_id, o.outcome, CAST({entries.OF_OUTCOME} AS text), o.written_by
      FROM disclosure_outcome o WHERE {_UNSEEN.format(row="o")}
     ORDER BY written_by, outcome, at, disclosure_id
""")  # fmt: skip  # noqa: S608 - put together from constants
_HEADS = text("""
    SELECT person_id, n, leaf_hash, secret FROM log_head
     WHERE log_id = :log_id AND person_id = ANY(CAST(:person_ids AS uuid[]))
""")
# One parameter, however many rows: an array costs the driver a look at each of its values.
_STAND = text("""
    INSERT INTO log_entry (person_id, at, disclosure_id, outcome, log_id, leaf, n)
    SELECT person_id, at, disclosure_id, outcome, :log_id, leaf, n
      FROM json_to_recordset(CAST(:rows AS json))
           AS a(person_id uuid, at timestamptz, disclosure_id uuid, outcome text, leaf bigint, n int)
""")
_LEAD = text("""
    INSERT INTO log_head (person_id, log_id, n, leaf_hash, secret)
    SELECT person_id, :log_id, n, decode(leaf_hash, 'hex'), decode(secret, 'hex')
      FROM json_to_recordset(CAST(:rows AS json)) AS a(person_id uuid, n int, leaf_hash text, secret text)
        ON CONFLICT (person_id, log_id) DO UPDATE SET n = excluded.n, leaf_hash = excluded.leaf_hash
""")
_GROWN = text("UPDATE log SET size = :size, seen = :seen, grown_at = :now WHERE log_id = :log_id")


class LogAheadError(PortalError):
    """The log has seen transactions that this database has not had: it was restored, or moved to another server."""

    code = "log-ahead"
    status = 500
    public = "The log is ahead of its database: open a new one under another name."


class Snapshot(NamedTuple):
    """Which transactions are over: all before `next` but those that are `running` (PostgreSQL's `pg_snapshot`)."""

    next: int
    running: list[int]

    @classmethod
    def read(cls, written: str) -> Self:
        _oldest, following, running = written.split(":")
        return cls(int(following), [int(each) for each in running.split(",") if each])


@dataclass
class _Head:
    n: int
    leaf_hash: bytes
    secret: bytes


def grow(session: Session, *, origin: str, now: datetime) -> int | None:
    """Add to the log named `origin` whatever is logged and not in it, and return its size; opens it the first time.

    The transaction has to be a new one.  Returns None where another process is at it.  Raises `LogAheadError`.
    """
    # All that is read is of one moment, which is the one that the next growth goes on from.
    session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
    if not session.scalar(_LOCK):
        return None
    session.execute(_OPEN, {"origin": origin, "now": now})
    log = session.execute(_STANDS, {"origin": origin}).one()
    before, seeing = Snapshot.read(log.seen), Snapshot.read(log.seeing)
    if seeing.next < before.next:
        raise LogAheadError
    growth = _growth(session, log)
    for rows in _fresh(session, before):
        _add(session, growth, rows, log_id=log.log_id)
    session.execute(_GROWN, {"log_id": log.log_id, "size": growth.size, "seen": log.seeing, "now": now})
    return growth.size


def _growth(session: Session, log: Row[Any]) -> Growth:
    edge = tree.edge(log.size)
    kept = tiles.nodes(session, edge, log_id=log.log_id)
    return Growth(size=log.size, edge=[kept[node] for node in edge])


def _fresh(session: Session, before: Snapshot) -> Iterator[Sequence[Row[Any]]]:
    options = {"yield_per": _ROWS_AT_ONCE}
    with session.execute(_FRESH, before._asdict(), execution_options=options) as found:
        yield from found.partitions(_ROWS_AT_ONCE)


def _add(session: Session, growth: Growth, rows: Sequence[Row[Any]], *, log_id: int) -> None:
    heads = _heads(session, {row.person_id for row in rows}, log_id=log_id)
    grown: defaultdict[Tile, bytearray] = defaultdict(bytearray)
    first, numbers = growth.size, []
    for row in rows:
        head = heads[row.person_id]
        leaf = _leaf(row, head)
        head.n, head.leaf_hash = head.n + 1, leaf
        numbers.append(head.n)
        for node, made in growth.add(leaf):
            if node.level % HEIGHT == 0:
                grown[tiles.holding(node)] += made
    tiles.extend(session, grown, log_id=log_id)
    _keep(session, rows, numbers, first=first, log_id=log_id)
    _lead(session, heads, log_id=log_id)


def _leaf(row: Row[Any], head: _Head) -> bytes:
    blinds = entries.blinds(head.secret, disclosure_id=row.disclosure_id, outcome=row.outcome)
    said = entries.said_hash(orjson.loads(row.said), blind=blinds.said)
    place = entries.place_hash(head.n + 1, previous=head.leaf_hash, blind=blinds.place)
    return tree.leaf_hash(entries.entry(said, place))


def _heads(session: Session, person_ids: set[UUID], *, log_id: int) -> dict[UUID, _Head]:
    found = session.execute(_HEADS, {"log_id": log_id, "person_ids": list(person_ids)})
    known = {row.person_id: _Head(row.n, row.leaf_hash, row.secret) for row in found}
    return {each: known.get(each) or _Head(0, b"", os.urandom(_SECRET_BYTES)) for each in person_ids}


def _keep(session: Session, rows: Sequence[Row[Any]], numbers: list[int], *, first: int, log_id: int) -> None:
    stand = [
        {
            "person_id": row.person_id,
            "at": row.at,
            "disclosure_id": row.disclosure_id,
            "outcome": row.outcome,
            "leaf": first + after,
            "n": n,
        }
        for after, (row, n) in enumerate(zip(rows, numbers, strict=True))
    ]
    session.execute(_STAND, {"log_id": log_id, "rows": orjson.dumps(stand).decode()})


def _lead(session: Session, heads: dict[UUID, _Head], *, log_id: int) -> None:
    lead = [
        {"person_id": person_id, "n": head.n, "leaf_hash": head.leaf_hash.hex(), "secret": head.secret.hex()}
        for person_id, head in heads.items()
    ]
    session.execute(_LEAD, {"log_id": log_id, "rows": orjson.dumps(lead).decode()})

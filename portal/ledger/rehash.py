"""Hashing the log again, from its rows up to what was signed: a row or a hash that somebody changed does not fit.

A person's entries are each checked against what the tree has of the one before; if all of them fit, all of them are
what they were.  Nothing is kept in memory but one entry, however long the log is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import text

from portal.errors import PortalError
from portal.ledger import entries, published, tiles, tree
from portal.ledger.tiles import HEIGHT, WIDTH

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Row
    from sqlalchemy.orm import Session

# What may be found, beside the id of the disclosure, or the place in the tree, that it is about.
GONE: Final = "entry-gone"
CHANGED: Final = "entry-changed"
MISPLACED: Final = "entry-misplaced"
HEAD: Final = "head-differs"
TILE: Final = "tile-differs"
SIZE: Final = "size-differs"
ROOT: Final = "root-differs"
_NOBODY: Final = UUID(int=0)
_ROWS_AT_ONCE, _ENTRIES, _TILES = 2000, 20_000, 4096
# From one entry on, which is the last that was checked before.
_THEIRS = text(f"""
    SELECT e.person_id, e.disclosure_id, e.outcome, e.leaf, e.n, h.secret, h.n AS last, h.leaf_hash AS last_hash,
           substr(t.hashes, (32 * (e.leaf % {WIDTH}) + 1)::int, 32) AS hash,
           CASE WHEN e.outcome = '' AND d.person_id IS NOT NULL THEN {entries.OF_DISCLOSURE}
                WHEN o.person_id IS NOT NULL THEN {entries.OF_OUTCOME} END AS said
      FROM (SELECT * FROM log_entry
             WHERE log_id = :log_id AND person_id >= :after AND (person_id > :after OR leaf >= :leaf)
             ORDER BY person_id, leaf LIMIT :entries) e
      LEFT JOIN log_head h ON h.person_id = e.person_id AND h.log_id = e.log_id
      LEFT JOIN log_tile t ON t.log_id = e.log_id AND t.level = 0 AND t.number = e.leaf / {WIDTH}
      LEFT JOIN disclosure d ON (d.person_id, d.at, d.disclosure_id) = (e.person_id, e.at, e.disclosure_id)
      LEFT JOIN disclosure_context x ON x.context_id = d.context_id
      LEFT JOIN disclosure_outcome o ON (o.person_id, o.at, o.disclosure_id, o.outcome)
                                      = (e.person_id, e.at, e.disclosure_id, e.outcome)
     ORDER BY e.person_id, e.leaf
""")  # noqa: S608 - put together from constants
_COMPLETE = text(f"""
    SELECT c.level, c.number, c.hashes, substr(p.hashes, (32 * (c.number % {WIDTH}) + 1)::int, 32) AS above
      FROM (SELECT level, number, hashes FROM log_tile
             WHERE log_id = :log_id AND (level, number) > (:level, :number)
             ORDER BY level, number LIMIT :tiles) c
      LEFT JOIN log_tile p ON p.log_id = :log_id AND p.level = c.level + 1 AND p.number = c.number / {WIDTH}
     ORDER BY c.level, c.number
""")  # noqa: S608 - put together from constants
# How many hashes each level has follows from the size, and in which tiles they are.
_MISSHAPEN = text(f"""
    SELECT a.level, a.number
      FROM generate_series(0, 12) l(level)
      CROSS JOIN LATERAL (SELECT CAST(:size AS bigint) >> ({HEIGHT} * l.level) AS held) h
      CROSS JOIN LATERAL (
          SELECT l.level, number FROM generate_series(0, (h.held - 1) / {WIDTH}) number WHERE h.held > 0
          UNION SELECT level, number FROM log_tile WHERE log_id = :log_id AND level = l.level) a
      LEFT JOIN log_tile t ON t.log_id = :log_id AND t.level = a.level AND t.number = a.number
     WHERE COALESCE(length(t.hashes), 0) <> 32 * GREATEST(0, LEAST({WIDTH}, h.held - a.number * {WIDTH})) LIMIT 100
""")  # noqa: S608 - put together from constants
_COUNTED = text("SELECT count(*) FROM log_entry WHERE log_id = :log_id")


class Wrong(NamedTuple):
    """What was found, and where: the id of a disclosure, or `level/number` of a tile."""

    what: str
    where: str


@dataclass(frozen=True)
class Part:
    """What a part of the log came to: entries or tiles looked at, what is wrong, and where the next part begins.

    `following` is None with the last one.
    """

    looked_at: int
    wrong: Sequence[Wrong]
    following: str | None


def some_entries(session: Session, *, log_id: int, after: str = "") -> Part:
    """Check some entries, person by person, from one on that was checked before (`person/leaf`)."""
    person_id, leaf = after.split("/") if after else (str(_NOBODY), "0")
    values = {"log_id": log_id, "after": person_id, "leaf": int(leaf), "entries": _ENTRIES + 1}
    rows = iter(session.execute(_THEIRS, values, execution_options={"yield_per": _ROWS_AT_ONCE}))
    wrong: list[Wrong] = []
    before, count = (next(rows, None) if after else None), 0
    for row in rows:
        if before is not None and before.person_id != row.person_id:
            wrong += _last(before)
            before = None
        wrong += _entry(row, before)
        before, count = row, count + 1
    if before is None or count < (_ENTRIES if after else _ENTRIES + 1):
        return Part(count, [*wrong, *(_last(before) if before is not None else [])], None)
    return Part(count, wrong, f"{before.person_id}/{before.leaf}")


def complete_tiles(session: Session, *, log_id: int, after: str = "") -> Part:
    """Check that each full tile of some comes to the hash that the tile above has of it."""
    level, number = map(int, after.split("/")) if after else (-1, 0)
    values = {"log_id": log_id, "level": level, "number": number, "tiles": _TILES}
    rows = session.execute(_COMPLETE, values).all()
    wrong = [Wrong(TILE, f"{row.level}/{row.number}") for row in rows if not _fits(row)]
    return Part(len(rows), wrong, f"{rows[-1].level}/{rows[-1].number}" if len(rows) == _TILES else None)


def whole(session: Session, *, log_id: int, size: int) -> list[Wrong]:
    """Check that the tree of `size` has all of its tiles and entries, and is the one that was signed."""
    values = {"log_id": log_id, "size": size}
    wrong = [Wrong(TILE, f"{row.level}/{row.number}") for row in session.execute(_MISSHAPEN, values)]
    if session.scalar(_COUNTED, values) != size:
        wrong.append(Wrong(SIZE, str(size)))
    if not _is_signed(session, log_id):
        wrong.append(Wrong(ROOT, str(size)))
    return wrong


def _entry(row: Row[Any], before: Row[Any] | None) -> Iterator[Wrong]:
    if row.said is None:
        yield Wrong(GONE, str(row.disclosure_id))
    elif row.secret is None or row.hash != _leaf(row, before):
        yield Wrong(CHANGED, str(row.disclosure_id))
    if row.n != (before.n if before else 0) + 1:
        yield Wrong(MISPLACED, str(row.disclosure_id))


def _leaf(row: Row[Any], before: Row[Any] | None) -> bytes:
    blinds = entries.blinds(row.secret, disclosure_id=row.disclosure_id, outcome=row.outcome)
    said = entries.said_hash(row.said, blind=blinds.said)
    previous = (before.hash or b"") if before else b""
    place = entries.place_hash(row.n, previous=previous, blind=blinds.place)
    return tree.leaf_hash(entries.entry(said, place))


def _last(row: Row[Any]) -> list[Wrong]:
    return [] if (row.last, row.last_hash) == (row.n, row.hash) else [Wrong(HEAD, str(row.disclosure_id))]


def _fits(row: Row[Any]) -> bool:
    hashes = [row.hashes[at : at + 32] for at in range(0, len(row.hashes), 32)]
    if len(hashes) < WIDTH:
        return True
    while len(hashes) > 1:
        hashes = [tree.node_hash(*pair) for pair in zip(hashes[::2], hashes[1::2], strict=True)]
    return bool(hashes[0] == row.above)


def _is_signed(session: Session, log_id: int) -> bool:
    """Say whether what is signed of a log is of this tree, and signed; where nothing is, nothing is wrong with it."""
    try:
        log = published.newest(session)
        if log is None or log.log_id != log_id:
            return True
        kept = tiles.nodes(session, tree.edge(log.checkpoint.size), log_id=log_id)
        return tree.root(log.checkpoint.size, kept) == log.checkpoint.root
    except (KeyError, PortalError):
        return False

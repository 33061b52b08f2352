"""The log as everybody sees it: the newest one, as large as it was when it was signed last."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from portal.db import Prepared
from portal.ledger import tiles, tree
from portal.ledger.checkpoints import Checkpoint, Proof
from portal.ledger.tree import Node
from portal.vault.notes import Verifier

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy.orm import Session

    from portal.ledger.tree import Span

_TILE_LEVELS: Final = 8
_MOST_LEVELS: Final = 8
WIDTH: Final = 1 << _TILE_LEVELS
_NEWEST = Prepared("newest_log", """
    SELECT log_id, size, grown_at, note, verifier, noted_at FROM log
     WHERE note IS NOT NULL AND verifier IS NOT NULL ORDER BY log_id DESC LIMIT 1
""")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class PublishedLog:
    """A log and its newest signed checkpoint, `note`; there may be more of it by now (`grown`, of `grown_at`)."""

    log_id: int
    verifier: Verifier
    checkpoint: Checkpoint
    note: str
    noted_at: datetime
    grown: int
    grown_at: datetime


def newest(session: Session) -> PublishedLog | None:
    """Return the log that was opened last of those that are signed; None where none is."""
    found = _NEWEST.within(session, {})
    if not found:
        return None
    [row] = found
    verifier, checkpoint = _opened(row.note, row.verifier)
    return PublishedLog(
        log_id=row.log_id,
        verifier=verifier,
        checkpoint=checkpoint,
        note=row.note,
        noted_at=row.noted_at,
        grown=row.size,
        grown_at=row.grown_at,
    )


@lru_cache(maxsize=8)
def _opened(note: str, written: str) -> tuple[Verifier, Checkpoint]:
    """Return the key and what it has signed; everybody who asks in the same second asks about the same note."""
    verifier = Verifier.read(written)
    return verifier, Checkpoint.opened(note, verifier)


def proof(session: Session, log: PublishedLog, *, index: int) -> Proof:
    """Return the proof that leaf `index` is in the log; raises `IndexError` where what is signed has none such."""
    path = _hashes(session, log, tree.inclusion(index, log.checkpoint.size))
    return Proof(index, tuple(path), log.note)


def consistency(session: Session, log: PublishedLog, *, first: int) -> list[bytes]:
    """Return the hashes that prove that the log begins as it was with `first` leaves (RFC 9162 section 2.1.4).

    Raises `IndexError` unless it had that many: at least one.
    """
    return _hashes(session, log, tree.consistency(first, log.checkpoint.size))


def tile(session: Session, log: PublishedLog, *, level: int, number: int, width: int) -> list[bytes]:
    """Return the first `width` hashes of a tile of 256 (C2SP tlog-tiles): the roots of 256^level leaves each.

    Raises `IndexError` where what is signed has none such: only a tile at the right edge has less than 256, and of
    those not fewer than are asked for.
    """
    complete = log.checkpoint.size >> _TILE_LEVELS * level if level < _MOST_LEVELS else 0
    if not 0 < width <= min(WIDTH, complete - WIDTH * number):
        raise IndexError(number)
    nodes = [Node(_TILE_LEVELS * level, WIDTH * number + each) for each in range(width)]
    kept = tiles.nodes(session, nodes, log_id=log.log_id)
    return [kept[node] for node in nodes]


def _hashes(session: Session, log: PublishedLog, path: Sequence[Span]) -> list[bytes]:
    kept = tiles.nodes(session, (node for span in path for node in span.nodes), log_id=log.log_id)
    return [span.hash(kept) for span in path]

"""How the tree is kept: 32 hashes of one level in a row, so that a proof reads a handful of rows of a kilobyte.

Of five levels only the lowest is kept; what is between is made of it when it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import text

from portal.db import Prepared
from portal.ledger.tree import Node, node_hash

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlalchemy.orm import Session

HEIGHT = 5
WIDTH = 1 << HEIGHT
_HASH_BYTES = 32

_READ = Prepared("tiles", """
    SELECT t.level, t.number, t.hashes
      FROM unnest(CAST(:levels AS smallint[]), CAST(:numbers AS bigint[])) AS a(level, number)
      JOIN log_tile t ON t.log_id = :log_id AND t.level = a.level AND t.number = a.number
""")  # fmt: skip
_EXTEND = text("""
    INSERT INTO log_tile (log_id, level, number, hashes)
    SELECT :log_id, level, number, hashes
      FROM unnest(CAST(:levels AS smallint[]), CAST(:numbers AS bigint[]), CAST(:hashes AS bytea[]))
           AS a(level, number, hashes)
        ON CONFLICT (log_id, level, number) DO UPDATE SET hashes = log_tile.hashes || excluded.hashes
""")


class Tile(NamedTuple):
    """The hashes of the complete subtrees of 32^level leaves, from number `number` * 32 on."""

    level: int
    number: int


class Nodes(dict[Node, bytes]):
    """The hashes of nodes, made of the tiles that hold them when they are asked for."""

    def __init__(self, tiles: Mapping[Tile, bytes]) -> None:
        super().__init__()
        self._tiles = tiles

    def __missing__(self, node: Node) -> bytes:
        rest = node.level % HEIGHT
        first = (node.number << rest) % WIDTH * _HASH_BYTES
        held = self._tiles[holding(node)][first : first + (_HASH_BYTES << rest)]
        if len(held) != _HASH_BYTES << rest:
            raise KeyError(node)
        hashes = [held[at : at + _HASH_BYTES] for at in range(0, len(held), _HASH_BYTES)]
        while len(hashes) > 1:
            hashes = [node_hash(*pair) for pair in zip(hashes[::2], hashes[1::2], strict=True)]
        return self.setdefault(node, hashes[0])


def holding(node: Node) -> Tile:
    """Return the tile that has what a node is made of."""
    level, rest = divmod(node.level, HEIGHT)
    return Tile(level, node.number << rest >> HEIGHT)


def nodes(session: Session, wanted: Iterable[Node], *, log_id: int) -> Nodes:
    """Return the hashes of these nodes of a log, read in one statement; one that is not there is a `KeyError`."""
    held = list({holding(node) for node in wanted})
    parameters = {"log_id": log_id, "levels": [each.level for each in held], "numbers": [each.number for each in held]}
    return Nodes({Tile(level, number): hashes for level, number, hashes in _READ.within(session, parameters)})


def extend(session: Session, grown: Mapping[Tile, bytes | bytearray], *, log_id: int) -> None:
    """Add hashes at the ends of tiles, in one statement."""
    parameters = {
        "log_id": log_id,
        "levels": [each.level for each in grown],
        "numbers": [each.number for each in grown],
        "hashes": [bytes(each) for each in grown.values()],
    }
    session.execute(_EXTEND, parameters)

"""A person's log as a file, with everything that it takes to check it without trusting whoever made it.

It is written piece by piece: a long log takes no more memory than a short one, but for eight bytes an entry.
"""

from __future__ import annotations

from array import array
from base64 import b64encode
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import orjson
from sqlalchemy import text

from portal.ledger import entries, tiles, tree
from portal.ledger.checkpoints import Checkpoint
from portal.ledger.tree import Node, Span

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from uuid import UUID

    from sqlalchemy import Row
    from sqlalchemy.orm import Session

    from portal.vault.notes import Verifier

FORMAT: Final = "ucm-log-1"
_AT_ONCE: Final = 1000
_LOG = text("SELECT log_id, note, noted_at FROM log WHERE origin = :origin AND note IS NOT NULL")
# What is not signed yet is in the next file.
_HEAD = text("""
    SELECT h.secret, h.n - (SELECT count(*) FROM log_entry e
                             WHERE e.person_id = h.person_id AND e.log_id = h.log_id AND e.leaf >= :size) AS count
      FROM log_head h WHERE h.person_id = :person_id AND h.log_id = :log_id
""")
# What is gone is listed all the same, without what it said: whoever checks is told of it.
_ENTRIES = text(f"""
    SELECT e.leaf, e.n, e.disclosure_id, e.outcome,
           CASE WHEN e.outcome = '' AND d.person_id IS NOT NULL THEN {entries.OF_DISCLOSURE}
                WHEN o.person_id IS NOT NULL THEN {entries.OF_OUTCOME} END AS said
      FROM log_entry e
      LEFT JOIN disclosure d ON (d.person_id, d.at, d.disclosure_id) = (e.person_id, e.at, e.disclosure_id)
      LEFT JOIN disclosure_context x ON x.context_id = d.context_id
      LEFT JOIN disclosure_outcome o ON (o.person_id, o.at, o.disclosure_id, o.outcome)
                                      = (e.person_id, e.at, e.disclosure_id, e.outcome)
     WHERE e.person_id = :person_id AND e.log_id = :log_id AND e.leaf >= 0 AND e.leaf < :size ORDER BY e.leaf
""")  # noqa: S608 - put together from constants


def export(session: Session, *, person_id: UUID, verifier: Verifier) -> dict[str, Any] | None:
    """Return the whole of what `written` writes, read again; None where nothing is signed yet."""
    found: dict[str, Any] = orjson.loads(b"".join(written(session, person_id=person_id, verifier=verifier)) or b"null")
    return found or None


def written(session: Session, *, person_id: UUID, verifier: Verifier) -> Iterator[bytes]:
    """Yield a person's entries in the log that `verifier` is of, as JSON; nothing where nothing is signed yet.

    `entries` come in their order, `count` of them: `n` counts them, `leaf` is where in the log one stands, `hash` what
    the log has there, `blinds` what hides it (`entries.Blinds`), and `said` what it says.  `path` are the hashes
    between them (`tree.around`), `checkpoint` the signed note that they lead to, `verifier` whose signature it bears,
    `signed_at` when that was, which nobody else says.  Hashes and blinds are base64; one that is not there is empty.
    """
    log = session.execute(_LOG, {"origin": verifier.name}).one_or_none()
    if log is None:
        return
    size = Checkpoint.opened(log.note, verifier).size
    parameters = {"person_id": person_id, "log_id": log.log_id, "size": size}
    head = session.execute(_HEAD, parameters).one_or_none()
    top = {"format": FORMAT, "verifier": str(verifier), "checkpoint": log.note, "signed_at": log.noted_at}
    yield orjson.dumps(top | {"count": head.count if head else 0})[:-1] + b',"entries":['
    leaves = array("q")
    for rows in _rows(session, parameters):
        kept = tiles.nodes(session, (Node(0, row.leaf) for row in rows), log_id=log.log_id)
        made = [_entry(row, kept, secret=head.secret if head else b"") for row in rows]
        yield _listed(made, first=not leaves)
        leaves.extend(row.leaf for row in rows)
    yield b'],"path":['
    yield from _path(session, leaves, size=size, log_id=log.log_id)
    yield b"]}"


def _rows(session: Session, parameters: Mapping[str, Any]) -> Iterator[Sequence[Row[Any]]]:
    # Whoever stops listening leaves nothing open.
    with session.execute(_ENTRIES, parameters, execution_options={"yield_per": _AT_ONCE}) as found:
        yield from found.partitions(_AT_ONCE)


def _entry(row: Row[Any], kept: tiles.Nodes, *, secret: bytes) -> dict[str, Any]:
    blinds = entries.blinds(secret, disclosure_id=row.disclosure_id, outcome=row.outcome)
    return {
        "n": row.n,
        "leaf": row.leaf,
        "hash": _hash(Span(row.leaf, row.leaf + 1), kept),
        "blinds": {"said": _base64(blinds.said), "place": _base64(blinds.place)},
        "said": row.said,
    }


def _path(session: Session, leaves: Sequence[int], *, size: int, log_id: int) -> Iterator[bytes]:
    spans, first = tree.each_around(leaves, size) if leaves else iter(()), True
    while some := list(islice(spans, _AT_ONCE)):
        kept = tiles.nodes(session, (node for span in some for node in span.nodes), log_id=log_id)
        yield _listed([_hash(span, kept) for span in some], first=first)
        first = False


def _listed(some: Iterable[Any], *, first: bool) -> bytes:
    """Return these members of a list, without its brackets; those that are not the `first` follow others."""
    return (b"" if first else b",") + orjson.dumps(some)[1:-1]


def _hash(span: Span, kept: tiles.Nodes) -> str:
    try:
        return _base64(span.hash(kept))
    except KeyError:
        # Whoever checks the file is told which entry that concerns.
        return ""


def _base64(data: bytes) -> str:
    return b64encode(data).decode()

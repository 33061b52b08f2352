"""A person's log as a file, with everything that it takes to check it without trusting whoever made it."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text

from portal.ledger import entries, tiles, tree
from portal.ledger.checkpoints import Checkpoint
from portal.ledger.tree import Node
from portal.vault import notes

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy import Row
    from sqlalchemy.orm import Session

    from portal.vault.notes import Verifier

FORMAT: Final = "ucm-log-1"
_LOG = text("SELECT log_id, note FROM log WHERE origin = :origin AND note IS NOT NULL")
_SECRET = text("SELECT secret FROM log_head WHERE person_id = :person_id AND log_id = :log_id")
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
     WHERE e.person_id = :person_id AND e.log_id = :log_id AND e.leaf < :size ORDER BY e.leaf
""")  # noqa: S608 - put together from constants


def export(session: Session, *, person_id: UUID, verifier: Verifier) -> dict[str, Any] | None:
    """Return a person's entries in the log that `verifier` is of, as JSON; None where nothing is signed yet.

    `entries` come in their order: `n` counts them, `leaf` is where in the log one stands, `hash` what the log has
    there, `blinds` what hides it (`entries.Blinds`), and `said` what it says.  `path` are the
    hashes between them (`tree.around`), `checkpoint` the signed note that they lead to, `verifier` whose signature it
    bears.  Hashes and blinds are base64.
    """
    log = session.execute(_LOG, {"origin": verifier.name}).one_or_none()
    if log is None:
        return None
    size = Checkpoint.read(notes.opened(log.note, verifier).text).size
    parameters = {"person_id": person_id, "log_id": log.log_id, "size": size}
    secret = session.scalar(_SECRET, parameters) or b""
    rows = session.execute(_ENTRIES, parameters).all()
    spans = tree.around([row.leaf for row in rows], size) if rows else []
    own = [Node(0, row.leaf) for row in rows]
    kept = tiles.nodes(session, [*own, *(node for span in spans for node in span.nodes)], log_id=log.log_id)
    return {
        "format": FORMAT,
        "verifier": str(verifier),
        "checkpoint": log.note,
        "entries": [
            {
                "n": row.n,
                "leaf": row.leaf,
                "hash": _written(kept[node]),
                "blinds": _blinds(secret, row),
                "said": row.said,
            }
            for row, node in zip(rows, own, strict=True)
        ],
        "path": [_written(span.hash(kept)) for span in spans],
    }


def _blinds(secret: bytes, row: Row[Any]) -> dict[str, str]:
    found = entries.blinds(secret, disclosure_id=row.disclosure_id, outcome=row.outcome)
    return {"said": _written(found.said), "place": _written(found.place)}


def _written(data: bytes) -> str:
    return b64encode(data).decode()

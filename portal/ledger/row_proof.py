"""That a row, as it stands here now, is what the signed log has of it: for whoever looks into one row of a person."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import text

from portal.ledger import entries, published, tiles
from portal.ledger.checkpoints import ProofRefusedError
from portal.ledger.tree import Node

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy import Row
    from sqlalchemy.orm import Session

    from portal.ledger.published import PublishedLog

# The row itself, and each thing that became of it; `before` is the person's entry in front of it.
_OF_ROW = text(f"""
    SELECT e.leaf, e.n, before.leaf AS before, e.disclosure_id, e.outcome, h.secret,
           CASE WHEN e.outcome = '' THEN {entries.OF_DISCLOSURE} ELSE {entries.OF_OUTCOME} END AS said
      FROM disclosure d
      JOIN disclosure_context x ON x.context_id = d.context_id
      JOIN log_entry e ON (e.person_id, e.at, e.disclosure_id) = (d.person_id, d.at, d.disclosure_id)
       AND e.log_id = :log_id AND e.leaf < :size
      JOIN log_head h ON (h.person_id, h.log_id) = (e.person_id, e.log_id)
      LEFT JOIN disclosure_outcome o ON (o.person_id, o.at, o.disclosure_id, o.outcome)
                                      = (e.person_id, e.at, e.disclosure_id, e.outcome)
      LEFT JOIN log_entry before ON (before.person_id, before.log_id, before.n) = (e.person_id, e.log_id, e.n - 1)
     WHERE d.person_id = :person_id AND d.disclosure_id = :disclosure_id ORDER BY e.leaf
""")  # noqa: S608 - put together from constants


class RowProof(NamedTuple):
    """One entry of the log: what the row says now, the blind that hides it, the hash of its place, and its proof.

    `blind` and `place` are base64; whoever has `said` and both makes the entry again (`entries`), and `proof` says that
    the log has it (C2SP tlog-proof).  `sound` says that it does: the row is as it was when it was logged.
    """

    leaf: int
    said: dict[str, Any]
    blind: str
    place: str
    proof: str
    sound: bool


def of_row(session: Session, log: PublishedLog, *, person_id: UUID, disclosure_id: UUID) -> list[RowProof]:
    """Return what the signed log has of a person's row, in its order; nothing where it is not in it yet."""
    row = {"person_id": person_id, "disclosure_id": disclosure_id}
    rows = session.execute(_OF_ROW, row | {"log_id": log.log_id, "size": log.checkpoint.size}).all()
    return [_proof(session, log, found) for found in rows]


def _proof(session: Session, log: PublishedLog, row: Row[Any]) -> RowProof:
    blinds = entries.blinds(row.secret, disclosure_id=row.disclosure_id, outcome=row.outcome)
    place = entries.place_hash(row.n, previous=_previous(session, log, row.before), blind=blinds.place)
    entry = entries.entry(entries.said_hash(row.said, blind=blinds.said), place)
    proof = published.proof(session, log, index=row.leaf)
    try:
        proof.checked(entry, log.verifier)
    except ProofRefusedError:
        sound = False
    else:
        sound = True
    blind, place_text = (b64encode(each).decode() for each in (blinds.said, place))
    return RowProof(row.leaf, row.said, blind, place_text, str(proof), sound)


def _previous(session: Session, log: PublishedLog, leaf: int | None) -> bytes:
    if leaf is None:
        return b""
    node = Node(0, leaf)
    return tiles.nodes(session, [node], log_id=log.log_id)[node]

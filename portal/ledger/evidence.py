"""What may be shown of one row of the log: that it stands there, and nothing else of its person.

A company sees so of its own messages, an operator of the row that somebody asks about.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import text

from portal.ledger import entries, published, tiles
from portal.ledger.checkpoints import Proof, ProofRefusedError
from portal.ledger.tree import Node

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy import Row
    from sqlalchemy.orm import Session

    from portal.ledger.published import PublishedLog

# A row, and each thing that became of it; `before` is the person's entry in front of it.
_OF: Final = f"""
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
     WHERE d.person_id = :person_id AND {{which}} ORDER BY e.leaf
"""  # noqa: S608 - put together from constants
_OF_MESSAGE = text(_OF.format(which="x.client_id = :client_id AND d.message_id = :message_id"))
_OF_ROW = text(_OF.format(which="d.disclosure_id = :disclosure_id"))


class Evidence(NamedTuple):
    """One entry of the log: what it says, the blind it is hidden by, the hash of its place, and its proof.

    `blind` and `place` are base64; whoever has `said` and both makes the entry again (`entries`), and `proof` says that
    the log has it (C2SP tlog-proof).
    """

    said: dict[str, Any]
    blind: str
    place: str
    proof: str


def of_message(
    session: Session, log: PublishedLog, *, person_id: UUID, client_id: str, message_id: str
) -> list[Evidence]:
    """Return what the signed log has of a message to a client about a person, in its order; nothing of others'."""
    parameters = {"log_id": log.log_id, "size": log.checkpoint.size}
    message = {"person_id": person_id, "client_id": client_id, "message_id": message_id}
    rows = session.execute(_OF_MESSAGE, parameters | message).all()
    return [_evidence(session, log, row) for row in rows]


def of_row(session: Session, log: PublishedLog, *, person_id: UUID, disclosure_id: UUID) -> list[Evidence]:
    """Return what the signed log has of a person's row, in its order; nothing where it is not in it yet."""
    row = {"person_id": person_id, "disclosure_id": disclosure_id}
    rows = session.execute(_OF_ROW, row | {"log_id": log.log_id, "size": log.checkpoint.size}).all()
    return [_evidence(session, log, found) for found in rows]


def stands(found: Evidence, log: PublishedLog) -> bool:
    """Say whether the log has what a row says now: that nobody changed it since it was logged."""
    blind, place = b64decode(found.blind), b64decode(found.place)
    try:
        Proof.read(found.proof).checked(entries.entry(entries.said_hash(found.said, blind=blind), place), log.verifier)
    except ProofRefusedError:
        return False
    return True


def _evidence(session: Session, log: PublishedLog, row: Row[Any]) -> Evidence:
    blinds = entries.blinds(row.secret, disclosure_id=row.disclosure_id, outcome=row.outcome)
    place = entries.place_hash(row.n, previous=_previous(session, log, row.before), blind=blinds.place)
    proof = published.proof(session, log, index=row.leaf)
    return Evidence(row.said, b64encode(blinds.said).decode(), b64encode(place).decode(), str(proof))


def _previous(session: Session, log: PublishedLog, leaf: int | None) -> bytes:
    if leaf is None:
        return b""
    node = Node(0, leaf)
    return tiles.nodes(session, [node], log_id=log.log_id)[node]

"""What companies say they did with messages: noted once, whatever the order, and found again for who asks.

A receipt may come before this side has noted that the message arrived: the disclosure log knew of the message before
its first byte left, and so nothing is lost or answered as unknown.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import select

from portal import faults
from portal.sync import messages, receipt_statements
from portal.sync.models import Receipt

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from sqlalchemy import Row
    from sqlalchemy.orm import Session

MOST: Final = 500
# How far two clocks may be apart; a moment within it is moved to where it can have been.
CLOCKS: Final = timedelta(minutes=5)
# A client that has not sent any for so long sends none; as long as attempts are kept.
KEPT: Final = timedelta(days=30)
# Longer than any message is on its way before its attempt is written down.
_ON_ITS_WAY: Final = timedelta(minutes=15)
_PULL_TAKES: Final = timedelta(minutes=2)
_NOTED_EVERY: Final = timedelta(hours=1)
_MOST_GENERATIONS: Final = 2000
_TIME_ORDERED: Final = 7
_HEX_DIGITS: Final = 32


class Status(StrEnum):
    """What became of a message at the company."""

    APPLIED = "applied"
    REJECTED = "rejected"
    SUPERSEDED = "superseded"


class Noted(StrEnum):
    """What became of a receipt."""

    RECORDED = "recorded"
    ALREADY = "already-recorded"
    CONFLICT = "conflict"
    UNKNOWN = "unknown"
    WRONG_TIME = "wrong-time"


class Reason(NamedTuple):
    """Why a message was rejected, in words for its person, and what they can do."""

    words: str
    advice: str


REASONS: Final = MappingProxyType(
    {
        "invalid": Reason(
            "a detail did not pass their checks", "Look at it once more and correct it, or ask them what is wrong."
        ),
        "not-a-customer": Reason(
            "they do not find you among their customers", "If that is right, you can stop sharing with them."
        ),
        "needs-review": Reason("somebody there looks at it first", "There is nothing you need to do."),
        "not-kept": Reason("they do not keep this detail", "You can leave it out of what you share with them."),
        "failed": Reason("their system could not save it", "They have to mend that. Ask them if it stays so."),
        "other": Reason("they did not say why", "Ask them."),
    }
)


@dataclass(frozen=True, kw_only=True)
class NewReceipt:
    """One receipt as it came; `reason` is a key of `REASONS`, or empty unless it was rejected."""

    jti: str
    status: Status
    applied_at: datetime
    reason: str = ""
    words: str = ""


class _Message(NamedTuple):
    """A message that was sent: generation 0 for a pulled one, `sequence` None where it told of no detail."""

    jti: str
    person_id: UUID
    grant_id: UUID
    generation: int
    sequence: int | None
    at: datetime


def note(
    session: Session, *, company_id: UUID, client_id: str, receipts: Sequence[NewReceipt], now: datetime
) -> list[Noted]:
    """Note what a client says of its messages; return what became of each, in their order.

    The first word stands, but what was rejected may still be applied or superseded.
    """
    sent = _find(session, company_id, client_id, [each.jti for each in receipts], now)
    timely = {each.jti: timed for each in receipts if each.jti in sent and (timed := _timed(each, sent[each.jti], now))}
    recorded = _keep(session, client_id, [_row(each, sent[jti]) for jti, each in timely.items()], now)
    _apply(session, [(timely[jti], sent[jti]) for jti in recorded])
    if sent:
        _note_habit(session, client_id, now)
    before = _kept(session, client_id, timely.keys() - recorded)
    faults.reach("receipt.noted")
    return [_noted(each, sent, timely, recorded, before) for each in receipts]


def of_messages(session: Session, *, client_id: str, jtis: Collection[str]) -> dict[str, Receipt]:
    """Return what a client has said of its messages, by `jti`; those without a receipt are not in it."""
    said = select(Receipt).where(Receipt.client_id == client_id, Receipt.jti.in_(jtis))
    return {each.jti: each for each in session.scalars(said)} if jtis else {}


def of_person(session: Session, *, person_id: UUID, jtis: Collection[str]) -> dict[str, Receipt]:
    """Return what companies have said of messages about one person, by `jti`."""
    said = select(Receipt).where(Receipt.person_id == person_id, Receipt.jti.in_(jtis))
    return {each.jti: each for each in session.scalars(said)} if jtis else {}


def forget(session: Session, *, now: datetime) -> None:
    """Forget receipts when the attempts they are about are forgotten; the outbox keeps what was applied last."""
    session.execute(receipt_statements.FORGET, {"before": now - KEPT})


def _find(
    session: Session, company_id: UUID, client_id: str, jtis: Sequence[str], now: datetime
) -> dict[str, _Message]:
    asked: dict[str, Any] = {"company_id": company_id, "client_id": client_id, "since": now - _ON_ITS_WAY}
    found: dict[str, _Message] = {}
    for statement in (receipt_statements.TRIED, receipt_statements.HANDED_OUT, receipt_statements.JUST_SENT):
        if left := [jti for jti in jtis if jti not in found]:
            found |= {row.jti: _message(row) for row in session.execute(statement, asked | {"jtis": left})}
    if spans := [span for jti in jtis if jti not in found and (span := _made_at(jti))]:
        rows = session.execute(receipt_statements.PULLED, asked | {"asked": json.dumps(spans)})
        found |= {row.jti: _message(row) for row in rows}
    return found


def _message(row: Row[Any]) -> _Message:
    generation = row.generation if "generation" in row._fields else _generation(row)
    return _Message(row.jti, row.person_id, row.grant_id, generation or 0, row.sequence, row.at)


def _generation(row: Row[Any]) -> int:
    # The id of a push follows from the generation, and the one on its way is among the newest.
    for generation in range(row.newest, max(row.newest - _MOST_GENERATIONS, 0), -1):
        if messages.push_id(grant_id=row.grant_id, person_id=row.person_id, generation=generation) == row.jti:
            return generation
    return 0


def _made_at(jti: str) -> dict[str, str] | None:
    """Return when the row of a pulled message must have been logged (RFC 9562 section 5.7); None if it is none."""
    try:
        made = UUID(hex=jti)
        at = datetime.fromtimestamp((made.int >> 80) / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    if made.version != _TIME_ORDERED or len(jti) != _HEX_DIGITS:
        return None
    return {"jti": jti, "after": (at - _PULL_TAKES).isoformat(), "before": (at + _PULL_TAKES).isoformat()}


def _timed(receipt: NewReceipt, message: _Message, now: datetime) -> NewReceipt | None:
    """Return the receipt with a moment between the message and now; None when its own cannot be right."""
    if not message.at - CLOCKS <= receipt.applied_at <= now + CLOCKS:
        return None
    return replace(receipt, applied_at=max(message.at, min(receipt.applied_at, now)))


def _row(receipt: NewReceipt, message: _Message) -> dict[str, Any]:
    return {
        "person_id": str(message.person_id), "grant_id": str(message.grant_id), "jti": message.jti,
        "status": receipt.status, "reason": receipt.reason, "words": receipt.words,
        "generation": message.generation, "sequence": message.sequence,
        "applied_at": receipt.applied_at.isoformat(),
    }  # fmt: skip


def _keep(session: Session, client_id: str, rows: Sequence[dict[str, Any]], now: datetime) -> set[str]:
    values = {"client_id": client_id, "rows": json.dumps(rows), "now": now}
    return set(session.scalars(receipt_statements.KEEP, values)) if rows else set()


def _kept(session: Session, client_id: str, jtis: Collection[str]) -> dict[str, str]:
    rows = session.execute(receipt_statements.KEPT, {"client_id": client_id, "jtis": list(jtis)}) if jtis else ()
    return {row.jti: row.status for row in rows}


def _apply(session: Session, told: Iterable[tuple[NewReceipt, _Message]]) -> None:
    by_copy: dict[tuple[UUID, UUID], list[tuple[NewReceipt, _Message]]] = {}
    for receipt, message in told:
        if message.generation:
            by_copy.setdefault((message.person_id, message.grant_id), []).append((receipt, message))
    if by_copy:
        session.execute(receipt_statements.APPLY, {"rows": json.dumps([_copy(each) for each in by_copy.values()])})


def _copy(told: Sequence[tuple[NewReceipt, _Message]]) -> dict[str, Any]:
    receipt, message = max(told, key=lambda each: each[1].generation)
    used = [sent.sequence or 0 for said, sent in told if said.status is not Status.REJECTED]
    return {
        "person_id": str(message.person_id), "grant_id": str(message.grant_id), "status": receipt.status,
        "generation": message.generation, "covered": max(used, default=0),
        "applied_at": receipt.applied_at.isoformat(),
    }  # fmt: skip


def _note_habit(session: Session, client_id: str, now: datetime) -> None:
    values = {"client_id": client_id, "now": now, "an_hour_ago": now - _NOTED_EVERY, "over": now - KEPT}
    session.execute(receipt_statements.SENDS_RECEIPTS, values)


def _noted(
    receipt: NewReceipt,
    sent: Mapping[str, _Message],
    timely: Mapping[str, NewReceipt],
    recorded: Collection[str],
    before: Mapping[str, str],
) -> Noted:
    if receipt.jti not in sent:
        return Noted.UNKNOWN
    if receipt.jti not in timely:
        return Noted.WRONG_TIME
    if receipt.jti in recorded:
        return Noted.RECORDED
    return Noted.ALREADY if before.get(receipt.jti) == receipt.status else Noted.CONFLICT

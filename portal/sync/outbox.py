"""The outbox's two transactions: claiming what is due, and noting what became of it; sending lies between.

A disclosure's row is committed with the claim, before a byte leaves.  What happens to a worker afterwards can
therefore lose an outcome, never a row: the reconciler turns such rows into `unknown`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from portal.db import new_id
from portal.ledger import services as ledger
from portal.sync import messages, news, rules, statements
from portal.sync.messages import Addressee, News

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import Row
    from sqlalchemy.orm import Session

    from portal.sync.rules import Result
    from portal.vault.keyring import Keyring

# Refused for now and not by the person: looked at again later, and told at once when the grant changes.
_HELD_SECONDS = 3600.0


@dataclass(frozen=True, kw_only=True)
class Parcel:
    """One leased delivery, ready to send: everything a sender needs, and what the acknowledgement will say."""

    person_id: UUID
    grant_id: UUID
    grant_version: int
    generation: int
    attempts: int
    lease_id: UUID
    stream_id: UUID
    url: str
    to: Addressee
    jti: str
    disclosure_id: UUID
    at: datetime
    news: News


@dataclass(frozen=True)
class Sent:
    """A parcel and what became of it."""

    parcel: Parcel
    result: Result


@dataclass(frozen=True)
class _Verdict:
    """What a claimed row comes to: a parcel with its ledger row, or an acknowledgement without one."""

    parcel: Parcel | None = None
    row: ledger.NewDisclosure | None = None
    note: dict[str, Any] | None = None


def claim(
    session: Session,
    *,
    keyring: Keyring,
    now: datetime,
    limit: int,
    lease_seconds: float,
    stream_id: UUID | None,
    room: int | None = None,
    rooms: Mapping[UUID, int] | None = None,
) -> list[Parcel]:
    """Lease up to `limit` due deliveries and log them; the caller commits before it sends.

    Without `stream_id` those of every endpoint that is not parked as slow, else those of this one; of each no
    more than `rooms` says, or `room` where it says nothing.
    """
    lease_id = new_id()
    rows = session.execute(
        statements.CLAIM,
        {
            "stream_id": stream_id,
            "limit": limit,
            "lease_id": lease_id,
            "lease_seconds": lease_seconds,
            "room": limit if room is None else room,
            "rooms": json.dumps([{"stream_id": str(key), "left_over": left} for key, left in (rooms or {}).items()]),
        },
    ).all()
    records = _records(session, {row.person_id for row in rows})
    verdicts = [_judge(row, records.get(row.person_id), keyring, lease_id, now) for row in rows]
    ledger.record(session, *(verdict.row for verdict in verdicts if verdict.row))
    _note(session, [verdict.note for verdict in verdicts if verdict.note])
    return [verdict.parcel for verdict in verdicts if verdict.parcel]


def still_allowed(row: Row[Any] | None, parcel: Parcel, *, now: datetime) -> bool:
    """Decide again, on `STILL_ALLOWED`'s row, right before the first byte: lease, consent, policy and stream hold."""
    if row is None or row.grant_version != parcel.grant_version:
        return False
    if row.url != parcel.url or row.stream_state != "enabled":
        return False
    return news.still_allowed(row, parcel.news, now=now)


def finish(session: Session, sent: Sequence[Sent], *, now: datetime) -> None:
    """Log the outcomes and acknowledge what arrived, for every lease that is still held."""
    ledger.report(session, *(_outcome(each) for each in sent), now=now)
    _note(session, [_acknowledgement(each) for each in sent])
    _tell_endpoints(session, sent)


def _records(session: Session, person_ids: Iterable[UUID]) -> dict[UUID, Row[Any]]:
    rows = session.execute(statements.RECORDS, {"person_ids": list(person_ids)})
    return {row.person_id: row for row in rows}


def _judge(row: Row[Any], record: Row[Any] | None, keyring: Keyring, lease_id: UUID, now: datetime) -> _Verdict:
    found = news.find(row, record, keyring=keyring, now=now)
    if isinstance(found, news.Later):
        seconds = _retry_seconds(row.attempts) if found.soon else _HELD_SECONDS
        return _Verdict(note=_later(row, lease_id, seconds, found.problem))
    if not found.kinds:
        return _Verdict(note=_nothing_to_tell(row, found, lease_id))
    parcel = _parcel(row, lease_id, found, now)
    return _Verdict(parcel=parcel, row=_ledger_row(row, parcel))


def _parcel(row: Row[Any], lease_id: UUID, found: News, now: datetime) -> Parcel:
    jti = messages.push_id(grant_id=row.grant_id, person_id=row.person_id, generation=row.generation)
    return Parcel(
        person_id=row.person_id,
        grant_id=row.grant_id,
        grant_version=row.grant_version,
        generation=row.generation,
        attempts=row.attempts,
        lease_id=lease_id,
        stream_id=row.stream_id,
        url=row.url,
        to=Addressee(client_id=row.client_id, sub=row.sub, keys=row.keys or {}, groups=row.key_groups),
        jti=jti,
        disclosure_id=new_id(),
        at=now,
        news=found,
    )


def _ledger_row(row: Row[Any], parcel: Parcel) -> ledger.NewDisclosure:
    entries = parcel.news.entries
    return ledger.NewDisclosure(
        person_id=parcel.person_id,
        at=parcel.at,
        disclosure_id=parcel.disclosure_id,
        context_id=row.context_id,
        grant_id=parcel.grant_id,
        grant_version=parcel.grant_version,
        channel="push" if entries else "notice",
        outcome="sending",
        reason=parcel.news.reason,
        asked=parcel.news.names,
        given={name: entry.version for name, entry in entries.items()},
        message_id=parcel.jti,
    )


def _nothing_to_tell(row: Row[Any], found: News, lease_id: UUID) -> dict[str, Any]:
    return _row_note(row, lease_id) | {
        "done": True, "sequence": found.sequence, "version": row.grant_version, "state": found.state, "erasure": False,
        "attempts": 0,
    }  # fmt: skip


def _later(row: Row[Any], lease_id: UUID, seconds: float, problem: str) -> dict[str, Any]:
    return _row_note(row, lease_id) | {
        "done": False, "delay": seconds, "attempts": row.attempts + 1, "problem": problem,
    }  # fmt: skip


def _row_note(row: Row[Any], lease_id: UUID) -> dict[str, Any]:
    return {
        "person_id": str(row.person_id), "grant_id": str(row.grant_id), "lease_id": str(lease_id),
        "generation": row.generation, "problem": "",
    }  # fmt: skip


def _retry_seconds(attempts: int, result: Result | None = None) -> float:
    return rules.delay(attempts + 1, retry_after=result.retry_after if result else None).total_seconds()


def _acknowledgement(sent: Sent) -> dict[str, Any]:
    parcel, result = sent.parcel, sent.result
    done = result.outcome is rules.Outcome.COMPLETED
    held_back = result.outcome is rules.Outcome.SUPPRESSED
    # Parked as slow, or held back by us: not the receiver's failure, so due at once; and what was held back was no try.
    at_once = (result.too_slow and parcel.attempts == 0) or held_back
    return {
        "person_id": str(parcel.person_id),
        "grant_id": str(parcel.grant_id),
        "lease_id": str(parcel.lease_id),
        "done": done,
        "generation": parcel.generation,
        "sequence": parcel.news.sequence,
        "version": parcel.grant_version,
        "state": parcel.news.state,
        "erasure": parcel.news.erasure is not None,
        "delay": 0 if at_once else _retry_seconds(parcel.attempts, result),
        "attempts": 0 if done else parcel.attempts + (not held_back),
        "problem": "" if held_back else result.detail,
    }


def _outcome(sent: Sent) -> ledger.NewOutcome:
    return ledger.NewOutcome(
        person_id=sent.parcel.person_id,
        at=sent.parcel.at,
        disclosure_id=sent.parcel.disclosure_id,
        outcome=sent.result.outcome,
        detail=sent.result.detail,
        milliseconds=sent.result.milliseconds,
    )


def _note(session: Session, notes: Sequence[dict[str, Any]]) -> None:
    if notes:
        session.execute(statements.FINISH, {"rows": json.dumps(notes)})


def _tell_endpoints(session: Session, sent: Sequence[Sent]) -> None:
    # One line for each endpoint, and a failure says more than a success.  Two workers may tell of the same
    # endpoints, so both go by the same order.
    arrived = {each.parcel.stream_id for each in sent if each.result.outcome is rules.Outcome.COMPLETED}
    failed = {each.parcel.stream_id: each.result for each in sent if each.result.is_failure}
    if works := sorted(arrived - set(failed)):
        session.execute(statements.ENDPOINT_WORKS, {"stream_ids": works})
    for stream_id, result in sorted(failed.items(), key=lambda item: item[0]):
        session.execute(statements.ENDPOINT_FAILS, _failure(stream_id, result))


def _failure(stream_id: UUID, result: Result) -> dict[str, Any]:
    return {
        "stream_id": stream_id,
        "problem": result.detail,
        "gone": result.gone,
        "too_slow": result.too_slow,
        "parked": rules.PARKED.total_seconds(),
    }

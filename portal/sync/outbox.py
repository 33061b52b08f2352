"""The outbox's two transactions: claiming what is due, and noting what became of it; sending lies between.

A disclosure's row is committed with the claim, before a byte leaves.  What happens to a worker afterwards can
therefore lose an outcome, never a row: the reconciler turns such rows into `unknown`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from portal import faults
from portal.db import new_id, rows_of
from portal.ledger import services as ledger
from portal.sync import (
    attempts,
    messages,
    news,
    push_header,
    push_statements,
    records,
    rules,
    statements,
    stream_events,
)
from portal.sync.attempts import NewAttempt
from portal.sync.messages import Addressee, News
from portal.sync.rules import Outcome
from portal.sync.stream_events import StreamParcel
from portal.vault.keyring import SealBrokenError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.orm import Session

    from portal.sync.records import Record
    from portal.sync.rules import Result
    from portal.vault.keyring import Keyring

# Refused for now and not by the person: looked at again later, and told at once when the grant changes.
_HELD_SECONDS = 3600.0
_PUSHED = ("push", "notice")
# A look at so many takes some milliseconds.
_CLIENTS = 500


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a stream's requests go, and what they carry; `batched` ones hold many messages, or one as one of many."""

    stream_id: UUID
    client_id: str
    url: str
    batched: bool
    authorization: str | None = field(repr=False)


class Parcel(NamedTuple):
    """One leased delivery, ready to send: everything a sender needs, and what the acknowledgement will say.

    Those of one lease leave in one request.  `base` is what was acknowledged when it was claimed: the record's
    sequence and the version of the grant.  `ground` is what leave to send it rests on, but for the time.
    """

    person_id: UUID
    grant_id: UUID
    grant_version: int
    purpose_id: UUID
    generation: int
    attempts: int
    base: tuple[int, int]
    lease_id: UUID
    strict: bool
    place: Place
    to: Addressee
    jti: str
    disclosure_id: UUID
    at: datetime
    ground: str
    news: News


class Sent(NamedTuple):
    """A parcel and what became of it; `payload` is for staff what was signed, if it was."""

    parcel: Parcel | StreamParcel
    result: Result
    payload: str = ""


class Claimed(NamedTuple):
    """What a claim took: messages to send, and how many rows it looked at for them.

    `after` is the client up to which it looked, where the next claim goes on; empty when it saw the last one.
    """

    parcels: list[Parcel]
    rows: int
    after: str


class _Verdict(NamedTuple):
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
    narrowed: Mapping[UUID, int] | None = None,
    after: str = "",
    resting: Collection[UUID] = (),
) -> Claimed:
    """Lease up to `limit` due deliveries and log them; the caller commits before it sends.

    Streams in `narrowed` get no more messages in one request than it says; `after` is where the last claim ended.
    Those in `resting` get none at all.
    """
    asked: dict[str, Any] = {"after": after, "clients": _CLIENTS, "limit": limit, "resting": list(resting)}
    [look] = push_statements.LOOK.within(session, asked)
    ended = look.last if look.clients == _CLIENTS else ""
    asked = {"stream_ids": look.able, "limit": limit}
    able = [row.stream_id for row in push_statements.HOLD.within(session, asked)] if look.able else []
    if not able:
        return Claimed([], 0, ended)
    fewer = [{"stream_id": str(key), "batch": most} for key, most in (narrowed or {}).items()]
    asked = {"stream_ids": able, "limit": limit, "lease_seconds": lease_seconds, "narrowed": _json(fewer)}
    rows = _with_offers(session, push_statements.CLAIM.within(session, asked))
    faults.reach("claim.leased")
    known = records.read(session, [row.person_id for row in rows], keyring)
    places = {key: _place(row, keyring) for key, row in {row.stream_id: row for row in rows}.items()}
    verdicts = [_judge(row, known.get(row.person_id), places[row.stream_id], now) for row in rows]
    parcels = [verdict.parcel for verdict in verdicts if verdict.parcel]
    ledger.record(session, *(verdict.row for verdict in verdicts if verdict.row))
    notes = [verdict.note for verdict in verdicts if verdict.note]
    flying = {parcel.lease_id for parcel in parcels}
    _note(session, notes, {(row.stream_id, row.lease_id) for row in rows if row.lease_id not in flying})
    faults.reach("claim.logged")
    return Claimed(parcels, len(rows), ended)


def still_allowed(parcels: Sequence[Parcel], rows: Iterable[Any], *, now: datetime) -> set[UUID]:
    """Return the disclosures of `parcels` that may leave now, as `rows` of `STILL_ALLOWED` for `asked` of them say.

    The policy has decided when they were claimed; this asks whether anything that it decided on is another now.
    """
    found = ((parcels[row.number - 1], row.expires_at) for row in rows)
    return {each.disclosure_id for each, ends in found if ends is None or now < ends or each.news.state in news.OVER}


def asked(parcels: Sequence[Parcel], *, seconds: float) -> dict[str, Any]:
    """Return the parameters of `STILL_ALLOWED`: which deliveries under which leases, and on what ground each may go.

    `seconds` is how long their request may take.
    """
    return {
        "seconds": seconds,
        "person_ids": [each.person_id for each in parcels],
        "grant_ids": [each.grant_id for each in parcels],
        "grounds": [each.ground for each in parcels],
        "lease_ids": list({each.lease_id for each in parcels}),
        "purpose_ids": list({each.purpose_id for each in parcels}),
    }


def finish(
    session: Session, sent: Sequence[Sent], *, now: datetime, landed: Collection[tuple[UUID, UUID]] | None = None
) -> None:
    """Log the outcomes and the tries, and acknowledge what arrived, for every lease that is still held.

    `landed` are the requests that are over, as (stream_id, lease_id); by default those of all that was sent.
    """
    people = [(each, each.parcel) for each in sent if isinstance(each.parcel, Parcel)]
    streams = [(each.parcel, each) for each in sent if isinstance(each.parcel, StreamParcel)]
    tries = [_attempt(parcel, each) for each, parcel in people]
    attempts.report(session, *tries, *(_stream_attempt(parcel, each, now) for parcel, each in streams), now=now)
    faults.reach("finish.reported")
    if landed is None:
        landed = {(parcel.place.stream_id, parcel.lease_id) for _each, parcel in people}
    _note(session, [_acknowledgement(parcel, each.result) for each, parcel in people], landed)
    stream_events.finish(session, [(parcel, each.result) for parcel, each in streams], now=now)


def settle(session: Session, *, before: datetime, after: datetime, now: datetime) -> int:
    """Say `unknown` of what was on its way between these times and has no worker behind it: it may have arrived.

    Return of how many messages: some hundreds at a time.
    """
    words = "The sender stopped before it could say."
    rows = session.execute(statements.STALE, {"before": before, "after": after}).all()
    if not rows:
        return 0
    outcomes = [
        ledger.NewOutcome(
            person_id=row.person_id, at=row.at, disclosure_id=row.disclosure_id, outcome=Outcome.UNKNOWN,
            detail=words, milliseconds=0,
        )
        for row in rows
    ]  # fmt: skip
    ledger.report(session, *outcomes, now=now)
    tries = [
        NewAttempt(
            client_id=row.client_id, at=row.at, attempt_id=row.disclosure_id, jti=row.message_id, channel=row.channel,
            kinds=[], outcome=Outcome.UNKNOWN, detail=words, person_id=row.person_id, grant_id=row.grant_id,
            grant_version=row.grant_version,
        )
        for row in rows
        if row.message_id is not None
    ]  # fmt: skip
    attempts.record(session, *tries)
    # What was polled is noted when it is handed out.
    left = {(row.person_id, row.grant_id): row for row in sorted(rows, key=attrgetter("at")) if row.channel in _PUSHED}
    unsure = [
        {"person_id": row.person_id, "grant_id": row.grant_id, "version": row.grant_version, "at": row.at}
        for row in left.values()
    ]
    session.execute(push_statements.MAY_BELIEVE, {"rows": _json(unsure), "consent": messages.CONSENT})
    return len(rows)


def _with_offers(session: Session, rows: Sequence[Any]) -> list[Any]:
    """Return rows of `CLAIM`, each with what `OFFERS` says of its purpose."""
    if not rows:
        return []
    offers = push_statements.OFFERS.within(session, {"purpose_ids": list({row.purpose_id for row in rows})})
    known = {offer.purpose_id: offer[1:] for offer in offers}
    make = rows_of("due", rows[0]._fields + offers[0]._fields[1:])
    return [make(row + known[row.purpose_id]) for row in rows]


def _place(row: Any, keyring: Keyring) -> Place | None:  # noqa: ANN401 - a row of `CLAIM`
    try:
        header = push_header.unwrap(
            keyring, client_id=row.client_id, version=row.authorization_version, wrapped=row.wrapped_authorization
        )
    except SealBrokenError:
        return None
    return Place(
        stream_id=row.stream_id, client_id=row.client_id, url=row.url, batched=row.batch > 1, authorization=header
    )


def _judge(row: Any, record: Record | None, place: Place | None, now: datetime) -> _Verdict:  # noqa: ANN401 - a claimed row
    found = news.find(row, record, now=now) if place else news.Later(SealBrokenError.public)
    if isinstance(found, news.Later):
        seconds = rules.delay(row.attempts + 1).total_seconds() if found.soon else _HELD_SECONDS
        return _Verdict(note=_later(row, seconds, found.problem))
    if not found.kinds or place is None:
        return _Verdict(note=_nothing_to_tell(row, found))
    parcel = _parcel(row, place, found, now)
    return _Verdict(parcel=parcel, row=_ledger_row(row, parcel))


def _parcel(row: Any, place: Place, found: News, now: datetime) -> Parcel:  # noqa: ANN401 - a row of `CLAIM`
    return Parcel(
        person_id=row.person_id,
        grant_id=row.grant_id,
        grant_version=row.grant_version,
        purpose_id=row.purpose_id,
        generation=row.generation,
        attempts=row.attempts,
        base=(row.acked_sequence, row.told_version),
        lease_id=row.lease_id,
        strict=row.strict,
        place=place,
        to=Addressee(client_id=row.client_id, sub=row.sub, keys=row.keys or {}, groups=row.key_groups),
        jti=messages.push_id(grant_id=row.grant_id, person_id=row.person_id, generation=row.generation),
        disclosure_id=new_id(),
        at=now,
        ground=f"{row.grant_version} {row.state} {row.ground}",
        news=found,
    )


def _ledger_row(row: Any, parcel: Parcel) -> ledger.NewDisclosure:  # noqa: ANN401 - a row of `CLAIM`
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
        sealed_to=messages.sealed_to(parcel.to, entries),
    )


def _nothing_to_tell(row: Any, found: News) -> dict[str, Any]:  # noqa: ANN401 - a row of `CLAIM`
    return _row_note(row) | {
        "done": True, "sequence": found.sequence, "version": row.grant_version, "state": found.state, "attempts": 0,
    }  # fmt: skip


def _later(row: Any, seconds: float, problem: str) -> dict[str, Any]:  # noqa: ANN401 - a row of `CLAIM`
    return _row_note(row) | {"delay": seconds, "attempts": row.attempts + 1, "problem": problem}


def _row_note(row: Any) -> dict[str, Any]:  # noqa: ANN401 - a row of `CLAIM`
    return {
        "person_id": row.person_id, "grant_id": row.grant_id, "lease_id": row.lease_id, "done": False,
        "generation": row.generation, "base_sequence": row.acked_sequence, "base_version": row.told_version,
        "erasure": False, "held": False, "renewed": 0, "problem": "",
    }  # fmt: skip


def _acknowledgement(parcel: Parcel, result: Result) -> dict[str, Any]:
    done = result.outcome is Outcome.COMPLETED
    then = rules.DONE if done else rules.following(result, attempts=parcel.attempts)
    return {
        "person_id": parcel.person_id,
        "grant_id": parcel.grant_id,
        "lease_id": parcel.lease_id,
        "done": done,
        "generation": parcel.generation,
        "sequence": parcel.news.sequence,
        "version": parcel.grant_version,
        "base_sequence": parcel.base[0],
        "base_version": parcel.base[1],
        "state": parcel.news.state,
        "erasure": parcel.news.erasure is not None,
        "held": then.held,
        "renewed": int(then.renewed),
        "delay": then.delay.total_seconds(),
        "attempts": then.attempts,
        "problem": "" if result.outcome is Outcome.SUPPRESSED else result.detail,
    }


def _attempt(parcel: Parcel, sent: Sent) -> NewAttempt:
    result = sent.result
    return NewAttempt(
        client_id=parcel.place.client_id,
        at=parcel.at,
        attempt_id=parcel.disclosure_id,
        jti=parcel.jti,
        person_id=parcel.person_id,
        grant_id=parcel.grant_id,
        generation=parcel.generation,
        sequence=parcel.news.sequence,
        grant_version=parcel.grant_version,
        channel="push" if parcel.news.entries else "notice",
        kinds=parcel.news.kinds,
        outcome=result.outcome,
        status=result.status,
        milliseconds=result.milliseconds,
        detail=result.detail,
        payload=sent.payload,
    )


def _stream_attempt(parcel: StreamParcel, sent: Sent, now: datetime) -> NewAttempt:
    result = sent.result
    return NewAttempt(
        client_id=parcel.client_id,
        at=now,
        attempt_id=new_id(),
        jti=parcel.jti,
        channel="stream",
        kinds=[parcel.kind],
        outcome=result.outcome,
        status=result.status,
        milliseconds=result.milliseconds,
        detail=result.detail,
        payload=sent.payload,
    )


def _note(session: Session, notes: Sequence[dict[str, Any]], landed: Collection[tuple[UUID, UUID]]) -> None:
    if not notes and not landed:
        return
    flights = [{"stream_id": stream_id, "lease_id": lease_id} for stream_id, lease_id in landed]
    push_statements.FINISH.within(session, {"rows": _json(notes), "landed": _json(flights)})


def _json(rows: Sequence[Mapping[str, Any]]) -> str:
    return orjson.dumps(rows).decode()

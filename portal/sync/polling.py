"""Handing out what a client is owed when it asks (RFC 8936): the same messages, ledger and outbox as push.

A message is handed out for two minutes.  Acknowledged, it is done; else it is handed out again under the same id, or
a newer one in its place.  Order is that of `Delivery.position`, and of one person one message is out at a time.
"""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from portal import db, faults
from portal.companies import client_keys
from portal.db import new_id
from portal.errors import NotFoundError
from portal.ledger import services as ledger
from portal.sync import attempts, health, messages, news, poll_statements, queries, records, rules, stream_events
from portal.sync.attempts import NewAttempt
from portal.sync.messages import Addressee, Message, News
from portal.vault import signing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Row
    from sqlalchemy.orm import Session

    from portal.config import Settings
    from portal.sync.models import Stream
    from portal.vault.keyring import Keyring
    from portal.vault.signing import Signer

MOST: Final = 500
USUAL: Final = 100
MOST_BYTES: Final = 1024 * 1024
LEASE_SECONDS: Final = 120.0
WAIT_SECONDS: Final = 15.0
_LOOK_SECONDS: Final = 0.3
# Of a process's few threads so many may wait for news; whoever comes then is answered at once.
SEATS: Final = 2
_AT_ONCE: Final = 50
# Rows that an edit under way holds are numbered at the next poll; so are those beyond.
_NUMBERED: Final = 5000
_SOON_SECONDS: Final = 60.0
_LATER_SECONDS: Final = 3600.0
_ANSWERED_WITHIN: Final = timedelta(minutes=10)


class NoStreamError(NotFoundError):
    """RFC 8936 is spoken over a stream."""

    code = "no-stream"
    public = "Your app has no stream yet: make one first."


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One poll (RFC 8936 section 2.2); `errors` maps a `jti` to an error code of its client."""

    most: int
    at_once: bool
    acknowledged: Sequence[str]
    errors: Mapping[str, str]


@dataclass(kw_only=True)
class Answer:
    """What a poll is answered with: tokens by their `jti`, in order, and whether more wait."""

    sets: dict[str, str] = field(default_factory=dict)
    more: bool = False
    size: int = 0

    def take(self, jti: str, token: str) -> None:
        self.sets[jti] = token
        self.size += len(token)

    @property
    def full(self) -> bool:
        return self.size >= MOST_BYTES


@dataclass(frozen=True, kw_only=True)
class _Desk:
    """What messages of one answer are made with."""

    keyring: Keyring
    signer: Signer
    issuer: str
    now: datetime


class _Seats:
    """Where polls wait: a few of them in a process, and one of each client."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._lock = threading.Lock()

    @contextmanager
    def of(self, client_id: str) -> Iterator[bool]:
        """Take a seat while the block runs; the block gets whether there was one."""
        with self._lock:
            free = client_id not in self._taken and len(self._taken) < SEATS
            if free:
                self._taken.add(client_id)
        try:
            yield free
        finally:
            if free:
                with self._lock:
                    self._taken.discard(client_id)


_seats = _Seats()


def poll(
    settings: Settings, *, keyring: Keyring, client_id: str, asked: Asked, wait_seconds: float | None = None
) -> Answer:
    """Note what was acknowledged or refused, and hand out what waits, each in a transaction of its own.

    Where nothing waits it looks again until something does, for `wait_seconds` (`WAIT_SECONDS`) at most, unless
    `at_once` was asked or too many wait already.  Raises `NoStreamError`.
    """
    url = settings.database_url
    if asked.acknowledged or asked.errors:
        with db.transaction(url) as session:
            settle(session, client_id=client_id, asked=asked, now=db.now())
            faults.reach("poll.acked")
    found = _handed_out(settings, keyring, client_id, asked.most)
    if found.sets or found.more or asked.at_once or not asked.most:
        return found
    with _seats.of(client_id) as seated:
        if seated and _comes(url, client_id, WAIT_SECONDS if wait_seconds is None else wait_seconds):
            return _handed_out(settings, keyring, client_id, asked.most)
    return found


def hand_out(session: Session, *, keyring: Keyring, issuer: str, client_id: str, most: int, now: datetime) -> Answer:
    """Lease, log and make up to `most` messages; the caller commits before it answers.

    The consents behind them are held until then, and so are the client's keys: nobody stops one of them between this
    look and the answer.
    """
    client_keys.keep(session, client_id)
    stream = _stream(session, client_id)
    signer = signing.current(session, keyring=keyring)
    desk = _Desk(keyring=keyring, signer=signer, issuer=issuer, now=now)
    answer = Answer()
    flows = may_have_news(stream)
    _hand_out_events(session, client_id, desk, answer, most, everything=flows)
    if flows:
        _hand_out_news(session, client_id, desk, answer, most)
        answer.more = bool(session.scalar(poll_statements.WAITING, {"client_id": client_id}))
    if not answer.more and len(answer.sets) >= most:
        answer.more = stream_events.waits(session, client_id=client_id, everything=flows)
    return answer


def may_have_news(stream: Stream) -> bool:
    """Say whether whoever polls is handed people's news: unless its company, or our staff, paused it or turned it off.

    An endpoint that was turned off because it failed is why one polls.
    """
    return stream.state == "enabled" or (stream.state == "disabled" and stream.disabled_at is not None)


def number(session: Session, *, client_id: str, settled: bool = False) -> None:
    """Give a place in the stream to what has none; `settled` also to what has been acknowledged meanwhile.

    A short transaction of its own: edits of the same people wait for it.
    """
    last = session.scalar(poll_statements.HOLD_STREAM, {"client_id": client_id})
    if last is not None:
        values = {"client_id": client_id, "settled": settled, "last": last, "limit": _NUMBERED}
        session.execute(poll_statements.NUMBER, values)


def settle(session: Session, *, client_id: str, asked: Asked, now: datetime) -> None:
    """Note what a client says of messages; what is not its own, or was answered before, changes nothing."""
    refused = {jti: _words(error) for jti, error in asked.errors.items()}
    received = [jti for jti in dict.fromkeys(asked.acknowledged) if jti not in refused]
    stream_events.settle(session, client_id=client_id, said=dict.fromkeys(received, "") | refused, now=now)
    if received:
        session.execute(poll_statements.ACKNOWLEDGE, {"client_id": client_id, "jtis": received})
        health.heard_by_poll(session, client_id=client_id)
    rows = [{"jti": jti, "problem": problem} for jti, problem in refused.items()]
    _write(session, poll_statements.REFUSE, rows, client_id=client_id, seconds=rules.HELD.total_seconds())
    _report(session, client_id, received, refused, now)


def settle_unanswered(session: Session, *, now: datetime) -> None:
    """Say of what was handed out and never answered that nobody knows whether it arrived."""
    values = {"before": now - _ANSWERED_WITHIN, "problem": "It was fetched and not acknowledged."}
    _log(session, session.execute(poll_statements.UNANSWERED, values).all(), now)


def _handed_out(settings: Settings, keyring: Keyring, client_id: str, most: int) -> Answer:
    with db.transaction(settings.database_url) as session:
        number(session, client_id=client_id)
    with db.transaction(settings.database_url) as session:
        answer = hand_out(
            session, keyring=keyring, issuer=settings.issuer, client_id=client_id, most=most, now=db.now()
        )
        faults.reach("poll.leased")
    faults.reach("poll.committed")
    return answer


def _comes(url: str, client_id: str, wait_seconds: float) -> bool:
    ends = time.monotonic() + wait_seconds
    while time.monotonic() < ends:
        time.sleep(_LOOK_SECONDS)
        with db.transaction(url) as session:
            stream = _stream(session, client_id)
            if stream_events.waits(session, client_id=client_id, everything=may_have_news(stream)):
                return True
            if may_have_news(stream) and session.scalar(poll_statements.WAITING, {"client_id": client_id}):
                return True
    return False


def _stream(session: Session, client_id: str) -> Stream:
    stream = queries.stream_of(session, client_id=client_id)
    if stream is None:
        raise NoStreamError
    return stream


def _hand_out_events(
    session: Session, client_id: str, desk: _Desk, answer: Answer, most: int, *, everything: bool
) -> None:
    parcels = stream_events.hand_out(
        session, client_id=client_id, limit=most, lease_seconds=LEASE_SECONDS, everything=everything
    )
    made = {each.jti: stream_events.build(each, desk.signer, issuer=desk.issuer, now=desk.now) for each in parcels}
    for jti, message in made.items():
        answer.take(jti, message.token)
    rows = [
        NewAttempt(
            client_id=client_id, at=desk.now, attempt_id=new_id(), jti=parcel.jti, channel="poll", kinds=[parcel.kind],
            outcome="sending", payload=made[parcel.jti].payload,
        )
        for parcel in parcels
    ]  # fmt: skip
    attempts.record(session, *rows)


def _hand_out_news(session: Session, client_id: str, desk: _Desk, answer: Answer, most: int) -> None:
    after = 0
    while len(answer.sets) < most and not answer.full:
        limit = min(_AT_ONCE, most - len(answer.sets))
        values = {"client_id": client_id, "after": after, "limit": limit}
        rows = session.execute(poll_statements.CLAIM, values).all()
        if not rows:
            return
        _hand_out_rows(session, rows, desk, answer)
        after = rows[-1].position


def _hand_out_rows(session: Session, rows: Sequence[Row[Any]], desk: _Desk, answer: Answer) -> None:
    known = records.read(session, [row.person_id for row in rows], desk.keyring)
    handed, logged, tried, quiet, aside = [], [], [], [], []
    for row in rows:
        told = news.find(row, known.get(row.person_id), now=desk.now)
        if isinstance(told, news.Later):
            aside.append(_aside(row, told))
        elif not told.kinds:
            quiet.append(_state(row, told))
        else:
            message, disclosure = _message(row, told, desk), _disclosure(row, told, desk.now)
            answer.take(_jti(row), message.token)
            logged.append(disclosure)
            handed.append(_state(row, told) | {"jti": _jti(row)})
            tried.append(_attempt(row, told, disclosure, message.payload))
        if answer.full:
            break
    _write(session, poll_statements.NOTHING_TO_TELL, quiet)
    _write(session, poll_statements.PUT_ASIDE, aside)
    _write(session, poll_statements.HANDED, handed, lease_seconds=LEASE_SECONDS)
    ledger.record(session, *logged)
    attempts.record(session, *tried)


def _message(row: Row[Any], told: News, desk: _Desk) -> Message:
    return messages.build(desk.signer, issuer=desk.issuer, to=_to(row), jti=_jti(row), now=desk.now, news=told)


def _to(row: Row[Any]) -> Addressee:
    return Addressee(client_id=row.client_id, sub=row.sub, keys=row.keys or {}, groups=row.key_groups)


def _jti(row: Row[Any]) -> str:
    return messages.push_id(grant_id=row.grant_id, person_id=row.person_id, generation=row.generation)


def _aside(row: Row[Any], later: news.Later) -> dict[str, Any]:
    seconds = _SOON_SECONDS if later.soon else _LATER_SECONDS
    return _who(row) | {"seconds": seconds, "problem": later.problem}


def _state(row: Row[Any], told: News) -> dict[str, Any]:
    return _who(row) | {
        "generation": row.generation, "sequence": told.sequence, "version": row.grant_version, "state": told.state,
        "erasure": told.erasure is not None,
    }  # fmt: skip


def _who(row: Row[Any]) -> dict[str, Any]:
    return {"person_id": str(row.person_id), "grant_id": str(row.grant_id)}


def _disclosure(row: Row[Any], told: News, now: datetime) -> ledger.NewDisclosure:
    entries = told.entries
    return ledger.NewDisclosure(
        person_id=row.person_id, at=now, context_id=row.context_id, grant_id=row.grant_id,
        grant_version=row.grant_version, channel="poll" if entries else "notice", outcome="sending",
        reason=told.reason, asked=told.names, given={name: entry.version for name, entry in entries.items()},
        message_id=_jti(row), sealed_to=messages.sealed_to(_to(row), entries),
    )  # fmt: skip


def _attempt(row: Row[Any], told: News, logged: ledger.NewDisclosure, payload: str) -> NewAttempt:
    return NewAttempt(
        client_id=row.client_id, at=logged.at, attempt_id=logged.disclosure_id, jti=_jti(row), channel="poll",
        kinds=told.kinds, outcome="sending", payload=payload, person_id=row.person_id,
        grant_id=row.grant_id, generation=row.generation, sequence=told.sequence, grant_version=row.grant_version,
    )  # fmt: skip


def _write(session: Session, statement: Any, rows: Sequence[dict[str, Any]], **values: object) -> None:  # noqa: ANN401 - a clause
    if rows:
        session.execute(statement, {"rows": json.dumps(rows), **values})


def _words(error: str) -> str:
    return f"It was refused: {error}." if rules.ERROR_CODE.fullmatch(error) else "It was refused."


def _report(
    session: Session, client_id: str, received: Sequence[str], refused: Mapping[str, str], now: datetime
) -> None:
    rows = [{"jti": jti, "outcome": "completed", "problem": ""} for jti in received]
    rows += [{"jti": jti, "outcome": "failed", "problem": problem} for jti, problem in refused.items()]
    values = {"client_id": client_id, "rows": json.dumps(rows), "now": now}
    _log(session, session.execute(poll_statements.SETTLE, values).all(), now)


def _log(session: Session, rows: Sequence[Row[Any]], now: datetime) -> None:
    outcomes = [
        ledger.NewOutcome(
            person_id=row.person_id, at=row.at, disclosure_id=row.attempt_id, outcome=row.outcome, detail=row.detail,
            milliseconds=row.milliseconds,
        )
        for row in rows
        if row.person_id is not None
    ]  # fmt: skip
    ledger.report(session, *outcomes, now=now)

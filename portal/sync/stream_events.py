"""Messages about a stream and nobody: it was verified, its status changed, keys changed.

They wait in a table of their own and go out before the news of people, by push or by poll, oldest first.  A stream
that is paused is still told that it is: nothing else.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from operator import attrgetter
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import delete, insert, select, text

from portal import config, db
from portal.db import Prepared
from portal.sync import circuit, messages, rules, services
from portal.sync.models import Stream, StreamEvent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlalchemy.orm import Session

    from portal.events import SigningKeysChanged, StreamStatusChanged
    from portal.sync.messages import Message
    from portal.sync.rules import Result
    from portal.vault.signing import Signer

_KEPT = timedelta(days=30)
# What was refused would be refused again: it is told once, as to whoever polls.
_TOLD = frozenset({circuit.Says.WORKS, circuit.Says.REFUSES})
_WAITING = "s.delivered_at IS NULL AND (s.leased_until IS NULL OR s.leased_until <= clock_timestamp())"
# Whoever is off because its endpoint fails is not written to: `disabled_at` says so.
_MAY_BE_TOLD = "(e.state = 'enabled' OR s.kind = :status_event AND e.disabled_at IS NULL)"
_LEASE = """
    UPDATE stream_event s
       SET lease_id = :lease_id, leased_until = clock_timestamp() + make_interval(secs => :lease_seconds)
      FROM due, stream e
     WHERE s.stream_event_id = due.stream_event_id AND e.client_id = s.client_id
 RETURNING s.stream_event_id, s.client_id, s.kind, s.payload, s.created_at, s.attempts, s.lease_id, e.stream_id, e.url,
           e.batch, e.authorization_version, e.wrapped_authorization"""
# One of each stream at a time, the oldest that is due: its receiver reads them in the order in which they happened, and
# one that it cannot take keeps no other from it.
_PUSHED = f"""
    SELECT DISTINCT ON (s.client_id) s.stream_event_id, s.created_at
      FROM stream_event s JOIN stream e ON e.client_id = s.client_id
     WHERE {_WAITING} AND s.due_at <= clock_timestamp() AND e.method = 'push' AND {_MAY_BE_TOLD}
       AND (e.circuit_until IS NULL OR e.circuit_until <= clock_timestamp())
       AND NOT EXISTS (SELECT 1 FROM stream_event o WHERE o.client_id = s.client_id AND o.delivered_at IS NULL
                          AND o.leased_until > clock_timestamp())
     ORDER BY s.client_id, s.created_at"""  # noqa: S608 - put together from constants
_CLAIM = Prepared("claim_stream_events", f"""
    WITH first AS ({_PUSHED}),
    due AS (
        SELECT s.stream_event_id FROM stream_event s JOIN first USING (stream_event_id)
         WHERE {_WAITING} ORDER BY first.created_at LIMIT :limit FOR UPDATE OF s SKIP LOCKED)
    {_LEASE}
""")  # fmt: skip  # noqa: S608 - put together from constants
_DUE = text(f"SELECT EXISTS ({_PUSHED})")
# Whoever polls may be off because its endpoint failed; paused by somebody, it is told just that.
_FETCHED = f"""
    SELECT s.stream_event_id FROM stream_event s
     WHERE s.client_id = :client_id AND {_WAITING} AND (CAST(:everything AS boolean) OR s.kind = :status_event)"""  # noqa: S608 - as above
_HAND_OUT = Prepared("hand_out_stream_events", f"""
    WITH due AS ({_FETCHED} ORDER BY s.created_at LIMIT :limit FOR UPDATE SKIP LOCKED)
    {_LEASE}
""")  # fmt: skip
_WAITS = text(f"SELECT EXISTS ({_FETCHED})")
_FINISH = text("""
    WITH said AS (
        SELECT * FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS v(
            id uuid, lease_id uuid, done boolean, delay double precision, problem text)),
    ours AS (
        SELECT v.* FROM stream_event s JOIN said v ON v.id = s.stream_event_id AND v.lease_id = s.lease_id
         WHERE s.delivered_at IS NULL ORDER BY s.stream_event_id FOR UPDATE OF s)
    UPDATE stream_event s
       SET delivered_at = CASE WHEN o.done THEN CAST(:now AS timestamptz) END, attempts = s.attempts + 1,
           due_at = clock_timestamp() + make_interval(secs => o.delay), lease_id = NULL, leased_until = NULL,
           last_problem = o.problem
      FROM ours o WHERE s.stream_event_id = o.id
""")
_ANSWERED = text("""
    UPDATE stream_event s
       SET delivered_at = :now, lease_id = NULL, leased_until = NULL, last_problem = v.problem
      FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS v(id uuid, problem text)
     WHERE s.client_id = :client_id AND s.stream_event_id = v.id AND s.delivered_at IS NULL
""")


@dataclass(frozen=True, kw_only=True)
class StreamParcel:
    """One leased message about a stream; `url` is None where the client polls."""

    stream_event_id: UUID
    client_id: str
    stream_id: UUID
    url: str | None
    kind: str
    payload: Mapping[str, Any]
    created_at: datetime
    attempts: int
    lease_id: UUID
    batch: int
    authorization_version: int | None
    wrapped_authorization: bytes | None

    @property
    def jti(self) -> str:
        """Its identifier, the same at every try."""
        return self.stream_event_id.hex


def announce(session: Session, *, client_id: str, kind: str, payload: Mapping[str, Any], now: datetime) -> None:
    """Owe a client's stream, if it has one, a message of the event type `kind`; no person's value is in `payload`.

    Of several changes of the status only the last is told.
    """
    if session.scalar(select(Stream.stream_id).where(Stream.client_id == client_id)) is None:
        return
    if kind == messages.STREAM_UPDATED:
        older = delete(StreamEvent).where(StreamEvent.client_id == client_id, StreamEvent.kind == kind)
        session.execute(older.where(StreamEvent.delivered_at.is_(None)))
    _add(session, [client_id], kind, payload, now)


def on_signing_keys_changed(session: Session, fact: SigningKeysChanged) -> None:
    """Tell every stream that another key of the portal signs, and from when."""
    told = {
        "jwks_uri": f"{config.current().issuer}/oauth/jwks", "kid": fact.kid,
        "signs_from": fact.signs_from.isoformat(), "others_withdrawn": fact.others_withdrawn,
    }  # fmt: skip
    _add(session, session.scalars(select(Stream.client_id)).all(), messages.KEYS_CHANGED, told, fact.at)


def on_status_changed(session: Session, fact: StreamStatusChanged) -> None:
    """Tell a client by its stream that this is on or off; one that is off because it failed finds it by polling."""
    told = {"status": fact.status} | ({"reason": fact.reason} if fact.reason else {})
    announce(session, client_id=fact.client_id, kind=messages.STREAM_UPDATED, payload=told, now=fact.at)


def claim(session: Session, *, limit: int, lease_seconds: float) -> list[StreamParcel]:
    """Lease what is due by push, at most one of each stream; the caller commits before it sends."""
    return _leased(session, _CLAIM, limit=limit, lease_seconds=lease_seconds)


def due(session: Session) -> bool:
    """Say whether `claim` would find something."""
    return bool(session.scalar(_DUE, {"status_event": messages.STREAM_UPDATED}))


def hand_out(
    session: Session, *, client_id: str, limit: int, lease_seconds: float, everything: bool
) -> list[StreamParcel]:
    """Lease what waits for a client that polls, oldest first; not `everything`: only that its stream rests."""
    return _leased(
        session, _HAND_OUT, client_id=client_id, limit=limit, lease_seconds=lease_seconds, everything=everything
    )


def waits(session: Session, *, client_id: str, everything: bool) -> bool:
    """Say whether `hand_out` would find something."""
    values = {"client_id": client_id, "everything": everything, "status_event": messages.STREAM_UPDATED}
    return bool(session.scalar(_WAITS, values))


def finish(session: Session, sent: Sequence[tuple[StreamParcel, Result]], *, now: datetime) -> None:
    """Note what became of pushed ones, for every lease that is still held, in one statement however many they are."""
    rows = [
        {
            "id": str(parcel.stream_event_id), "lease_id": str(parcel.lease_id),
            "done": circuit.says(result) in _TOLD,
            "delay": rules.delay(parcel.attempts + 1, retry_after=result.retry_after).total_seconds(),
            "problem": result.detail,
        }
        for parcel, result in sent
    ]  # fmt: skip
    if rows:
        session.execute(_FINISH, {"rows": json.dumps(rows), "now": now})


def settle(session: Session, *, client_id: str, said: Mapping[str, str], now: datetime) -> None:
    """Note what a client that polls says of those it was handed, in one statement however many it names.

    `said` maps a `jti` to why it was refused, empty where it was taken: the same words would be refused again, so
    they are not told again either.
    """
    rows = [{"id": str(found), "problem": problem} for jti, problem in said.items() if (found := _id(jti))]
    if rows:
        session.execute(_ANSWERED, {"client_id": client_id, "rows": json.dumps(rows), "now": now})


def build(parcel: StreamParcel, signer: Signer, *, issuer: str, now: datetime) -> Message:
    """Return the signed message."""
    return messages.about_stream(
        signer, issuer=issuer, client_id=parcel.client_id, stream_id=parcel.stream_id, jti=parcel.jti, now=now,
        event={parcel.kind: parcel.payload},
    )  # fmt: skip


def forget(session: Session, *, now: datetime) -> None:
    """Delete what has been told, or was never fetched, for thirty days."""
    session.execute(delete(StreamEvent).where(StreamEvent.created_at < now - _KEPT))


def _add(session: Session, client_ids: Sequence[str], kind: str, payload: Mapping[str, Any], now: datetime) -> None:
    rows = [
        {"stream_event_id": db.new_id(), "client_id": client_id, "kind": kind, "payload": dict(payload),
         "created_at": now, "due_at": now, "attempts": 0, "last_problem": ""}
        for client_id in client_ids
    ]  # fmt: skip
    if rows:
        session.execute(insert(StreamEvent), rows)
        services.ring(session)


def _leased(session: Session, statement: Prepared, **values: object) -> list[StreamParcel]:
    found = statement.within(session, {"lease_id": db.new_id(), "status_event": messages.STREAM_UPDATED} | values)
    parcels = [StreamParcel(**row._asdict()) for row in found]
    return sorted(parcels, key=attrgetter("created_at", "stream_event_id"))


def _id(jti: str) -> UUID | None:
    try:
        found = UUID(hex=jti)
    except ValueError:
        return None
    return found if found.hex == jti else None

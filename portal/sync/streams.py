"""A client's stream as it configures it itself: OpenID Shared Signals Framework 1.0 sections 7 and 8.

One stream a client; its subjects are the people who share with it, so nobody is added or removed here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import delete, text, update

from portal import events
from portal.db import new_id
from portal.errors import InvalidError, NotFoundError, PortalError, RefusedError
from portal.sync import health, messages, push_header, queries, rules, services, statements, stream_events
from portal.sync.models import Stream, StreamEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy.orm import Session

    from portal.sync.services import Challenge
    from portal.vault.keyring import Keyring

SCOPE: Final = "streams:manage"
PUSH: Final = "urn:ietf:rfc:8935"
POLL: Final = "urn:ietf:rfc:8936"
# draft-deshpande-secevent-http-multi-set-push names no method of its own.
PUSH_MANY: Final = "urn:ucm:delivery:multi-set-push"
METHODS: Final = (PUSH, POLL, PUSH_MANY)
CONFIGURATION: Final = "/api/v1/streams"
STATUS: Final = "/api/v1/streams/status"
VERIFICATION: Final = "/api/v1/streams/verification"
EVENTS: Final = "/api/v1/events"
MOST_IN_ONE: Final = rules.MOST_MESSAGES
MOST_IN_FLIGHT: Final = 16
MOST_PER_SECOND: Final = 1000
BATCH: Final = 20
VERIFICATION_INTERVAL: Final = timedelta(seconds=60)
# What is asked for anew was left out until now: all of it is told, as if nothing had been received.  What is under
# way was made without it, and its acknowledgement says nothing of it.
_TELL_ALL = text(f"""
    UPDATE delivery d
       SET {statements.LET_GO}, sent_after = NULL, acked_sequence = 0, due_at = LEAST(due_at, clock_timestamp())
     WHERE (person_id, grant_id) IN (
           SELECT person_id, grant_id FROM delivery WHERE client_id = :client_id
            ORDER BY person_id, grant_id FOR UPDATE)
""")  # noqa: S608 - put together from constants
_LET_GO = text(f"""
    UPDATE delivery d SET {statements.LET_GO}
     WHERE (person_id, grant_id) IN (
           SELECT person_id, grant_id FROM delivery WHERE client_id = :client_id AND leased_until IS NOT NULL
            ORDER BY person_id, grant_id FOR UPDATE)
""")  # noqa: S608 - put together from constants


class StreamExistsError(RefusedError):
    """SSF 1.0 section 8.1.1.1: a transmitter that has one stream a receiver refuses a second."""

    code = "stream-exists"
    status = 409
    public = "Your app has a stream already. Change that one, or delete it first."


class SuppliedByUsError(InvalidError):
    """SSF 1.0 section 8.1.1.3: what the transmitter supplies may be sent back, and must then be what it was."""

    code = "stream-member-not-yours"
    status = 400
    public = "This is for us to say: send it back as you read it, or leave it out."


class NoEndpointError(InvalidError):
    code = "no-endpoint"
    public = "A stream that is pushed needs the address of your endpoint."


class ChangedMeanwhileError(PortalError):
    """Somebody else changed the stream, or it was turned off, while its endpoint proved itself."""

    code = "stream-changed"
    status = 409
    public = "Your stream changed at this moment. Read it, and ask again."


class VerifiedTooSoonError(PortalError):
    """SSF 1.0 section 8.1.4.2: more often than `min_verification_interval`."""

    code = "verification-too-soon"
    status = 429
    public = "You asked for a verification event less than a minute ago."
    headers = {"Retry-After": str(VERIFICATION_INTERVAL // timedelta(seconds=1))}  # noqa: RUF012 - read only


@dataclass(frozen=True, kw_only=True)
class Wish:
    """How a client wants to be told.

    `method` is `push` or `poll`; `events` None means all.  `authorization` is a header for pushes, `keep_header`
    that the one which is known stays.
    """

    method: str
    url: str | None = None
    authorization: str | None = field(default=None, repr=False)
    keep_header: bool = False
    batch: int = 1
    in_flight: int = 4
    per_second: int = 100
    events: Sequence[str] | None = None
    description: str = ""


def metadata(issuer: str) -> dict[str, Any]:
    """Return the document of `/.well-known/ssf-configuration` (section 7.1).

    Every subject is in the stream from the moment they share, so there are no endpoints that add or remove any.
    """
    return {
        "spec_version": "1_0",
        "issuer": issuer,
        "jwks_uri": f"{issuer}/oauth/jwks",
        "delivery_methods_supported": list(METHODS),
        "configuration_endpoint": issuer + CONFIGURATION,
        "status_endpoint": issuer + STATUS,
        "verification_endpoint": issuer + VERIFICATION,
        "authorization_schemes": [{"spec_urn": "urn:ietf:rfc:6749"}, {"spec_urn": "urn:ietf:rfc:9449"}],
        "default_subjects": "ALL",
    }


def configuration(stream: Stream, *, issuer: str) -> dict[str, Any]:
    """Return a stream's configuration (section 8.1.1), without the header its pushes carry."""
    asked = {} if stream.events is None else {"events_requested": stream.events}
    return {
        "stream_id": str(stream.stream_id),
        "iss": issuer,
        "aud": stream.client_id,
        "delivery": _delivery(stream, issuer),
        "events_supported": list(messages.EVENTS),
        **asked,
        "events_delivered": delivered(stream.events),
        "min_verification_interval": VERIFICATION_INTERVAL // timedelta(seconds=1),
        "description": stream.description,
    }


def delivered(events: Sequence[str] | None) -> list[str]:
    """Return the event types that a client gets who asked for `events`.

    How a consent stands and that somebody wants their details deleted are told to whoever has them, asked or not.
    """
    return [kind for kind in messages.EVENTS if events is None or kind in events or kind in messages.ALWAYS]


def of_client(session: Session, *, client_id: str, stream_id: str) -> Stream:
    """Return a client's own stream; raise `NotFoundError` for any other."""
    stream = queries.stream_of(session, client_id=client_id)
    if stream is None or str(stream.stream_id) != stream_id:
        raise NotFoundError("You have no stream of this stream_id.")
    return stream


def wish_of(stream: Stream) -> Wish:
    """Return what a client wants now."""
    return Wish(
        method=stream.method, url=stream.url, keep_header=True, batch=stream.batch, in_flight=stream.in_flight,
        per_second=stream.per_second, events=stream.events, description=stream.description,
    )  # fmt: skip


def ask_proof(
    session: Session, *, keyring: Keyring, client_id: str, wish: Wish, stream: Stream | None, now: datetime
) -> Challenge | None:
    """Return the challenge for `services.await_echo` by which a push endpoint proves itself; None needs no proof.

    Raises `NoEndpointError` and what `services.challenge` raises.  What proved itself at the same address before
    need not do so again, unless its header is another or it was turned off because it failed.
    """
    url = _unproven(wish, stream)
    if url is None:
        return None
    return services.challenge(
        session,
        keyring=keyring, client_id=client_id, url=url, now=now,
        authorization=_header(keyring, stream, wish),
    )  # fmt: skip


def create(
    session: Session, *, keyring: Keyring, client_id: str, wish: Wish, proved: Challenge | None, now: datetime
) -> Stream:
    """Make a client's stream as it wants it; raise `StreamExistsError` when it has one."""
    stream_id = proved.stream_id if proved else new_id()
    stream = services.begin_stream(
        session, client_id=client_id, stream_id=stream_id, method=wish.method, url=_url(wish), now=now
    )
    if stream is None:
        raise StreamExistsError
    _settle_on(stream, keyring, wish)
    return stream


def change(
    session: Session,
    *,
    keyring: Keyring,
    client_id: str,
    wish: Callable[[Stream], Wish],
    proved: Challenge | None = None,
    now: datetime,
) -> Stream:
    """Have a stream as its client wants it from now on, which `wish` says of the stream as it is when nobody else may.

    What `ask_proof` asked has `proved` itself; raises `ChangedMeanwhileError` where it is not what is needed any more.
    Whoever paused the stream, or turned it off, finds it so afterwards.
    """
    stream = queries.stream_held(session, client_id=client_id)
    wanted = wish(stream)
    _check_proved(wanted, stream, proved)
    wider = not set(delivered(wanted.events)) <= set(delivered(stream.events))
    if (stream.method, stream.url) != (wanted.method, _url(wanted)) or _must_prove(stream):
        services.move_stream(session, stream, method=wanted.method, url=_url(wanted), now=now)
    _settle_on(stream, keyring, wanted)
    session.flush()
    if wider:
        session.execute(_TELL_ALL, {"client_id": client_id})
        services.ring(session)
    return stream


def set_status(
    session: Session, *, client_id: str, status: str, reason: str, proved: Challenge | None = None, now: datetime
) -> Stream:
    """Turn a stream `enabled`, `paused` or `disabled`, say so in it, and send what waited when it is on again.

    Raises `ChangedMeanwhileError` where it must prove itself before it is on and has not `proved` itself.
    Paused and disabled come to the same: nothing is sent or handed out, and what happens meanwhile is kept, the
    newest state of each person.
    """
    stream = queries.stream_held(session, client_id=client_id)
    if stream.state == status and stream.disabled_at is None:
        stream.reason = reason
        return stream
    if status == "enabled":
        _check_proved(wish_of(stream), stream, proved)
        stream.verified_at = stream.verified_at or now
        health.returned(session, stream)
        services.ring(session)
    if stream.disabled_at is not None and status != "enabled":
        # One that was turned off because it failed still has to prove itself, also after a rest.
        stream.verified_at = None
    stream.state, stream.reason, stream.disabled_at = status, reason, None
    session.flush()
    said = events.StreamStatusChanged(client_id=client_id, status=status, reason=reason, at=now)
    stream_events.on_status_changed(session, said)
    return stream


def verify(session: Session, *, client_id: str, state: str | None, now: datetime) -> None:
    """Owe a stream a verification event; raise `VerifiedTooSoonError` within the interval after the last one."""
    asked = (
        update(Stream)
        .where(Stream.client_id == client_id)
        .where((Stream.verification_asked_at.is_(None)) | (Stream.verification_asked_at <= now - VERIFICATION_INTERVAL))
        .values(verification_asked_at=now)
        .returning(Stream.stream_id)
    )
    if session.execute(asked.execution_options(synchronize_session=False)).one_or_none() is None:
        raise VerifiedTooSoonError
    told = {} if state is None else {"state": state}
    stream_events.announce(session, client_id=client_id, kind=messages.VERIFICATION, payload=told, now=now)


def end(session: Session, *, client_id: str) -> None:
    """Delete a client's stream; what it had received is remembered, for the next one it makes.

    Of what it had asked to be left out it received nothing.
    """
    stream = queries.stream_held(session, client_id=client_id)
    if delivered(stream.events) != list(messages.EVENTS):
        session.execute(_TELL_ALL, {"client_id": client_id})
    session.execute(delete(StreamEvent).where(StreamEvent.client_id == client_id))
    session.execute(delete(Stream).where(Stream.client_id == client_id))
    session.execute(_LET_GO, {"client_id": client_id})


def check_ours(given: Mapping[str, Any], stream: Stream, *, issuer: str) -> None:
    """Raise `SuppliedByUsError` when what only we say was sent and is something else."""
    now = configuration(stream, issuer=issuer)
    for name in ("iss", "aud", "events_supported", "events_delivered", "min_verification_interval"):
        if name in given and given[name] != now[name]:
            raise SuppliedByUsError(pointer=f"/{name}")


def _delivery(stream: Stream, issuer: str) -> dict[str, Any]:
    if stream.method == "poll":
        return {"method": POLL, "endpoint_url": issuer + EVENTS}
    several = {"batch": stream.batch} if stream.batch > 1 else {}
    return {
        "method": PUSH_MANY if several else PUSH,
        "endpoint_url": stream.url,
        **several,
        "in_flight": stream.in_flight,
        "per_second": stream.per_second,
    }


def _must_prove(stream: Stream) -> bool:
    return stream.disabled_at is not None or stream.verified_at is None


def _unproven(wish: Wish, stream: Stream | None) -> str | None:
    """Return the address that has to prove itself first; None where nothing has."""
    if wish.method != "push":
        return None
    if not wish.url:
        raise NoEndpointError(pointer="/delivery/endpoint_url")
    known = stream is not None and (stream.method, stream.url) == ("push", wish.url) and not _must_prove(stream)
    return None if known and wish.keep_header and wish.authorization is None else wish.url


def _check_proved(wish: Wish, stream: Stream, proved: Challenge | None) -> None:
    url = _unproven(wish, stream)
    if url is not None and (proved is None or (proved.stream_id, proved.url) != (stream.stream_id, url)):
        raise ChangedMeanwhileError


def _url(wish: Wish) -> str | None:
    return wish.url if wish.method == "push" else None


def _header(keyring: Keyring, stream: Stream | None, wish: Wish) -> str | None:
    if wish.authorization is not None or not wish.keep_header or stream is None:
        return wish.authorization
    return push_header.of_stream(keyring, stream)


def _settle_on(stream: Stream, keyring: Keyring, wish: Wish) -> None:
    stream.batch, stream.in_flight, stream.per_second = wish.batch, wish.in_flight, wish.per_second
    stream.events = None if wish.events is None else list(wish.events)
    stream.description = wish.description
    if wish.authorization is not None:
        stream.authorization_version, stream.wrapped_authorization = push_header.wrap(
            keyring, client_id=stream.client_id, header=wish.authorization
        )
    elif not wish.keep_header or wish.method != "push":
        stream.authorization_version, stream.wrapped_authorization = None, None

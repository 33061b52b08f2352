"""What a change sets in motion, and where companies are told."""

from __future__ import annotations

import hmac
import json
import secrets
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import text, update
from sqlalchemy.dialects.postgresql import insert

from portal import config, faults, queue
from portal.db import after_commit, new_id
from portal.egress import client as outbound
from portal.errors import InvalidError
from portal.sync import health, messages, queries, statements
from portal.sync.models import Stream
from portal.vault import signing

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.orm import Session

    from portal.egress.client import Client
    from portal.events import (
        ClientEnded,
        ClientLifted,
        GrantChanged,
        GrantsChanged,
        RecordChanged,
        RecordConfirmed,
        ToldInFull,
    )
    from portal.vault.keyring import Keyring

DRAIN = "portal.sync.jobs.drain"
_PROOF_SECONDS = 10.0
_OK = 200
# While there was no stream, nobody noted which consents ended; whoever was told of them is told how they stand.
_TELL_WHAT_ENDED = text("""
    UPDATE delivery SET generation = generation + 1, due_at = LEAST(due_at, clock_timestamp())
     WHERE (person_id, grant_id) IN (
           SELECT d.person_id, d.grant_id FROM delivery d
             JOIN "grant" g ON g.person_id = d.person_id AND g.grant_id = d.grant_id
            WHERE d.client_id = :client_id AND d.told_version <> g.version
            ORDER BY d.person_id, d.grant_id FOR UPDATE OF d)
""")


class ProofFailedError(InvalidError):
    """The endpoint did not echo the challenge; the public sentence says what it did instead."""

    code = "endpoint-not-proven"
    public = "The endpoint did not send the challenge back."


class BusyProvingError(InvalidError):
    code = "endpoint-proof-busy"
    public = "Another endpoint is being proven at this moment. Try again in a few seconds."


@dataclass(frozen=True, kw_only=True)
class Challenge:
    """What an endpoint is asked to prove itself by: it reads `state` in `token` and sends it back.

    `authorization` is the header that its company wants pushes to carry.
    """

    client_id: str
    stream_id: UUID
    url: str
    token: str = field(repr=False)
    state: str = field(repr=False)
    authorization: str | None = field(repr=False)


# A proof waits up to ten seconds for a stranger's server; of a process's few threads one may do so at a time.
_PROVING = threading.BoundedSemaphore(1)


def on_record_changed(session: Session, fact: RecordChanged | RecordConfirmed) -> None:
    """Note for every subscription that shares one of the attributes changed, or confirmed, that it is owed the news."""
    session.flush()
    values = {"person_id": fact.person_id, "attributes": list(fact.attributes), "at": fact.at}
    session.execute(statements.FAN_OUT, values)
    faults.reach("save.owed")
    ring(session)


def on_grant_changed(session: Session, fact: GrantChanged) -> None:
    """Note that the company is owed the news of its grant, whatever it changed to."""
    session.flush()
    session.execute(statements.TELL_GRANTS, {"person_id": fact.person_id, "grant_ids": [fact.grant_id]})
    ring(session)


def on_grants_changed(session: Session, fact: GrantsChanged) -> None:
    """Note that each company is owed the news of its grant, in one statement however many there are."""
    session.flush()
    session.execute(statements.TELL_GRANTS, {"person_id": fact.person_id, "grant_ids": list(fact.grant_ids)})
    ring(session)


def on_told_in_full(session: Session, fact: ToldInFull) -> None:
    """Owe a client every value again that it may only have been told of."""
    values = {"client_id": fact.client_id, "purpose_id": fact.purpose_id}
    session.execute(statements.SEND_PURPOSE_AGAIN, values)
    ring(session)


def on_client_lifted(session: Session, fact: ClientLifted) -> None:
    """Send what a client was owed while it was suspended."""
    health.due_at_once(session, client_id=fact.client_id)
    ring(session)


def on_client_ended(session: Session, fact: ClientEnded) -> None:
    """Send nothing more to a client that is no more: its company knows."""
    theirs = update(Stream).where(Stream.client_id == fact.client_id)
    over = theirs.values(state="disabled", last_problem="The app was ended.")
    session.execute(over.execution_options(synchronize_session=False))


def challenge(
    session: Session, *, keyring: Keyring, client_id: str, url: str, now: datetime, authorization: str | None = None
) -> Challenge:
    """Return the signed challenge by which `url` can prove itself; nothing is kept, and nobody is asked.

    The caller ends its transaction before it asks by `await_echo`.
    """
    state = secrets.token_urlsafe(32)
    known = queries.stream_of(session, client_id=client_id)
    stream_id = known.stream_id if known else new_id()
    token = messages.about_stream(
        signing.current(session, keyring=keyring), issuer=config.current().issuer, client_id=client_id,
        stream_id=stream_id, jti=new_id().hex, now=now, event={messages.VERIFICATION: {"state": state}},
    ).token  # fmt: skip
    return Challenge(
        client_id=client_id,
        stream_id=stream_id,
        url=url,
        token=token,
        state=state,
        authorization=authorization,
    )


def await_echo(asked: Challenge, *, client: Client | None = None) -> None:
    """Send a challenge and return when it came back as JSON `{"state": …}` with 200, within ten seconds.

    No transaction may be open meanwhile, not even to resolve a stranger's name.  Raises `guard.UnsafeAddressError`,
    `ProofFailedError` or `BusyProvingError`.
    """
    if not _PROVING.acquire(blocking=False):
        raise BusyProvingError
    try:
        problem = _problem(client or outbound.shared(config.current().egress_allow), asked)
    finally:
        _PROVING.release()
    if problem:
        raise ProofFailedError(problem)


def enable_endpoint(session: Session, *, client_id: str, url: str, now: datetime) -> Stream:
    """Tell a client at `url`, which has proved itself, as `begin_stream` or `move_stream` does."""
    begun = begin_stream(session, client_id=client_id, stream_id=new_id(), method="push", url=url, now=now)
    if begun:
        return begun
    stream = queries.stream_held(session, client_id=client_id)
    move_stream(session, stream, method="push", url=url, now=now)
    return stream


def begin_stream(
    session: Session, *, client_id: str, stream_id: UUID, method: str, url: str | None, now: datetime
) -> Stream | None:
    """Make a client's one stream and have it told by it, of what ended while it had none too; None when it has one."""
    if not make_stream(session, client_id=client_id, stream_id=stream_id, now=now):
        return None
    stream = open_stream(session, client_id=client_id, method=method, url=url, now=now)
    session.execute(_TELL_WHAT_ENDED, {"client_id": client_id})
    return stream


def make_stream(session: Session, *, client_id: str, stream_id: UUID, now: datetime) -> bool:
    """Make a client's one stream, turned off until `open_stream`; False when it has one."""
    fresh = insert(Stream).values(
        stream_id=stream_id, client_id=client_id, created_at=now, state="disabled", reason="It was never used."
    )
    made = session.execute(fresh.on_conflict_do_nothing(index_elements=["client_id"]).returning(Stream.stream_id))
    return made.one_or_none() is not None


def open_stream(session: Session, *, client_id: str, method: str, url: str | None, now: datetime) -> Stream:
    """Have a client told from now on, by push at `url`, which has proved itself, or by poll."""
    stream = queries.stream_held(session, client_id=client_id)
    _lead(session, stream, method=method, url=url, now=now)
    _turn_on(session, stream)
    return stream


def move_stream(session: Session, stream: Stream, *, method: str, url: str | None, now: datetime) -> None:
    """Have a stream, which the caller holds, lead elsewhere; `url` has proved itself.

    Whoever paused it, or turned it off, finds it so afterwards; one that was turned off because it failed is on again.
    """
    rests = stream.state != "enabled" and stream.disabled_at is None
    _lead(session, stream, method=method, url=url, now=now)
    if not rests:
        _turn_on(session, stream)


def send_again(session: Session, *, person_id: UUID, grant_id: UUID) -> None:
    """Owe a company all it may have of one person, received before or not; where nothing was ever owed, nothing is."""
    session.execute(statements.SEND_AGAIN, {"person_id": person_id, "grant_id": grant_id})
    ring(session)


def ring(session: Session) -> None:
    """Have what is due sent once `session` has committed."""
    after_commit(session, _committed)
    queue.ring_once_after_commit(session, config.current().redis_url, queue.PUSH, DRAIN)


def _lead(session: Session, stream: Stream, *, method: str, url: str | None, now: datetime) -> None:
    """Name the place where a client is told; whoever shares with it already is owed to it."""
    if url != stream.url:
        # The header belongs to the address that it was given for, whoever names another one.
        stream.authorization_version, stream.wrapped_authorization = None, None
    stream.method, stream.url, stream.verified_at = method, url, now
    session.flush()
    session.execute(statements.BACKFILL, {"client_id": stream.client_id})


def _turn_on(session: Session, stream: Stream) -> None:
    health.returned(session, stream)
    ring(session)


def _committed() -> None:
    faults.reach("save.committed")


def _problem(client: Client, asked: Challenge) -> str:
    """Return what went wrong, in words; empty when the challenge came back."""
    try:
        answer = client.post(
            asked.url, asked.token.encode(),
            content_type=messages.MEDIA_TYPE, accept="application/json", seconds=_PROOF_SECONDS,
            authorization=asked.authorization,
        )  # fmt: skip
    except outbound.NoAnswerError as error:
        return f"The endpoint could not be proven. {error.public}"
    if answer.status != _OK:
        return f"The endpoint could not be proven. It answered {answer.status} where 200 was expected."
    echoed = _state_of(answer.body)
    if not hmac.compare_digest(echoed.encode("utf-8", "replace"), asked.state.encode()):
        return 'The endpoint could not be proven. It did not answer with JSON {"state": the challenge}.'
    return ""


def _state_of(body: bytes) -> str:
    try:
        parsed: Any = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    echoed = parsed.get("state") if isinstance(parsed, dict) else None
    return echoed if isinstance(echoed, str) else ""

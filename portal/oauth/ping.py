"""Telling a client that its answer is there (CIBA Core 1.0 section 10.2): a hint to fetch it, and nothing else.

A ping that is lost or refused costs the client time, never the answer: it can always poll.  What must be sent
later is wrapped by the keyring, and dropped as soon as the ping has arrived or is given up.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import case, select, update

from portal import config, queue
from portal.companies import queries as companies
from portal.egress import client as outbound
from portal.egress import guard
from portal.oauth.models import BackchannelRequest
from portal.vault.keyring import SESSION, SealBrokenError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from sqlalchemy.orm import Session

    from portal.config import Settings
    from portal.events import ApprovalAnswered
    from portal.vault.keyring import Keyring

log = logging.getLogger(__name__)

PING: Final = "portal.oauth.jobs.ping"
# The first ping, and three more when the client's server does not answer well.
PAUSES: Final = (timedelta(seconds=15), timedelta(seconds=30), timedelta(seconds=60))
# However late the person answers, the client has this long to fetch what they answered.
FETCH_WITHIN: Final = timedelta(minutes=1)
# The first is in the queue of letters to people, which wait no longer for a server that hangs; the others are not.
_FIRST_SECONDS = 2.0
_SECONDS = 10.0
_AT_ONCE = 100
_BATCH = 500
_TOKEN = b"ciba-notification-token"
_ID = b"ciba-auth-req-id"
_FORGOTTEN = {
    "keyring_version": None, "wrapped_notification_token": None, "sealed_auth_req_id": None, "ping_due_at": None,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Ping:
    """What to send where, and how many seconds an answer may take; `last` says that nobody tries again after this."""

    request_hash: bytes
    url: str
    token: str = field(repr=False)
    auth_req_id: str = field(repr=False)
    seconds: float
    last: bool


def prepare(row: BackchannelRequest, keyring: Keyring, *, token: str, auth_req_id: str) -> None:
    """Keep, wrapped, what a ping will have to say and the token the client knows it by."""
    row.keyring_version, row.wrapped_notification_token = keyring.wrap(
        SESSION, token.encode(), context=_TOKEN + row.request_hash
    )
    _version, row.sealed_auth_req_id = keyring.wrap(SESSION, auth_req_id.encode(), context=_ID + row.request_hash)


def on_approval_answered(session: Session, fact: ApprovalAnswered) -> None:
    """Let the client fetch the answer for at least a minute more, and be pinged if it wants to be."""
    mine = BackchannelRequest.request_id == fact.request_id
    pinged = BackchannelRequest.wrapped_notification_token.is_not(None)
    latest = fact.at + FETCH_WITHIN
    changed = update(BackchannelRequest).where(mine).values(
        expires_at=case((BackchannelRequest.expires_at < latest, latest), else_=BackchannelRequest.expires_at),
        ping_due_at=case((pinged, fact.at)),
    )  # fmt: skip
    changed = changed.execution_options(synchronize_session=False)
    if session.scalar(changed.returning(BackchannelRequest.ping_due_at)) is not None:
        queue.ring_after_commit(session, config.current().redis_url, queue.WORK, PING, str(fact.request_id))


def due(session: Session, *, now: datetime) -> Sequence[UUID]:
    """Return the questions whose client should have been pinged by now, at most a hundred."""
    found = select(BackchannelRequest.request_id).where(BackchannelRequest.ping_due_at <= now)
    return session.scalars(found.order_by(BackchannelRequest.ping_due_at).limit(_AT_ONCE)).all()


def take(session: Session, *, keyring: Keyring, request_id: UUID, now: datetime) -> Ping | None:
    """Return a ping that is due, put off so that nobody else sends it meanwhile; None when there is none.

    A client that was suspended or no longer has an endpoint is not pinged.
    """
    row = session.scalar(
        select(BackchannelRequest)
        .where(BackchannelRequest.request_id == request_id, BackchannelRequest.ping_due_at <= now)
        .with_for_update(skip_locked=True)
    )
    if row is None:
        return None
    client = companies.client(session, row.client_id)
    url = client.metadata.backchannel_client_notification_endpoint if client and client.active else None
    opened = _opened(row, keyring)
    if url is None or opened is None:
        forget(session, row.request_hash)
        return None
    last = row.ping_attempts >= len(PAUSES)
    seconds = _SECONDS if row.ping_attempts else _FIRST_SECONDS
    # Were this worker to die, the last try too would be found again, once.
    row.ping_due_at = now + PAUSES[min(row.ping_attempts, len(PAUSES) - 1)]
    row.ping_attempts += 1
    return Ping(
        request_hash=row.request_hash, url=url, token=opened[0], auth_req_id=opened[1], seconds=seconds, last=last
    )


def _opened(row: BackchannelRequest, keyring: Keyring) -> tuple[str, str] | None:
    version, token, auth_req_id = row.keyring_version, row.wrapped_notification_token, row.sealed_auth_req_id
    if version is None or token is None or auth_req_id is None:
        return None
    try:
        return (
            keyring.unwrap(SESSION, version, token, context=_TOKEN + row.request_hash).decode(),
            keyring.unwrap(SESSION, version, auth_req_id, context=_ID + row.request_hash).decode(),
        )
    except SealBrokenError:
        # The key is gone from the keyring: trying again would not bring it back.
        return None


def send(settings: Settings, ping: Ping) -> bool:
    """Send it; say whether that was all there is to do.  Nothing of the answer is used, and no redirect followed."""
    try:
        answer = outbound.shared(settings.egress_allow).post(
            ping.url,
            json.dumps({"auth_req_id": ping.auth_req_id}).encode(),
            content_type="application/json",
            accept="application/json",
            seconds=ping.seconds,
            authorization=f"Bearer {ping.token}",
        )
    except (outbound.NoAnswerError, guard.UnsafeAddressError) as error:
        log.info("a ping was not taken: %s", type(error).__name__)
        return ping.last
    if not 200 <= answer.status < 300:  # noqa: PLR2004 - the class of answers that says yes
        log.info("a ping was answered with %d", answer.status)
        return ping.last
    return True


def forget_unanswered(session: Session, *, now: datetime) -> None:
    """Drop what was kept for pings that will never be sent: nobody answered, and the time is over; 500 a call."""
    over = (BackchannelRequest.expires_at < now, BackchannelRequest.wrapped_notification_token.is_not(None))
    unsent = (*over, BackchannelRequest.ping_due_at.is_(None))
    batch = select(BackchannelRequest.request_hash).where(*unsent).limit(_BATCH).with_for_update(skip_locked=True)
    done = update(BackchannelRequest).where(BackchannelRequest.request_hash.in_(batch)).values(**_FORGOTTEN)
    session.execute(done.execution_options(synchronize_session=False))


def forget(session: Session, request_hash: bytes) -> None:
    """Drop what was kept for the ping: it has arrived, or was given up."""
    done = update(BackchannelRequest).where(BackchannelRequest.request_hash == request_hash).values(**_FORGOTTEN)
    session.execute(done.execution_options(synchronize_session=False))

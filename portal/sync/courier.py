"""Sending parcels: a pool of threads over kept connections, each parcel checked again before its first byte."""

from __future__ import annotations

import logging
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from portal import db
from portal.errors import PortalError
from portal.sync import client, guard, messages, outbox, rules, statements
from portal.sync.client import NoAnswerError
from portal.sync.outbox import Sent
from portal.sync.rules import Outcome, Result
from portal.vault import keyring as keyrings
from portal.vault import signing

if TYPE_CHECKING:
    from uuid import UUID

    from portal.config import Settings
    from portal.sync.outbox import Parcel
    from portal.vault.signing import Signer

log = logging.getLogger(__name__)

THREADS = 16
# RQ ends a job after 60 s; what is left then is another drain's.
_LONGEST_SECONDS = 40.0


@dataclass(frozen=True)
class Lane:
    """How patient a drain is: seconds a receiver may take, leases it holds, parcels it takes at once."""

    seconds: float
    lease_seconds: float
    batch: int


FAST = Lane(seconds=rules.FAST_SECONDS, lease_seconds=20, batch=100)
SLOW = Lane(seconds=rules.SLOW_SECONDS, lease_seconds=45, batch=4)


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, thread_name_prefix="courier")


def drain(settings: Settings, *, lane: Lane, endpoint_id: UUID | None = None) -> set[UUID]:
    """Send what is due until nothing is; return the endpoints that proved too slow for the lane."""
    ends = time.monotonic() + _LONGEST_SECONDS
    flying: set[Future[Sent]] = set()
    slow: set[UUID] = set()
    while True:
        # Claimed only when a thread is about to be free, so that no lease runs out while it waits for one.
        if len(flying) < min(THREADS, lane.batch) and time.monotonic() < ends:
            flying |= _launch(settings, lane, endpoint_id)
        if not flying:
            return slow
        done, flying = wait(flying, return_when=FIRST_COMPLETED)
        sent = [future.result() for future in done]
        with db.transaction(settings.database_url) as session:
            outbox.finish(session, sent, now=db.now())
        slow |= {each.parcel.endpoint_id for each in sent if each.result.too_slow}


def send(settings: Settings, signer: Signer, parcel: Parcel, *, seconds: float) -> Sent:
    """Check again, seal, sign and post one parcel; every way it can fail is a result."""
    started = time.monotonic()
    try:
        result = _sent(settings, signer, parcel, seconds)
    except guard.UnsafeAddressError as error:
        result = Result(outcome=Outcome.FAILED, detail=error.public)
    except NoAnswerError as error:
        outcome = Outcome.UNKNOWN if error.maybe_sent else Outcome.FAILED
        result = Result(
            outcome=outcome,
            detail=error.public,
            too_slow=error.too_slow,
            milliseconds=round((time.monotonic() - started) * 1000),
        )
    except PortalError as error:
        result = Result(outcome=Outcome.FAILED, detail=error.public)
    except Exception as error:  # noqa: BLE001 - one parcel's fault must not cost the others their outcome
        log.error("sending broke: %s", type(error).__name__)  # noqa: TRY400 - a traceback may hold values
        result = Result(outcome=Outcome.UNKNOWN, detail="Something went wrong on our side.")
    return Sent(parcel, result)


def _launch(settings: Settings, lane: Lane, endpoint_id: UUID | None) -> set[Future[Sent]]:
    keyring = keyrings.load(settings.keyring_file)
    with db.transaction(settings.database_url) as session:
        parcels = outbox.claim(
            session,
            keyring=keyring,
            now=db.now(),
            limit=lane.batch,
            lease_seconds=lane.lease_seconds,
            endpoint_id=endpoint_id,
        )
        signer = signing.current(session, keyring=keyring) if parcels else None
    if signer is None:
        return set()
    return {_threads().submit(send, settings, signer, parcel, seconds=lane.seconds) for parcel in parcels}


def _sent(settings: Settings, signer: Signer, parcel: Parcel, seconds: float) -> Result:
    token = messages.build(
        signer,
        issuer=settings.issuer,
        to=parcel.to,
        jti=parcel.jti,
        now=parcel.at,
        profile=parcel.profile,
        consent=parcel.consent,
    )
    if not _allowed_now(settings, parcel):
        return Result(outcome=Outcome.SUPPRESSED, detail="Not sent: the person changed what is shared.")
    answer = client.shared(settings.egress_allow).post(
        parcel.url,
        token.encode(),
        content_type=messages.MEDIA_TYPE,
        accept="application/json",
        seconds=seconds,
    )
    return rules.judge(answer.status, milliseconds=answer.milliseconds, retry_after=answer.retry_after)


def _allowed_now(settings: Settings, parcel: Parcel) -> bool:
    who = {"person_id": parcel.person_id, "grant_id": parcel.grant_id, "lease_id": parcel.lease_id}
    with db.at_once(settings.database_url).connect() as connection:
        row = connection.execute(statements.STILL_ALLOWED, who).one_or_none()
    return outbox.still_allowed(row, parcel, now=db.now())

"""Sending parcels: a pool of threads over kept connections, each parcel checked again before its first byte."""

from __future__ import annotations

import logging
import time
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from portal import db
from portal.egress import client, guard
from portal.egress.client import NoAnswerError
from portal.errors import PortalError
from portal.sync import messages, outbox, rules, statements
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

THREADS = 24
# An endpoint gets one parcel until it has answered in time, so that many that hang take one thread each.
_ROOM_AT_FIRST = 1
_ROOM = 8
# Long enough for a claim to find several parcels, short enough for news to set out while others hang.
_LOOK_SECONDS = 0.04
# RQ ends a job after 60 s; what is left then is another drain's.
_LONGEST_SECONDS = 40.0


@dataclass(frozen=True)
class Lane:
    """How patient a drain is: seconds a receiver may take, leases it holds, parcels it takes at once."""

    seconds: float
    lease_seconds: float
    batch: int


FAST = Lane(seconds=rules.FAST_SECONDS, lease_seconds=20, batch=48)
SLOW = Lane(seconds=rules.SLOW_SECONDS, lease_seconds=45, batch=4)


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, thread_name_prefix="courier")


class _Traffic:
    """What is on its way in one drain, and how much more each endpoint may have on its way."""

    def __init__(self) -> None:
        self._flying: dict[Future[Sent], UUID] = {}
        self._prompt: set[UUID] = set()
        self.slow: set[UUID] = set()

    def __len__(self) -> int:
        return len(self._flying)

    def add(self, flight: Future[Sent], stream_id: UUID) -> None:
        self._flying[flight] = stream_id

    def rooms(self) -> dict[UUID, int]:
        """Return how many parcels may set out to each endpoint that has a room of its own."""
        flying = Counter(self._flying.values())
        known = self._prompt | set(flying)
        return {key: (_ROOM if key in self._prompt else _ROOM_AT_FIRST) - flying[key] for key in known}

    def landed(self) -> list[Sent]:
        """Wait a moment; return what has been answered, or has not been in time."""
        done = wait(self._flying, timeout=_LOOK_SECONDS, return_when=FIRST_COMPLETED).done
        sent = [flight.result() for flight in done]
        for flight in done:
            del self._flying[flight]
        self.slow |= {each.parcel.stream_id for each in sent if each.result.too_slow}
        # What was held back says nothing of how fast its endpoint answers.
        self._prompt |= {each.parcel.stream_id for each in sent if each.result.outcome is not Outcome.SUPPRESSED}
        self._prompt -= self.slow
        return sent


def drain(settings: Settings, *, lane: Lane, stream_id: UUID | None = None) -> set[UUID]:
    """Send what is due until nothing is; return the endpoints that proved too slow for the lane.

    A drain of one endpoint ends with its first timeout, so that others that need patience have their turn.
    """
    ends, looked = time.monotonic() + _LONGEST_SECONDS, 0.0
    traffic = _Traffic()
    while True:
        now = time.monotonic()
        hopeless = stream_id is not None and traffic.slow
        # Claimed only when a thread is about to be free, so that no lease runs out while it waits for one.
        free = len(traffic) < min(THREADS, lane.batch) and now < ends and not hopeless
        if free and (not traffic or now - looked > _LOOK_SECONDS):
            looked = now
            _launch(settings, lane, stream_id, traffic)
        if not traffic:
            return traffic.slow
        if sent := traffic.landed():
            with db.transaction(settings.database_url) as session:
                outbox.finish(session, sent, now=db.now())


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


def _launch(settings: Settings, lane: Lane, stream_id: UUID | None, traffic: _Traffic) -> None:
    keyring = keyrings.load(settings.keyring_file)
    with db.transaction(settings.database_url) as session:
        parcels = outbox.claim(
            session,
            keyring=keyring,
            now=db.now(),
            limit=lane.batch - len(traffic),
            lease_seconds=lane.lease_seconds,
            stream_id=stream_id,
            room=_ROOM_AT_FIRST,
            rooms=traffic.rooms(),
        )
        if not parcels:
            return
        signer = signing.current(session, keyring=keyring)
    for parcel in parcels:
        flight = _threads().submit(send, settings, signer, parcel, seconds=lane.seconds)
        traffic.add(flight, parcel.stream_id)


def _sent(settings: Settings, signer: Signer, parcel: Parcel, seconds: float) -> Result:
    token = messages.build(
        signer,
        issuer=settings.issuer,
        to=parcel.to,
        jti=parcel.jti,
        now=parcel.at,
        news=parcel.news,
    )
    if not _allowed_now(settings, parcel):
        return Result(outcome=Outcome.SUPPRESSED, detail="Not sent: something changed first.")
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

"""The doorbell: jobs named by dotted path, rung after commit; PostgreSQL keeps what there is to do.

Losing every job loses nothing: whatever a job would have done stands in a table and is found again by the
reconciler.  Arguments are ids and never a person's values; the serializer is JSON (no pickle).
"""

from __future__ import annotations

import logging
from functools import cache, partial
from typing import TYPE_CHECKING

from redis import Redis, RedisError
from rq import Queue
from rq.serializers import JSONSerializer

from portal import faults
from portal.db import after_commit

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

log = logging.getLogger(__name__)

PUSH = "push"
# Whatever waits for a stranger's server one by one: pings, key sets.
CALLS = "calls"
WORK = "work"
# People wait for a code to sign in with: nothing that a company can pile up stands before it.
MAIL = "mail"
QUEUES = (PUSH, CALLS, WORK, MAIL)
_JOB_SECONDS = 60
_FAILURE_SECONDS = 3600


@cache
def connection(url: str) -> Redis:
    """Return the process's connection pool to Valkey at `url`."""
    return Redis.from_url(url, socket_timeout=5, socket_connect_timeout=2)


@cache
def queue(url: str, name: str) -> Queue:
    """Return the queue `name`; one of `QUEUES`."""
    return Queue(
        name, connection=connection(url), serializer=JSONSerializer, default_timeout=_JOB_SECONDS, is_async=True
    )


def ring(url: str, name: str, job: str, *args: str) -> bool:
    """Enqueue `job` (a dotted name) with ids as arguments; False when Valkey does not answer.

    A lost ring is not an error: the reconciler rings again.
    """
    try:
        queue(url, name).enqueue(job, args=args, result_ttl=0, failure_ttl=_FAILURE_SECONDS, description=job)
    except RedisError as error:
        log.warning("ring of %s lost: %s", job, type(error).__name__)
        return False
    return True


def ring_once(url: str, name: str, job: str, *args: str, within: int = 1) -> bool:
    """Ring unless the same bell was rung in the last `within` seconds and nobody has answered it yet."""
    try:
        fresh = connection(url).set(bell(job, *args), "1", nx=True, ex=within)
    except RedisError as error:
        log.warning("ring of %s lost: %s", job, type(error).__name__)
        return False
    if fresh:
        faults.reach("ring.noted")
    return bool(fresh) and ring(url, name, job, *args)


def answer(url: str, job: str, *args: str) -> None:
    """Let the next ring of this bell through; a job calls it before it looks for work."""
    connection(url).delete(bell(job, *args))


def bell(job: str, *args: str) -> str:
    """Return the key that says `job` has been rung and not yet answered."""
    return ":".join(("bell", job, *args))


def ring_after_commit(session: Session, url: str, name: str, job: str, *args: str) -> None:
    """Ring once `session` has committed, so that the job finds what it is rung for."""
    after_commit(session, partial(ring, url, name, job, *args))


def ring_once_after_commit(session: Session, url: str, name: str, job: str, *args: str) -> None:
    """Ring once, as `ring_once` does, when `session` has committed."""
    after_commit(session, partial(ring_once, url, name, job, *args))

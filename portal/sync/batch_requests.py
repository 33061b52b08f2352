"""A pull of many people as a company asks for it: kept once, for the job that answers it (`batches`)."""

from __future__ import annotations

import math
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from portal import config, queue
from portal.db import after_commit, new_id
from portal.errors import RefusedError, TooManyError
from portal.sync import idempotency, pull_statements, rules
from portal.sync.models import BatchPull, BatchPullItem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlalchemy.orm import Session

    from portal.config import Settings

RUN_PULLS = "portal.sync.jobs.run_pulls"
# A job rings for the next one before it ends, so the bell is answered late; whoever rang for one that died rings again.
_RUNG_WITHIN = 10
_PULLS_LOCK = 0x55434D02
# How long a pull of a thousand people may take, and so when there is room again at the latest.
_PULL_SECONDS = 60


class TooManyPullsError(RefusedError):
    """The client has as many pulls waiting as it may have (RFC 6585 section 4)."""

    code = "too-many-pulls"
    status = 429
    headers: Mapping[str, str] = MappingProxyType({"Retry-After": str(_PULL_SECONDS)})
    public = "You have ten pulls waiting already. Fetch the result of one, or wait until one is done."


class TooMuchKeptError(TooManyError):
    """The results that are kept for the client would be more than is kept (RFC 6585 section 4)."""

    code = "too-much-kept"
    public = "Results for 100,000 people are kept for you. Fetch each to its last page: it goes an hour later."


def request_pull(
    session: Session,
    *,
    client_id: str,
    subjects: Sequence[str],
    attributes: Sequence[str],
    now: datetime,
    epk: Mapping[str, Any] | None = None,
    key: idempotency.Key | None = None,
) -> BatchPull:
    """Keep a pull of many people for the job that answers it; no attributes means all that are shared.

    `epk` is `{"kid", "jwk"}` of the one-time key that these answers are sealed to as well, where there is one.  A
    `key` that the client has sent before stands for the pull it began then.  Raises `TooManyPullsError`,
    `TooMuchKeptError` and `idempotency.KeyReusedError`.
    """
    # One of a client at a time, or as many as come at once would all find room, and none would know the others' key.
    session.execute(select(func.pg_advisory_xact_lock(_PULLS_LOCK, func.hashtext(client_id))))
    if key and (begun := idempotency.known(session, key, client_id=client_id, now=now)):
        return session.get_one(BatchPull, begun)
    _keep_within_bounds(session, client_id, len(subjects), now)
    pull = BatchPull(
        pull_id=new_id(), client_id=client_id, state="queued", attributes=list(attributes), total=len(subjects),
        requested_at=now, expires_at=now + rules.RESULT_KEPT, epk=dict(epk) if epk else None,
    )  # fmt: skip
    session.add(pull)
    session.flush()
    session.add_all(
        BatchPullItem(pull_id=pull.pull_id, position=position, sub=sub, state="waiting")
        for position, sub in enumerate(subjects)
    )
    session.flush()
    if key:
        idempotency.keep(session, key, client_id=client_id, pull_id=pull.pull_id, expires_at=pull.expires_at)
    after_commit(session, partial(ring, config.current()))
    return pull


def ring(settings: Settings) -> None:
    """Have batch pulls answered; a ring that nobody has answered yet will do."""
    queue.ring_once(settings.redis_url, queue.WORK, RUN_PULLS, within=_RUNG_WITHIN)


def _keep_within_bounds(session: Session, client_id: str, subjects: int, now: datetime) -> None:
    kept = session.execute(pull_statements.KEPT_PULLS, {"client_id": client_id, "now": now}).one()
    if kept.unfinished >= rules.MOST_UNFINISHED:
        raise TooManyPullsError
    if kept.subjects + subjects > rules.MOST_KEPT:
        raise TooMuchKeptError(math.ceil((kept.until - now).total_seconds()))

"""Ending what people share, or offer, for a purpose that is withdrawn: by its company, or taken down by an operator."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import select

from portal import config, queue
from portal.companies import withdrawing
from portal.companies.queries import COMPANY, OPERATOR
from portal.consent import counters, queries, steps
from portal.consent.models import Grant

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Select
    from sqlalchemy.orm import Session

    from portal.companies.withdrawing import Unclosed
    from portal.events import PurposeWithdrawn

# The step of whoever withdrew it, and who took that: of what is shared, and of what is offered.
_STEPS: Final = {COMPANY: ("ended", "company"), OPERATOR: ("taken-down", "operator")}
_OFFERED: Final = {COMPANY: ("declined", "company"), OPERATOR: ("lapsed", "portal")}
RUN: Final = "portal.consent.jobs.end_withdrawn"
_AT_ONCE: Final = 500
# Somebody who agreed at the very moment may not have been seen yet.
_SETTLED: Final = timedelta(minutes=1)


def on_purpose_withdrawn(session: Session, _fact: PurposeWithdrawn) -> None:
    """Have what is shared for it ended once this is committed; the reconciler looks too, should the ring be lost."""
    queue.ring_once_after_commit(session, config.current().redis_url, queue.WORK, RUN)


def end_due(session: Session, *, now: datetime) -> int:
    """End what people still share, or offer, for purposes that are withdrawn, at most 500 at once; return how many.

    `rules.decide` refuses it from the moment itself: this makes the pages and the company say so.
    """
    ended = 0
    for purpose in withdrawing.unclosed(session):
        theirs = _open(purpose).order_by(Grant.grant_id).limit(_AT_ONCE - ended)
        found = session.scalars(theirs.with_for_update(skip_locked=True)).all()
        for held in found:
            _end(session, held, purpose.role, now)
        ended += len(found)
        if ended >= _AT_ONCE:
            break
        if purpose.withdrawn_at < now - _SETTLED and session.scalar(_open(purpose).limit(1)) is None:
            withdrawing.close(session, purpose_id=purpose.purpose_id, now=now)
    return ended


def _end(session: Session, held: Grant, role: str, now: datetime) -> None:
    offered = held.state == counters.STATE
    step, actor = (_OFFERED if offered else _STEPS)[role]
    steps.take(session, held, step, actor, {"state": "refused" if offered else "ended", "changed_at": now})


def _open(purpose: Unclosed) -> Select[Grant]:
    theirs = Grant.client_id == purpose.client_id, Grant.purpose_id == purpose.purpose_id
    return select(Grant).where(*theirs, Grant.state.in_((*queries.LIVE, counters.STATE)))

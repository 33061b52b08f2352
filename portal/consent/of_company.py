"""What a company sees of the consents given to it: a list, and one as it stands; names of details, never a value."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import and_, or_, select

from portal.consent import queries
from portal.consent.models import Grant
from portal.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import ColumnElement
    from sqlalchemy.orm import Session

EXPIRED = "expired"


def state(held: Grant, *, now: datetime) -> str:
    """Return where a grant stands at this moment: its time may be over though nobody has said so yet."""
    over = held.expires_at is not None and held.expires_at <= now
    return EXPIRED if over and held.state in queries.LIVE else held.state


def one(session: Session, *, company_id: UUID, grant_id: UUID) -> Grant:
    """Return a grant that was given to an app of a company; raise NotFoundError for anybody else's."""
    theirs = select(Grant).where(Grant.grant_id == grant_id, Grant.company_id == company_id)
    held = session.scalars(theirs).one_or_none()
    if held is None:
        raise NotFoundError
    return held


def page(
    session: Session,
    *,
    client_ids: Collection[str],
    limit: int,
    now: datetime,
    wanted: str | None = None,
    person_id: UUID | None = None,
    after: UUID | None = None,
) -> tuple[list[Grant], UUID | None]:
    """Return grants in the order in which they were given, and the id of the last one where there are more.

    `wanted` is a state as `state` says it; `person_id` narrows to one person.
    """
    query = select(Grant).where(Grant.client_id.in_(client_ids))
    if wanted is not None:
        query = query.where(_in_state(wanted, now))
    if person_id is not None:
        query = query.where(Grant.person_id == person_id)
    if after is not None:
        query = query.where(Grant.grant_id > after)
    rows = list(session.scalars(query.order_by(Grant.grant_id).limit(limit + 1)))
    return rows[:limit], rows[limit - 1].grant_id if len(rows) > limit else None


def _in_state(wanted: str, now: datetime) -> ColumnElement[bool]:
    over = and_(Grant.state.in_(queries.LIVE), Grant.expires_at <= now)
    if wanted == EXPIRED:
        return or_(Grant.state == EXPIRED, over)
    if wanted in queries.LIVE:
        return and_(Grant.state == wanted, or_(Grant.expires_at.is_(None), Grant.expires_at > now))
    return Grant.state == wanted

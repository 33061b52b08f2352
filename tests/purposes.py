"""Putting another version of a purpose to use, as if it had been drafted, reviewed and found good."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select, update

from portal import db
from portal.companies import purpose_queries
from portal.companies.models import Purpose, PurposeVersion

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.orm import Session


def amend(session: Session, purpose_id: UUID, **said: Any) -> int:  # noqa: ANN401 - columns of a version
    """Let people be asked under a version that differs from the one until now by `said`; return its number."""
    purpose = session.get_one(Purpose, purpose_id)
    before = session.get_one(PurposeVersion, (purpose_id, purpose.version))
    number = before.version + 1
    before.state = purpose_queries.REPLACED
    session.flush()
    after = PurposeVersion(
        purpose_id=purpose_id, version=number, state=purpose_queries.LIVE, drafted_at=db.now(),
        **purpose_queries.content(before) | said,
    )  # fmt: skip
    session.add(after)
    purpose.version = number
    purpose.attributes = list(dict.fromkeys([*purpose.attributes, *purpose_queries.attributes(after)]))
    session.flush()
    return number


def only(session: Session, client_id: str) -> UUID:
    """Return the id of the purpose of a client that has one."""
    return session.scalars(select(Purpose.purpose_id).where(Purpose.client_id == client_id)).one()


def let_nobody_wait(session: Session) -> None:
    """Make a draft again of all that other tests have sent for review: a page shows those that wait longest."""
    waiting = update(PurposeVersion).where(PurposeVersion.state == purpose_queries.WAITING)
    session.execute(waiting.values(state=purpose_queries.DRAFT))

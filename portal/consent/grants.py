"""The rows of grants: begun once, and held still while a step is taken with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from portal.consent import queries
from portal.consent.models import Grant
from portal.db import new_id
from portal.errors import NotFoundError, RefusedError
from portal.ledger import services as ledger

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import ColumnElement
    from sqlalchemy.orm import Session

    from portal.companies.queries import ClientFacts, PurposeFacts


class StoppedError(RefusedError):
    """The sharing is over, and only a new consent can begin it again."""

    code = "sharing-stopped"
    status = 409
    public = (
        "This sharing has already stopped. To share again, choose “Share again” beside it under Sharing, where you "
        "stopped it yourself, or start from the organisation’s own site."
    )


def begin(
    session: Session, person_id: UUID, client: ClientFacts, purpose: PurposeFacts, content: dict[str, Any]
) -> Grant | None:
    """Begin a grant without a version yet; None where the person has one already that leaves no room for it."""
    row = insert(Grant).values(
        person_id=person_id,
        grant_id=new_id(),
        company_id=client.company_id,
        client_id=client.client_id,
        purpose_id=purpose.purpose_id,
        context_id=context(session, client, purpose),
        version=0,
        given_at=content["changed_at"],
        **content,
    )
    return session.scalars(row.on_conflict_do_nothing().returning(Grant)).one_or_none()


def context(session: Session, client: ClientFacts, purpose: PurposeFacts) -> UUID:
    """Return under which words a grant is logged."""
    return ledger.context(
        session,
        company_id=client.company_id,
        client_id=client.client_id,
        company_name=client.company_name,
        purpose=purpose.sentence,
    )


def live(session: Session, person_id: UUID, purpose_id: UUID) -> Grant | None:
    """Return the live grant of a person for a purpose, held still."""
    return _one(session, Grant.person_id == person_id, Grant.purpose_id == purpose_id, Grant.state.in_(queries.LIVE))


def offered(session: Session, person_id: UUID, purpose_id: UUID) -> Grant | None:
    """Return what a person has offered for a purpose and nobody has answered, held still."""
    return _one(session, Grant.person_id == person_id, Grant.purpose_id == purpose_id, Grant.state == "countered")


def lock(session: Session, person_id: UUID, grant_id: UUID, now: datetime) -> Grant:
    """Return a live grant, held still; raise NotFoundError or StoppedError."""
    held = locked(session, person_id, grant_id)
    if held.state not in queries.LIVE or (held.expires_at is not None and held.expires_at <= now):
        raise StoppedError
    return held


def locked(session: Session, person_id: UUID, grant_id: UUID) -> Grant:
    """Return a grant whatever its state, held still; raise NotFoundError."""
    held = _one(session, Grant.person_id == person_id, Grant.grant_id == grant_id)
    if held is None:
        raise NotFoundError
    return held


def _one(session: Session, *which: ColumnElement[bool]) -> Grant | None:
    held = select(Grant).where(*which).with_for_update().execution_options(populate_existing=True)
    return session.scalars(held).one_or_none()

"""Requests that a person does not want to see again: the company may not ask for the purpose until they say so."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert

from portal.consent import grants, services, steps
from portal.consent.models import UnwantedRequest
from portal.errors import RefusedError

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.orm import Session

    from portal.consent.models import Grant
    from portal.consent.services import Reply


class NotWantedError(RefusedError):
    """The person has asked not to be asked for this purpose again; only they can change that."""

    code = "not-to-be-asked"
    public = "This person does not want to be asked for this purpose again. They can change that under Sharing."


def refuse_for_good(session: Session, reply: Reply) -> Grant:
    """Record that a person declined and does not want to be asked for the purpose again."""
    refused = services.refuse(session, replace(reply, shown=reply.shown | {"for_good": True}))
    wish = insert(UnwantedRequest).values(
        person_id=reply.person_id, purpose_id=reply.purpose_id, grant_id=refused.grant_id, since=reply.now
    )
    key = ["person_id", "purpose_id"]
    session.execute(wish.on_conflict_do_update(index_elements=key, set_={"grant_id": refused.grant_id}))
    return refused


def let_ask(session: Session, *, person_id: UUID, grant_id: UUID, now: datetime) -> Grant:
    """Let a company ask again for the purpose that was refused for good by this grant; otherwise nothing changes.

    Raises NotFoundError.
    """
    held = grants.locked(session, person_id, grant_id)
    wish = delete(UnwantedRequest).where(
        UnwantedRequest.person_id == person_id, UnwantedRequest.purpose_id == held.purpose_id
    )
    if session.scalar(wish.returning(UnwantedRequest.purpose_id)) is None:
        return held
    return steps.take(session, held, "asking-allowed", "person", {}, at=now, asked=())


def check(session: Session, *, person_id: UUID, purpose_id: UUID) -> None:
    """Raise NotWantedError where a person does not want to be asked for a purpose."""
    if session.get(UnwantedRequest, (person_id, purpose_id)) is not None:
        raise NotWantedError


def since(session: Session, held: Grant) -> datetime | None:
    """Return since when the company of a grant may not ask for its purpose; None when it may."""
    theirs = select(UnwantedRequest.since).where(
        UnwantedRequest.person_id == held.person_id, UnwantedRequest.purpose_id == held.purpose_id
    )
    return session.scalar(theirs)

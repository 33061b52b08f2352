"""Looks: when staff or an operator open a page about one person, that stands in the person's log like any other use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal
from uuid import UUID, uuid5

from sqlalchemy import text

from portal.ledger import services
from portal.ledger.services import NewDisclosure

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.orm import Session

# The service itself is no company.
NO_COMPANY: Final = UUID(int=0)
# Two looks at the same moment are one.
_ALONE = text("SELECT pg_advisory_xact_lock(hashtextextended(CAST(:look_id AS text), 0))")
_SEEN = text("""
    SELECT EXISTS (SELECT FROM disclosure
                    WHERE person_id = :person_id AND disclosure_id = :look_id
                      AND at >= :hour AND at < CAST(:hour AS timestamptz) + interval '1 hour')
""")


@dataclass(frozen=True, kw_only=True)
class Viewer:
    """Who looks: the log names the `role` and the company, and never the person at the keyboard.

    `channel` is `staff`, or `operator` for those who look after the service; theirs is `NO_COMPANY`.
    """

    viewer_id: UUID
    channel: Literal["staff", "operator"]
    role: str
    company_id: UUID
    client_id: str
    company_name: str


def record(
    session: Session, *, viewer: Viewer, person_id: UUID, purpose: str, now: datetime, grant_id: UUID | None = None
) -> None:
    """Log that a page about this person was opened, once an hour for each viewer and app; a value is never shown there.

    `purpose` is what the page is for, verb first: "see what was sent and whether it arrived".
    """
    hour = now.replace(minute=0, second=0, microsecond=0)
    look_id = _look_id(viewer, person_id, hour)
    session.execute(_ALONE, {"look_id": look_id})
    if session.scalar(_SEEN, {"person_id": person_id, "look_id": look_id, "hour": hour}):
        return
    words = {"client_id": viewer.client_id, "company_name": viewer.company_name, "purpose": purpose}
    look = NewDisclosure(
        person_id=person_id,
        at=now,
        disclosure_id=look_id,
        context_id=services.context(session, company_id=viewer.company_id, **words),
        grant_id=grant_id,
        channel=viewer.channel,
        outcome="completed",
        reason=viewer.role,
        asked=[],
        given={},
    )
    services.record(session, look)


def operator(viewer_id: UUID, *, service_name: str) -> Viewer:
    """Return somebody who looks after the service, as the log names them."""
    return Viewer(
        viewer_id=viewer_id,
        channel="operator",
        role="operator",
        company_id=NO_COMPANY,
        client_id="",
        company_name=service_name,
    )


def _look_id(viewer: Viewer, person_id: UUID, hour: datetime) -> UUID:
    """Return the id of a look in this hour; it does not say who it was."""
    return uuid5(viewer.viewer_id, f"{viewer.client_id} {person_id} {hour.isoformat()}")

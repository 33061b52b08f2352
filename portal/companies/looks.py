"""What staff and operators look up about one person stands in that person's log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import g, request

from portal.ledger import views
from portal.ledger.views import Viewer
from portal.web.access import person_id as viewer_id
from portal.web.context import now, session, settings

if TYPE_CHECKING:
    from uuid import UUID


def record(person_id: UUID, *, client_id: str, purpose: str, grant_id: UUID | None = None, again: bool = False) -> None:
    """Log that whoever of the staff is at the keyboard opens a page about this person; `purpose` is verb first.

    `again` logs it also where something was sent from the page and it is shown again.
    """
    viewer = Viewer(
        viewer_id=viewer_id(),
        channel="staff",
        role=g.staff.role,
        company_id=g.company.company_id,
        client_id=client_id,
        company_name=g.company.trading_name,
    )
    _record(viewer, person_id, purpose, grant_id, again=again)


def record_of_operator(person_id: UUID, *, purpose: str, grant_id: UUID | None = None, again: bool = False) -> None:
    """Log that an operator opens a page about this person; `again` as for staff."""
    viewer = views.operator(viewer_id(), service_name=settings().service_name)
    _record(viewer, person_id, purpose, grant_id, again=again)


def _record(viewer: Viewer, person_id: UUID, purpose: str, grant_id: UUID | None, *, again: bool) -> None:
    # What is sent from a page was seen when that was opened.
    if again or request.method == "GET":
        views.record(session(), viewer=viewer, person_id=person_id, purpose=purpose, now=now(), grant_id=grant_id)

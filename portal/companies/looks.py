"""What staff look up about one person stands in that person's log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import g

from portal.ledger import views
from portal.ledger.views import Viewer
from portal.web.access import person_id as viewer_id
from portal.web.context import now, session

if TYPE_CHECKING:
    from uuid import UUID


def record(person_id: UUID, *, client_id: str, purpose: str, grant_id: UUID | None = None) -> None:
    """Log that whoever is at the keyboard opened a page about this person; `purpose` is what for, verb first."""
    viewer = Viewer(
        viewer_id=viewer_id(),
        channel="staff",
        role=g.staff.role,
        company_id=g.company.company_id,
        client_id=client_id,
        company_name=g.company.trading_name,
    )
    views.record(session(), viewer=viewer, person_id=person_id, purpose=purpose, now=now(), grant_id=grant_id)

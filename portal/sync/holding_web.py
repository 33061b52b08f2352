"""What only delivery knows of a copy: whether a newer one is on its way, and what its organisation said it did."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from flask import g, render_template
from sqlalchemy import text

from portal.sync.receipts import REASONS
from portal.web.access import person_id
from portal.web.context import session

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

# What was said last of any message; what is owed and can be sent, or collected, at this moment.
_COPIES = text("""
    SELECT g.grant_id, r.status, r.reason, r.applied_at,
           COALESCE(d.generation > d.acked_generation AND NOT d.held AND n.state = 'enabled', false) AS on_its_way
      FROM "grant" g
      LEFT JOIN delivery d ON d.person_id = g.person_id AND d.grant_id = g.grant_id
      LEFT JOIN stream n ON n.client_id = g.client_id
      LEFT JOIN LATERAL (
           SELECT status, reason, applied_at FROM receipt
            WHERE person_id = g.person_id AND grant_id = g.grant_id ORDER BY applied_at DESC LIMIT 1) r ON true
     WHERE g.person_id = :person_id AND g.state = 'active'
""")


class Copy(NamedTuple):
    """How a copy is by what its organisation `said` of the last message, `at` when; empty where it said nothing.

    `problem` says what was wrong with that message, where it could not be used.
    """

    said: str
    problem: str
    at: datetime | None
    on_its_way: bool


def copy_note_slot(grant_id: UUID) -> str:
    """Return what delivery knows of a copy that is shared now; one query for all copies of a page."""
    if "copies" not in g:
        rows = session().execute(_COPIES, {"person_id": person_id()})
        g.copies = {
            row.grant_id: Copy(row.status or "", _problem(row.reason), row.applied_at, row.on_its_way) for row in rows
        }
    found = g.copies.get(grant_id)
    return render_template("sync/_copy_note.html", copy=found).strip() if found else ""


def _problem(reason: str | None) -> str:
    return REASONS.get(reason, REASONS["other"]).words if reason else ""

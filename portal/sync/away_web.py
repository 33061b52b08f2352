"""What people read of an organisation that does not accept updates: on Home and on its card."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from flask import g, render_template

from portal.sync import away
from portal.web.access import person_id
from portal.web.context import session

if TYPE_CHECKING:
    from uuid import UUID

    from portal.sync.away import Away


def away_slot() -> str:
    """Return the note on Home that names every organisation that does not accept updates; empty when there is none."""
    found = list(_away().values())
    return render_template("sync/_away.html", away=found) if found else ""


def away_of_sharing_slot(grant_id: UUID) -> str:
    """Return the note on one sharing's card; empty while it is kept up to date."""
    one = _away().get(grant_id)
    return render_template("sync/_away_card.html", one=one) if one else ""


def _away() -> dict[UUID, Away]:
    # Looked up once a request, however many cards there are.
    if "away" not in g:
        g.away = {one.grant_id: one for one in away.of_person(session(), person_id=person_id())}
    return cast("dict[UUID, Away]", g.away)

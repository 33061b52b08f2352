"""What was on its way when a person paused or stopped, on that sharing's card; it looks again until all is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flask import Blueprint, render_template, request

from portal.consent import queries as consents
from portal.errors import NotFoundError
from portal.sync import in_flight
from portal.web.access import person_id, person_required
from portal.web.context import session
from portal.web.pages import page

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from flask import Response

    from portal.consent.models import Grant
    from portal.sync.in_flight import UnderWay

pages = Blueprint("in_flight", __name__)

_WORDS = {"paused": "Paused", "withdrawn": "Stopped"}
# Longer than a request to a company may take; what is open then is settled by the reconciler, and by hand here.
_CLOSE_LOOKS = 120


@dataclass(frozen=True, kw_only=True)
class Halt:
    """A pause or a stop, and what was under way; `delay` is when the page looks again, empty when all is known.

    `word` is empty where sharing goes on: it was resumed in another window, or never halted.
    """

    grant_id: UUID
    word: str
    at: datetime
    under_way: Sequence[UnderWay]
    turn: int

    @property
    def delay(self) -> str:
        if not any(one.open for one in self.under_way):
            return ""
        return "500ms" if self.turn < _CLOSE_LOOKS else "10s"


@pages.get("/updates/sharing/<uuid:grant_id>")
@person_required
def halted(grant_id: UUID) -> Response:
    held = consents.grant(session(), person_id=person_id(), grant_id=grant_id)
    if held is None:
        raise NotFoundError
    turn = request.args.get("turn", default=0, type=int)
    return page("sync/in_flight.html", "halt", halt=_halt(held, turn=turn + 1))


def in_flight_slot(held: Grant) -> str:
    """Return what was on its way when this person paused or stopped."""
    return render_template("sync/_in_flight.html", halt=_halt(held, turn=0))


def _halt(held: Grant, *, turn: int) -> Halt:
    word = _WORDS.get(held.state, "")
    under_way: Sequence[UnderWay] = ()
    if word:
        under_way = in_flight.at_halt(
            session(), person_id=held.person_id, grant_id=held.grant_id, halted_at=held.changed_at
        )
    return Halt(grant_id=held.grant_id, word=word, at=held.changed_at, under_way=under_way, turn=turn)

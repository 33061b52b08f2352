"""Are these still right to share?  All that goes on, on one page, and one press to keep it so."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from flask import Blueprint, flash, redirect, request, url_for
from flask_login import current_user

from portal.companies import queries as companies
from portal.consent import asking, cards, renewing, time_left
from portal.errors import RefusedError
from portal.web.access import person_id, person_required
from portal.web.context import now, session
from portal.web.dates import day
from portal.web.pages import page

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from uuid import UUID

    from flask.typing import ResponseReturnValue

    from portal.companies.queries import PurposeFacts
    from portal.consent.cards import Card

pages = Blueprint("check", __name__)

_AT_ONCE = 50
TITLE = "Are these still right to share?"
# From how much of its time on, in per cent, and what is said then.
_STAGES = (
    (95, "It ends very soon."),
    (80, "Four fifths of its time have gone by."),
    (50, "Half of its time has gone by."),
)
_YEAR = "You said so a year ago or longer."
_UNUSED = "Nobody has used it for six months or longer. What nobody uses for a year is paused."


@dataclass(frozen=True, kw_only=True)
class Line:
    """One organisation and use; for how many `days` one keeps it, and `until` when.

    Both are None for what goes on until the person stops it.
    """

    card: Card
    days: int | None = None
    until: datetime | None = None

    @property
    def why(self) -> str:
        """Why it is worth a look now, the most pressing first; empty where there is no reason."""
        reached = next((words for percent, words in _STAGES if (self.card.gone or 0) >= percent), "")
        return reached or (_UNUSED if self.card.unused else _YEAR if self.card.ask_again else "")

    @property
    def answer(self) -> str:
        """What the button says: the exact words that are kept with the step."""
        return f"Keep sharing until {day(self.until)}" if self.until else "Still right: keep sharing"

    def shown(self) -> dict[str, Any]:
        """Return what the person read, without a value, for the record of their answer."""
        return {
            "title": TITLE,
            "organisation": self.card.company_name,
            "sentence": self.card.sentence,
            "details": list(self.card.grant.attributes),
            "answers": [self.answer],
        }


@pages.route("/sharing/check", methods=["GET", "POST"])
@person_required
def check() -> ResponseReturnValue:
    lines, more = _lines()
    if request.method == "POST":
        wanted = set(request.form.getlist("keep"))
        flash(*_keep([line for line in lines if str(line.card.id) in wanted]))
        return redirect(url_for("check.check"), 303)
    return page("consent/check.html", title=TITLE, lines=lines, more=more)


def _keep(lines: Iterable[Line]) -> tuple[str, str]:
    kept, left = 0, []
    for line in lines:
        try:
            _renew(line)
            kept += 1
        except RefusedError as error:
            # One that its organisation has given up meanwhile does not keep the others from going on.
            left.append(f"{line.card.company_name}: {error.public}")
    said = f"You keep sharing with {'1 organisation' if kept == 1 else f'{kept} organisations'}." if kept else ""
    return " ".join([said, *left]).strip() or "Nothing was changed.", "hold" if left or not kept else "message"


def _renew(line: Line) -> None:
    held = line.card.grant
    wanted = asking.agreed(session(), held=held)
    with session().begin_nested():
        renewing.renew(
            session(),
            person_id=held.person_id,
            grant_id=held.grant_id,
            level=current_user.level,
            shown=line.shown(),
            now=now(),
            days=line.days,
            wanted=wanted,
        )


def _lines() -> tuple[list[Line], int]:
    """Return what is worth a look first, as much as can be answered at one press, and how many more there are."""
    made = cards.of_person(session(), person_id=person_id(), now=now())
    active = [card for card in made if card.state == "active" and not card.once]
    purposes = companies.purposes_at(session(), {_version(card) for card in active})
    lines = [_line(card, purposes.get(_version(card))) for card in active]
    # What was answered last comes last, so that whoever has many gets through them.
    lines.sort(key=lambda line: (not line.why, -(line.card.gone or 0), line.card.grant.changed_at))
    return lines[:_AT_ONCE], max(len(lines) - _AT_ONCE, 0)


def _version(card: Card) -> tuple[UUID, int]:
    return card.grant.purpose_id, card.grant.purpose_version


def _line(card: Card, purpose: PurposeFacts | None) -> Line:
    start, end = card.started, card.grant.expires_at
    if end is None or start is None:
        return Line(card=card)
    days = time_left.days(start, end)
    days = min(days, purpose.longest_days) if purpose else days
    return Line(card=card, days=days, until=now() + timedelta(days=days))

"""Share again what has stopped: the organisation's question, put by the person themselves, with nothing ticked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import Blueprint, flash, redirect, request, url_for
from flask_login import current_user

from portal.consent import asking, cards, queries, services
from portal.consent.forms import AskForm
from portal.errors import NotFoundError
from portal.web.access import person_id, person_required
from portal.web.context import keyring, now, session
from portal.web.pages import page

if TYPE_CHECKING:
    from uuid import UUID

    from flask.typing import ResponseReturnValue

    from portal.consent.asking import Ask
    from portal.consent.models import Grant

pages = Blueprint("again", __name__)


@pages.route("/sharing/<uuid:grant_id>/again", methods=["GET", "POST"])
@person_required
def again(grant_id: UUID) -> ResponseReturnValue:
    """Begin a new consent where one has stopped; the old one stays as it is."""
    held = queries.grant(session(), person_id=person_id(), grant_id=grant_id)
    if held is None:
        raise NotFoundError
    card = cards.of_grant(session(), held=held, now=now())
    living = _living(held)
    if living is not None or not card.may_begin_again:
        # A page that was left open, or another window: there is nothing to begin.
        place = url_for("consent.agreement", grant_id=living.grant_id if living else grant_id)
        if request.method == "POST":
            return redirect(place, 303)
        return page("consent/not_again.html", card=card, living=living is not None, place=place)
    ask = asking.of_grant(session(), keyring=keyring(), held=held)
    form = AskForm(ask).as_chosen()
    if request.method == "POST" and form.declined:
        return redirect(url_for("consent.agreement", grant_id=grant_id), 303)
    if form.validate_on_submit():
        return form.first(request.path) or _begin(ask, form)
    return page("consent/again.html", status=422 if form.errors else 200, ask=ask, form=form, card=card)


def _living(held: Grant) -> Grant | None:
    return queries.live_for_purpose(session(), person_id=held.person_id, purpose_id=held.purpose_id)


def _begin(ask: Ask, form: AskForm) -> ResponseReturnValue:
    choice = form.choice()
    shown: dict[str, Any] = asking.shown(ask) | {"title": title(ask)}
    made = services.give(
        session(),
        person_id=person_id(),
        client_id=ask.client_id,
        purpose_id=ask.purpose_id,
        attributes=choice.attributes,
        mode=choice.mode,
        days=choice.days,
        level=current_user.level,
        wanted=ask.wanted,
        shown=shown,
        now=now(),
        version=ask.purpose_version,
    )
    flash(f"You share with {ask.organisation.name} again.")
    return redirect(url_for("consent.receipt", grant_id=made.grant_id), 303)


def title(ask: Ask) -> str:
    """Return what the page asks, as it is kept with the answer."""
    return f"Share with {ask.organisation.name} again?"

"""Freeze everything, and choose what goes on again; the strip on every page while it lasts."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask_login import current_user

from portal.consent import cards, freezing
from portal.db import now as clock
from portal.identity import onward
from portal.web.access import person_id, person_required, recent_sign_in
from portal.web.context import now, session
from portal.web.pages import page

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

pages = Blueprint("freezing", __name__)

ALL = "all"


@pages.route("/sharing/freeze", methods=["GET", "POST"])
@person_required
def freeze() -> ResponseReturnValue:
    since = freezing.since(session(), person_id=person_id())
    if request.method == "POST":
        # The moment from which nothing sets out any more: whoever is sending now has been waited for.
        freezing.hold(session(), person_id=person_id())
        freezing.freeze(session(), person_id=person_id(), now=clock())
        flash("Everything is frozen. No organisation gets anything from now on.")
        return redirect(url_for("freezing.freeze"), 303)
    live = [card for card in cards.of_person(session(), person_id=person_id(), now=now()) if card.live]
    return page("consent/freeze.html", since=since, live=live)


@pages.route("/sharing/unfreeze", methods=["GET", "POST"])
@recent_sign_in
def unfreeze() -> ResponseReturnValue:
    """Let the person choose what goes on; whoever only found their open browser cannot.

    The address may say where that leads: the question that they were about to say yes to.
    """
    onwards = onward.place(url_for("consent.sharing"))
    if freezing.since(session(), person_id=person_id()) is None:
        return redirect(onwards, 303)
    held = freezing.frozen(session(), person_id=person_id())
    if request.method == "POST":
        wanted = {grant.grant_id for grant in held} if request.form.get("which") == ALL else _ticked()
        done = freezing.unfreeze(session(), person_id=person_id(), resume=wanted, now=clock())
        flash(_said(done))
        return redirect(onwards, 303)
    back = onward.place("")
    return page("consent/unfreeze.html", cards=cards.of_grants(session(), grants=held, now=now()), back=back)


def frozen_slot() -> str:
    """Return the strip that says that everything is frozen; empty when nothing is, and for strangers."""
    if not current_user.is_authenticated:
        return ""
    since = freezing.since(session(), person_id=person_id())
    # What stands further down the page offers nothing then that would be refused.
    g.frozen = since is not None
    return render_template("consent/_frozen.html", since=since) if since else ""


def _ticked() -> set[UUID]:
    found = set()
    for text in request.form.getlist("resume"):
        try:
            found.add(UUID(text))
        except ValueError:
            # No consent has such a name.
            continue
    return found


def _said(done: freezing.Unfrozen) -> str:
    if not done.resumed:
        return "Nothing is frozen any more. What was paused stays paused." if done.paused else "Nothing is frozen now."
    goes_on = f"Sharing with {_organisations(done.resumed)} goes on."
    return f"{goes_on} The rest stays paused." if done.paused else goes_on


def _organisations(count: int) -> str:
    return "1 organisation" if count == 1 else f"{count} organisations"

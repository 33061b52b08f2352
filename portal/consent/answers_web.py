"""Sharing, what came after a no: taking an offer back, and letting an organisation ask again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, flash, redirect, render_template, url_for

from portal.consent import counters, unwanted
from portal.web.access import person_id, person_required
from portal.web.context import now, session

if TYPE_CHECKING:
    from uuid import UUID

    from werkzeug.wrappers import Response as AnyResponse

    from portal.consent.models import Grant

pages = Blueprint("consent_answers", __name__)


@pages.post("/sharing/<uuid:grant_id>/take-back")
@person_required
def take_back(grant_id: UUID) -> AnyResponse:
    held = counters.take_back(session(), person_id=person_id(), grant_id=grant_id, now=now())
    taken = held.state == "refused"
    flash("You took your offer back. Nothing is shared." if taken else "This offer was answered already.")
    return redirect(url_for("consent.agreement", grant_id=grant_id), 303)


@pages.post("/sharing/<uuid:grant_id>/let-them-ask")
@person_required
def let_them_ask(grant_id: UUID) -> AnyResponse:
    unwanted.let_ask(session(), person_id=person_id(), grant_id=grant_id, now=now())
    flash("They may ask you again. Nothing is shared until you agree.")
    return redirect(url_for("consent.agreement", grant_id=grant_id), 303)


def answer_again_slot(held: Grant) -> str:
    """Return what can be done about an offer that waits, or about a company that may not ask; empty elsewhere."""
    waits = counters.waits(held, now=now())
    since = unwanted.since(session(), held) if held.state in {"refused", "deferred"} else None
    if not waits and since is None:
        return ""
    answer_by = counters.answer_by(held) if waits else None
    return render_template("consent/_answer_again.html", held=held, since=since, answer_by=answer_by)

"""Sharing: what each organisation gets, and how to pause, change or stop it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import Blueprint, flash, jsonify, redirect, request, url_for
from flask_login import current_user

from portal.companies import queries as companies
from portal.consent import (
    approvals,
    asking,
    cards,
    freezing,
    holders,
    queries,
    receipts,
    services,
    stopping,
)
from portal.consent.forms import AskForm
from portal.consumer.catalogue import CATALOGUE
from portal.db import now as clock
from portal.errors import InvalidError, NotFoundError
from portal.web.access import person_id, person_required
from portal.web.context import keyring, now, session, settings
from portal.web.pages import page, wants_fragment

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from uuid import UUID

    from flask import Response
    from flask.typing import ResponseReturnValue
    from werkzeug.wrappers import Response as AnyResponse

    from portal.companies.queries import ClientFacts, PurposeFacts
    from portal.consent.models import Grant

pages = Blueprint("consent", __name__)


@pages.get("/sharing")
@person_required
def sharing() -> Response:
    made = cards.of_person(session(), person_id=person_id(), now=now())
    state = request.args.get("state", "")
    if state and state not in cards.GROUPS:
        raise InvalidError("Choose one of the lists on the Sharing page.", pointer="/state")
    by_detail = request.args.get("view") == "detail"
    return page(
        "consent/sharing.html",
        "list",
        cards=[card for card in made if not state or card.group == state],
        counts=cards.counts(made),
        groups=cards.GROUPS,
        state=state,
        waiting=len(approvals.waiting(session(), person_id=person_id(), now=now())),
        details=holders.by_detail(session(), person_id=person_id(), now=now()) if by_detail else None,
    )


@pages.get("/sharing/recipients")
@person_required
def recipients() -> Response:
    wanted = [name for name in request.args.getlist("attribute") if name in CATALOGUE]
    return page("consent/recipients.html", "recipients", attributes=wanted)


@pages.get("/sharing/<uuid:grant_id>")
@person_required
def agreement(grant_id: UUID) -> Response:
    return _agreement(_mine(grant_id))


@pages.route("/sharing/<uuid:grant_id>/change", methods=["GET", "POST"])
@person_required
def change(grant_id: UUID) -> ResponseReturnValue:
    held = _mine(grant_id)
    card = cards.of_grant(session(), held=held, now=now())
    if not card.live:
        raise services.StoppedError
    ask = asking.of_grant(session(), keyring=keyring(), held=held, version=held.purpose_version)
    form = AskForm(ask, ends=asking.as_now(held)).as_chosen()
    if form.validate_on_submit():
        if elsewhere := form.first(request.path):
            return elsewhere
        _keep(held, ask, form)
        flash(f"Saved. {card.company_name} now gets what you chose.")
        return redirect(url_for("consent.receipt", grant_id=grant_id), 303)
    return page("consent/change.html", status=422 if form.errors else 200, ask=ask, form=form, card=card)


@pages.route("/sharing/<uuid:grant_id>/stop", methods=["GET", "POST"])
@person_required
def stop(grant_id: UUID) -> AnyResponse:
    held = _mine(grant_id)
    card = cards.of_grant(session(), held=held, now=now())
    has = holders.of_grant(session(), person_id=person_id(), grant_id=grant_id, now=now())
    words = stopping.of_stop(card, stop_effect=_stop_effect(held), holds=queries.holds(session(), held), now=now())
    if request.method == "POST":
        erase = bool(words.question) and "erase" in request.form
        stopped = services.withdraw(
            session(), person_id=person_id(), grant_id=grant_id, now=_steady(grant_id), erase=erase,
            shown=words.shown(erase=erase) | {"has": [one.attribute for one in has]},
        )  # fmt: skip
        over = "You stopped sharing with {}" if stopped.state == "withdrawn" else "Sharing with {} had ended already"
        asked = stopped.erasure_asked_at is not None and erase
        flash(f"{over.format(card.company_name)}{', and you asked them to delete what they have' * asked}.")
        return redirect(url_for("consent.agreement", grant_id=grant_id), 303)
    if not card.live:
        return redirect(url_for("consent.agreement", grant_id=grant_id), 303)
    return page("consent/stop.html", card=card, words=words, has=has)


@pages.post("/sharing/<uuid:grant_id>/ask-deletion")
@person_required
def ask_deletion(grant_id: UUID) -> AnyResponse:
    card = cards.of_grant(session(), held=_mine(grant_id), now=now())
    words = stopping.of_erasure(card)
    services.ask_erasure(session(), person_id=person_id(), grant_id=grant_id, shown=words.shown(erase=True), now=now())
    flash(f"You asked {card.company_name} to delete what they have.")
    return redirect(url_for("consent.agreement", grant_id=grant_id), 303)


@pages.post("/sharing/<uuid:grant_id>/pause")
@person_required
def pause(grant_id: UUID) -> AnyResponse:
    return _switch(grant_id, services.pause, "Paused. {} sees nothing new.")


@pages.post("/sharing/<uuid:grant_id>/resume")
@person_required
def resume(grant_id: UUID) -> AnyResponse:
    return _switch(grant_id, services.resume, "Sharing with {} again.")


@pages.get("/sharing/<uuid:grant_id>/receipt")
@person_required
def receipt(grant_id: UUID) -> Response:
    held = _mine(grant_id)
    return page(
        "consent/receipt.html",
        card=cards.of_grant(session(), held=held, now=now()),
        told=receipts.of_grant(session(), held, settings=settings(), keyring=keyring(), now=now()),
        steps=queries.versions(session(), person_id=person_id(), grant_id=grant_id),
        receipt_number=_number(held),
        # With the host, for whoever reads it on paper.
        address=settings().url + url_for("consent.agreement", grant_id=grant_id),
    )


@pages.get("/sharing/<uuid:grant_id>/receipt.json")
@person_required
def receipt_file(grant_id: UUID) -> Response:
    record = receipts.of_grant(session(), _mine(grant_id), settings=settings(), keyring=keyring(), now=now())
    response = jsonify(record)
    response.headers["Content-Disposition"] = f'attachment; filename="{record["receipt_id"]}.json"'
    response.headers["Cache-Control"] = "no-store"
    return response


def _mine(grant_id: UUID) -> Grant:
    held = queries.grant(session(), person_id=person_id(), grant_id=grant_id)
    if held is None:
        raise NotFoundError
    return held


def _facts(held: Grant) -> tuple[ClientFacts, PurposeFacts]:
    client = companies.client(session(), held.client_id)
    purpose = companies.purpose(session(), held.purpose_id, version=held.purpose_version)
    if client is None or purpose is None:
        raise NotFoundError
    return client, purpose


def _stop_effect(held: Grant) -> str:
    client = companies.client(session(), held.client_id)
    company = companies.company(session(), slug=client.company_slug) if client else None
    return company.stop_effect if company else ""


def _steady(grant_id: UUID) -> datetime:
    """Return the moment from which nothing sets out any more: whoever is sending now has been waited for."""
    queries.hold(session(), person_id=person_id(), grant_id=grant_id)
    return clock()


def _number(held: Grant) -> str:
    return receipts.number(held)


def _keep(held: Grant, ask: asking.Ask, form: AskForm) -> None:
    choice = form.choice()
    services.change(
        session(),
        person_id=held.person_id,
        grant_id=held.grant_id,
        attributes=choice.attributes,
        mode=choice.mode,
        days=choice.days,
        level=current_user.level,
        wanted=ask.wanted,
        keep_end=form.keeps_end,
        shown=asking.shown(ask) | _words_of_change(ask, form),
        now=now(),
    )


def _words_of_change(ask: asking.Ask, form: AskForm) -> dict[str, Any]:
    # This page asks in other words than the first one did, so its words are the ones to keep.
    return {
        "title": f"Change what {ask.organisation.name} gets",
        "replaces": "",
        "durations": list(form.offered.values()),
        "answers": ["Save these choices", "Leave as it is"],
    }


def _switch(grant_id: UUID, act: Callable[..., Grant], words: str) -> AnyResponse:
    over, whole = None, request.args.get("page") == "agreement"
    try:
        act(session(), person_id=person_id(), grant_id=grant_id, now=_steady(grant_id))
    except (services.StoppedError, freezing.FrozenError) as error:
        # A card left open while sharing stopped, or froze, elsewhere is replaced by what is true now.
        if not wants_fragment():
            raise
        over = error.public
    made = cards.of_person(session(), person_id=person_id(), now=now())
    card = next(card for card in made if card.id == grant_id)
    said = over or words.format(card.company_name)
    if wants_fragment() and whole:
        return _agreement(card.grant, said=said)
    if wants_fragment():
        return page("consent/_card.html", card=card, said=said, counts=cards.counts(made), swapped=True)
    flash(said)
    place = url_for("consent.agreement", grant_id=grant_id) if whole else url_for("consent.sharing")
    return redirect(f"{place}#s-{grant_id}", 303)


def _agreement(held: Grant, *, said: str = "") -> Response:
    client, purpose = _facts(held)
    card = cards.of_grant(session(), held=held, now=now())
    may_ask = not card.live and held.erasure_asked_at is None and queries.holds(session(), held)
    return page(
        "consent/agreement.html",
        "live",
        card=card,
        erasure=stopping.of_erasure(card) if may_ask else None,
        steps=queries.versions(session(), person_id=person_id(), grant_id=held.grant_id),
        purpose=purpose,
        organisation=companies.company(session(), slug=client.company_slug),
        receipt_number=_number(held),
        said=said,
    )

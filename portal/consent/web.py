"""Sharing: what each organisation gets, and how to pause, change or stop it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from flask import Blueprint, flash, jsonify, redirect, request, url_for
from flask_login import current_user

from portal.companies import queries as companies
from portal.consent import (
    approvals,
    approving,
    asking,
    cards,
    freezing,
    holders,
    later,
    queries,
    receipts,
    services,
    stopping,
)
from portal.consent.forms import AskForm
from portal.consumer.catalogue import CATALOGUE
from portal.db import now as clock
from portal.errors import InvalidError, NotFoundError, RefusedError
from portal.web.access import has_two_proofs, person_id, person_required, to_second_proof
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
    from portal.consent.models import ApprovalRequest, Grant

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


@pages.get("/sharing/requests")
@person_required
def requests() -> Response:
    return page("consent/requests.html", questions=approvals.of_person(session(), person_id=person_id(), now=now()))


@pages.route("/sharing/requests/<uuid:request_id>", methods=["GET", "POST"])
@person_required
def approval(request_id: UUID) -> ResponseReturnValue:
    """Ask the person what a company asked from afar; whatever comes after the first answer changes nothing."""
    question = approvals.question(session(), person_id=person_id(), request_id=request_id, now=now())
    if question is None:
        raise NotFoundError
    if not question.waiting:
        return _settled(question)
    try:
        ask = approving.build(session(), keyring=keyring(), row=question.row)
    except (InvalidError, NotFoundError, RefusedError):
        # The company has changed its purpose since: what it asked can no longer be agreed to.
        return _settled(replace(question, state=approvals.CANCELLED))
    form = approving.form_of(ask, now=now())
    if request.method == "POST" and (form.declined or form.validate_on_submit()):
        return _second_proof_first(question, form) or _answer(question, ask, form)
    return page(
        "consent/request.html",
        status=422 if form.errors else 200,
        question=question,
        title=approving.title(ask, form),
        message=approvals.message_of(session(), keyring=keyring(), row=question.row),
        ask=ask,
        form=form,
        confirming=isinstance(form, approving.ConfirmForm),
        proof_to_come=question.wants_two_proofs and not has_two_proofs(),
    )


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
    freezing.check(session(), person_id=person_id())
    ask = asking.of_grant(session(), keyring=keyring(), held=held, version=held.purpose_version)
    form = AskForm(ask, ends=asking.as_now(held)).as_chosen()
    if form.validate_on_submit():
        if to_proof := form.second_proof_first(request.path):
            return to_proof
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
        services.withdraw(
            session(), person_id=person_id(), grant_id=grant_id, now=_steady(grant_id), erase=erase,
            shown=words.shown(erase=erase) | {"has": [one.attribute for one in has]},
        )  # fmt: skip
        flash(f"You stopped sharing with {card.company_name}{' and asked them to delete what they have' * erase}.")
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
    )


@pages.get("/sharing/<uuid:grant_id>/receipt.json")
@person_required
def receipt_file(grant_id: UUID) -> Response:
    record = receipts.of_grant(session(), _mine(grant_id), settings=settings(), keyring=keyring(), now=now())
    response = jsonify(record)
    response.headers["Content-Disposition"] = f'attachment; filename="{record["receipt_id"]}.json"'
    response.headers["Cache-Control"] = "no-store"
    return response


def _settled(question: approvals.Question) -> Response:
    return page("consent/request_settled.html", status=409 if request.method == "POST" else 200, question=question)


def _second_proof_first(
    question: approvals.Question, form: AskForm | approving.ConfirmForm
) -> ResponseReturnValue | None:
    # Whoever says no need not prove anything more.
    if form.declined or has_two_proofs():
        return None
    here = url_for("consent.approval", request_id=question.id)
    if isinstance(form, approving.ConfirmForm):
        return to_second_proof(here) if question.wants_two_proofs else None
    return form.second_proof_first(here, always=question.wants_two_proofs)


def _answer(
    question: approvals.Question, ask: asking.Ask, form: AskForm | approving.ConfirmForm
) -> ResponseReturnValue:
    mine: dict[str, Any] = {"person_id": person_id(), "request_id": question.id, "now": now()}
    here = url_for("consent.approval", request_id=question.id)
    try:
        if form.declined:
            approving.deny_of(question, form)(session(), shown=approving.shown(ask, form), **mine)
        else:
            approvals.approve(
                session(),
                give=partial(_given, question.row, ask, form),
                authenticated_at=current_user.authenticated_at,
                level=current_user.level,
                **mine,
            )
    except (approvals.AnsweredError, freezing.FrozenError) as error:
        flash(error.public, "hold")
    return redirect(here, 303)


def _given(row: ApprovalRequest, ask: asking.Ask, form: AskForm | approving.ConfirmForm) -> Grant:
    if isinstance(form, approving.ConfirmForm):
        return approvals.confirmed(session(), row=row, now=now())
    choice = form.choice()
    given = services.give(
        session(),
        person_id=row.person_id,
        client_id=row.client_id,
        purpose_id=row.purpose_id,
        attributes=choice.attributes,
        mode=choice.mode,
        days=choice.days,
        level=current_user.level,
        wanted=ask.wanted,
        shown=approving.shown(ask, form),
        now=now(),
        effect=ask.effect,
        grant_id=later.grant_of(row),
        asked_at=row.asked_at,
        version=ask.purpose_version,
    )
    later.answered(session(), row=row, held=given)
    return given


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

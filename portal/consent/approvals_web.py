"""Requests that wait: what companies asked from afar, each answered once, as on the consent screen."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from flask import Blueprint, flash, redirect, request, url_for
from flask_login import current_user

from portal.consent import approvals, approving, later, offering, services, terms
from portal.consent.forms import OFFER, AskForm, way_there
from portal.errors import InvalidError, NotFoundError, RefusedError
from portal.web.access import has_two_proofs, person_id, person_required
from portal.web.context import keyring, now, session
from portal.web.pages import page

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from flask import Response
    from flask.typing import ResponseReturnValue
    from werkzeug.wrappers import Response as AnyResponse

    from portal.consent.approvals import Question
    from portal.consent.approving import ConfirmForm
    from portal.consent.asking import Ask
    from portal.consent.models import ApprovalRequest, Grant

pages = Blueprint("approvals", __name__)


@pages.get("/sharing/requests")
@person_required
def requests() -> Response:
    return page("consent/requests.html", questions=approvals.of_person(session(), person_id=person_id(), now=now()))


@pages.route("/sharing/requests/<uuid:request_id>", methods=["GET", "POST"])
@person_required
def one(request_id: UUID) -> ResponseReturnValue:
    """Ask the person what a company asked from afar; whatever comes after the first answer changes nothing."""
    question = approvals.question(session(), person_id=person_id(), request_id=request_id, now=now())
    if question is None:
        raise NotFoundError
    if not question.waiting:
        return _settled(question)
    try:
        ask = approving.build(session(), keyring=keyring(), row=question.row)
    except approving.PausedError:
        status = 409 if request.method == "POST" else 200
        return page(
            "consent/request_paused.html", status=status, question=question, grant_id=later.grant_of(question.row)
        )
    except (InvalidError, NotFoundError, RefusedError):
        # The company has changed its purpose since: what it asked can no longer be agreed to.
        return _settled(replace(question, state=approvals.CANCELLED))
    if request.method == "POST":
        return _take(question, ask)
    offer = offering.brought_back(ask) if OFFER in approving.other_answers(question) else None
    if offer is not None:
        return _offer_page(question, ask, offer, status=200)
    return _screen(question, ask, approving.form_of(ask, now=now()))


def _settled(question: Question) -> Response:
    return page("consent/request_settled.html", status=409 if request.method == "POST" else 200, question=question)


def _screen(question: Question, ask: Ask, form: AskForm | ConfirmForm) -> Response:
    return page(
        "consent/request.html",
        status=422 if form.errors else 200,
        question=question,
        title=approving.title(ask, form),
        message=approvals.message_of(session(), keyring=keyring(), row=question.row),
        ask=ask,
        form=form,
        confirming=isinstance(form, approving.ConfirmForm),
        other_answers=approving.other_answers(question),
        proof_to_come=question.wants_two_proofs and not has_two_proofs(),
    )


def _take(question: Question, ask: Ask) -> ResponseReturnValue:
    answer = request.form.get("answer", "")
    offers = answer in {OFFER, offering.COUNTER}
    if answer == offering.BACK or (offers and not (ask.can_offer and OFFER in approving.other_answers(question))):
        return redirect(_here(question), 303)
    if offers:
        return _offer(question, ask, sent=answer == offering.COUNTER)
    form = approving.form_of(ask, now=now())
    if form.declined:
        return _settle(question, partial(approving.refusal_of(question, form), reply=_reply(question, ask, form)))
    if not form.validate_on_submit():
        return _screen(question, ask, form)
    return _first(question, form) or _agree(question, ask, form)


def _first(question: Question, form: AskForm | ConfirmForm) -> ResponseReturnValue | None:
    """Return where the person must go before they can say yes; whoever says no need not prove anything more."""
    if isinstance(form, AskForm):
        return form.first(_here(question), proof=question.wants_two_proofs)
    return way_there(_here(question), proof=question.wants_two_proofs)


def _offer(question: Question, ask: Ask, *, sent: bool) -> ResponseReturnValue:
    """Let the person say what they would share instead, and take it once they have."""
    form = offering.OfferForm(ask)
    if not sent or not form.validate_on_submit():
        return _offer_page(question, ask, form, status=422 if sent else 200)
    less = form.offered(level=current_user.level)
    if elsewhere := way_there(form.way_back(_here(question)), proof=terms.sensitive(less.attributes)):
        return elsewhere
    shown = offering.shown(ask, form) | approving.AFAR
    reply = approvals.reply(question.row, shown=shown, wanted=ask.wanted, now=now())
    try:
        # What is settled before the offer is looked at stays open where that is none.
        with session().begin_nested():
            approvals.counter(session(), request_id=question.id, reply=reply, less=less)
    except InvalidError as error:
        form.form_errors.append(error.public)
        return _offer_page(question, ask, form, status=422)
    except approvals.AnsweredError as error:
        flash(error.public, "hold")
    return redirect(_here(question), 303)


def _offer_page(question: Question, ask: Ask, form: offering.OfferForm, *, status: int) -> Response:
    return page(
        "consent/request_offer.html", status=status, title=offering.title(ask), question=question, ask=ask, form=form
    )


def _agree(question: Question, ask: Ask, form: AskForm | ConfirmForm) -> AnyResponse:
    yes = partial(
        approvals.approve,
        person_id=person_id(),
        give=partial(_given, question.row, ask, form),
        authenticated_at=current_user.authenticated_at,
        level=current_user.level,
        now=now(),
    )
    return _settle(question, yes)


def _settle(question: Question, act: Callable[..., object]) -> AnyResponse:
    try:
        act(session(), request_id=question.id)
    except approvals.AnsweredError as error:
        flash(error.public, "hold")
    return redirect(_here(question), 303)


def _reply(question: Question, ask: Ask, form: AskForm | ConfirmForm) -> services.Reply:
    return approvals.reply(question.row, shown=approving.shown(ask, form), wanted=ask.wanted, now=now())


def _given(row: ApprovalRequest, ask: Ask, form: AskForm | ConfirmForm) -> Grant:
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


def _here(question: Question) -> str:
    return url_for("approvals.one", request_id=question.id)

"""The pages of the authorization server: the consent screen in front of a pushed request, and signing out."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit
from uuid import UUID

from flask import Blueprint, g, redirect, request
from flask_login import current_user

from portal.consent import asking, offering, terms, unwanted
from portal.consent import queries as consents
from portal.consent import services as consent
from portal.consent.forms import OFFER, AskForm, way_there
from portal.errors import InvalidError, NotFoundError, RefusedError
from portal.identity import browser
from portal.identity.forms import PlainForm
from portal.oauth import answers, authorization, authorization_code, end_session, grant_management, response_modes
from portal.oauth.authentication_request import Lacking
from portal.oauth.errors import PersonDiffersError
from portal.oauth.forms import ConfirmForm
from portal.web import context
from portal.web.access import SIGN_IN, public, to_second_proof
from portal.web.pages import page

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Response
    from flask.typing import ResponseReturnValue
    from werkzeug.datastructures import MultiDict

    from portal.companies.queries import ClientFacts
    from portal.consent.asking import Ask
    from portal.consent.models import Grant
    from portal.oauth.authentication_request import Wishes
    from portal.oauth.end_session import Leaving
    from portal.oauth.models import PushedRequest

    Step = Callable[[PushedRequest, ClientFacts, Ask], ResponseReturnValue]

log = logging.getLogger(__name__)
pages = Blueprint("oauth", __name__)
_ON_THE_WAY = ("/account/", "/sharing/unfreeze")


@pages.url_value_preprocessor
def _for_people(_endpoint: str | None, _values: object) -> None:
    # The address lies among the machines' ones, but what fails here is read by a person.
    g.page = True


@pages.before_app_request
def _let_what_comes_first_lead_back() -> None:
    # Whoever comes back from signing in, or unfreezing, may be led straight on to the client, and a browser holds that
    # against the page on which the form stood: its policy names the client as the consent screen's does.
    place = request.args.get("next", "") if request.path.startswith(_ON_THE_WAY) else ""
    if place.startswith(authorization.ADDRESS + "?"):
        g.form_action_origins = authorization.origins_behind(context.session(), place, now=context.now())


@pages.get("/oauth/authorize")
@public
def authorize() -> ResponseReturnValue:
    """Ask the person; a stranger signs in first and comes back."""
    pushed, client = _opened(request.args)
    return _lead_on(pushed, client) or _with_question(pushed, client, _put)


@pages.post("/oauth/authorize")
@public
def answer() -> ResponseReturnValue:
    """Take the person's answer, once, and lead them back to the client with it."""
    pushed, client = _opened(request.form)
    return _lead_on(pushed, client) or _with_question(pushed, client, _take)


@pages.get("/oauth/end-session")
@public
def leave() -> ResponseReturnValue:
    """Ask before signing anybody out; whoever is not signed in needs no question."""
    leaving = _leaving(request.args)
    if not current_user.is_authenticated:
        return _left(leaving)
    g.form_action_origins = leaving.origin
    return page("oauth/end_session.html", form=PlainForm(), hidden=leaving.kept, host=leaving.host)


@pages.post("/oauth/end-session/answer")
@public
def sign_out() -> ResponseReturnValue:
    """End this browser's session and lead on; the form carries what the link did, and it is checked again."""
    leaving = _leaving(request.form)
    return browser.sign_out(_away(leaving.target or end_session.ADDRESS))


def _leaving(sent: MultiDict[str, str]) -> Leaving:
    pairs = [(name, value) for name, value in sent.items(multi=True) if name != "csrf_token"]
    return end_session.read(context.session(), pairs, issuer=context.settings().issuer)


def _left(leaving: Leaving) -> Response:
    if leaving.target and leaving.trusted:
        return _away(leaving.target)
    return page("oauth/signed_out.html", target=leaving.target, host=leaving.host)


def _opened(sent: MultiDict[str, str]) -> tuple[PushedRequest, ClientFacts]:
    return authorization.opened(
        context.session(),
        client_ids=sent.getlist("client_id"),
        request_uris=sent.getlist("request_uri"),
        now=context.now(),
    )


def _lead_on(pushed: PushedRequest, client: ClientFacts) -> ResponseReturnValue | None:
    """Return where the person must go before they can be asked, if anywhere."""
    wishes = authorization.wishes(pushed)
    lacking = _lacking(wishes, client)
    if lacking is None:
        return _not_theirs(pushed)
    if wishes.silent or lacking is Lacking.ANOTHER_PERSON:
        return _refused(pushed, "interaction_required" if lacking is Lacking.SECOND_PROOF else "login_required")
    return to_second_proof(_address(pushed)) if lacking is Lacking.SECOND_PROOF else _sign_in_first(pushed)


def _not_theirs(pushed: PushedRequest) -> Response | None:
    """Send away whoever is not the person of the consent that the request names."""
    session, now = context.session(), context.now()
    try:
        grant_management.check_person(session, pushed.parameters, person_id=current_user.person_id, now=now)
    except PersonDiffersError as error:
        log.info("%s refused: %s (%s)", g.request_id, error.code, error.private)
        authorization.answer(session, pushed, now=now)
        return _back(pushed, error=error.code, error_description=error.public)
    return None


def _lacking(wishes: Wishes, client: ClientFacts) -> Lacking | None:
    if not current_user.is_authenticated:
        return Lacking.SIGN_IN
    sub = None
    if wishes.sub is not None:
        sub = consents.sub_of(context.session(), person_id=current_user.person_id, company_id=client.company_id)
    return wishes.lacking(authenticated_at=current_user.authenticated_at, level=current_user.level, sub=sub)


def _sign_in_first(pushed: PushedRequest) -> Response:
    # Whoever is signed in already is asked to show it once more, or to come as somebody else.
    again = "&again=1" if current_user.is_authenticated else ""
    return _away(f"{SIGN_IN}?next={quote(_address(pushed), safe='/')}{again}")


def _address(pushed: PushedRequest) -> str:
    # Only the two parameters that count: whatever stood beside them is not carried further.
    return f"{authorization.ADDRESS}?" + urlencode({"client_id": pushed.client_id, "request_uri": _request_uri()})


def _request_uri() -> str:
    return request.form["request_uri"] if request.method == "POST" else request.args["request_uri"]


def _with_question(pushed: PushedRequest, client: ClientFacts, then: Step) -> ResponseReturnValue:
    try:
        ask = _ask(pushed)
    except (InvalidError, NotFoundError, RefusedError) as error:
        # The company took back since what it asked for when it pushed this.
        return _refused(pushed, "invalid_authorization_details", private=type(error).__name__)
    if refused := _not_wanted(pushed, ask):
        return refused
    if not authorization.wishes(pushed).silent:
        return then(pushed, client, ask)
    # No page was wanted, so there is none from which an answer could have come either.
    if ask.covered(context.now()):
        return _shared(pushed, ask, ConfirmForm())
    if ask.grant is not None and ask.grant.frozen_at is not None:
        # Whom they share with reads of the freeze wherever it asks; nobody else is told of it.
        return _refused(pushed, "interaction_required", description=answers.FROZEN)
    return _refused(pushed, "consent_required")


def _not_wanted(pushed: PushedRequest, ask: Ask) -> Response | None:
    """Send back at once what the person does not want to be asked again; what they share already they may confirm."""
    if ask.covered(context.now()):
        return None
    try:
        unwanted.check(context.session(), person_id=current_user.person_id, purpose_id=ask.purpose_id)
    except unwanted.NotWantedError as error:
        return _refused(pushed, answers.DENIED, description=error.public)
    return None


def _put(pushed: PushedRequest, client: ClientFacts, ask: Ask) -> Response:
    if offer := offering.brought_back(ask):
        return _offer_page(pushed, ask, offer, status=200)
    return _screen(pushed, client, ask, _form(ask, pushed))


def _take(pushed: PushedRequest, client: ClientFacts, ask: Ask) -> ResponseReturnValue:
    answer = request.form.get("answer", "")
    offers = answer in {OFFER, offering.COUNTER}
    if answer == offering.BACK or (offers and not ask.can_offer):
        # Whoever shares for this by now, by another window, reads what that changes instead.
        return _away(_address(pushed))
    if offers:
        return _offer(pushed, ask, sent=answer == offering.COUNTER)
    form = _form(ask, pushed)
    if form.declined:
        return _declined(pushed, ask, form)
    if not form.validate_on_submit():
        return _screen(pushed, client, ask, form, status=422)
    elsewhere = form.first(_address(pushed)) if isinstance(form, AskForm) else None
    return elsewhere or _shared(pushed, ask, form)


def _ask(pushed: PushedRequest) -> Ask:
    return asking.build(
        context.session(),
        keyring=context.keyring(),
        person_id=current_user.person_id,
        client_id=pushed.client_id,
        purpose_id=UUID(pushed.parameters["purpose_id"]),
        wanted=terms.wanted(pushed.parameters),
        effect=grant_management.effect(pushed.parameters),
        returns_to=urlsplit(pushed.parameters["redirect_uri"]).hostname or "",
    )


def _form(ask: Ask, pushed: PushedRequest) -> AskForm | ConfirmForm:
    # Whoever was asked in full has chosen: that counts, also when another window has answered meanwhile.
    in_full = "duration" in request.form or authorization.wishes(pushed).asks_in_full
    return AskForm(ask).as_chosen() if in_full or not ask.covered(context.now()) else ConfirmForm()


def _screen(
    pushed: PushedRequest,
    client: ClientFacts,
    ask: Ask,
    form: AskForm | ConfirmForm,
    *,
    status: int = 200,
) -> Response:
    g.form_action_origins = authorization.origins(pushed)
    name = "confirm" if isinstance(form, ConfirmForm) else "authorize"
    return page(
        f"oauth/{name}.html",
        status=status,
        ask=ask,
        form=form,
        client=client,
        hidden={"client_id": pushed.client_id, "request_uri": _request_uri()},
        back=_address(pushed),
    )


def _declined(pushed: PushedRequest, ask: Ask, form: AskForm | ConfirmForm) -> Response:
    authorization.answer(context.session(), pushed, now=context.now())
    outcome = answers.refuse(context.session(), form.answer, _reply(pushed, ask, _shown(ask, form)))
    return _back(pushed, **outcome)


def _offer(pushed: PushedRequest, ask: Ask, *, sent: bool) -> ResponseReturnValue:
    """Let the person say what they would share instead, and take it once they have."""
    form = offering.OfferForm(ask)
    if not sent or not form.validate_on_submit():
        return _offer_page(pushed, ask, form, status=422 if sent else 200)
    less = form.offered(level=current_user.level)
    if elsewhere := way_there(form.way_back(_address(pushed)), proof=terms.sensitive(less.attributes)):
        return elsewhere
    try:
        outcome = answers.counter(context.session(), _reply(pushed, ask, offering.shown(ask, form)), less)
    except InvalidError as error:
        form.form_errors.append(error.public)
        return _offer_page(pushed, ask, form, status=422)
    authorization.answer(context.session(), pushed, now=context.now())
    return _back(pushed, **outcome)


def _offer_page(pushed: PushedRequest, ask: Ask, form: offering.OfferForm, *, status: int) -> Response:
    g.form_action_origins = authorization.origins(pushed)
    hidden = {"client_id": pushed.client_id, "request_uri": _request_uri()}
    return page("oauth/offer.html", status=status, title=offering.title(ask), ask=ask, form=form, hidden=hidden)


def _reply(pushed: PushedRequest, ask: Ask, shown: dict[str, Any]) -> consent.Reply:
    return consent.Reply(
        person_id=current_user.person_id, client_id=pushed.client_id, purpose_id=ask.purpose_id, shown=shown,
        wanted=ask.wanted, asked_at=authorization.pushed_at(pushed), now=context.now(),
    )  # fmt: skip


def _shown(ask: Ask, form: AskForm | ConfirmForm) -> dict[str, Any]:
    # The short page asks another question, so its words are the ones to keep.
    asked = asking.shown(ask)
    return asked | ConfirmForm.words(ask) if isinstance(form, ConfirmForm) else asked


def _shared(pushed: PushedRequest, ask: Ask, form: AskForm | ConfirmForm) -> Response:
    session, now = context.session(), context.now()
    authorization.answer(session, pushed, now=now)
    grant = ask.grant if isinstance(form, ConfirmForm) else _give(pushed, ask, form)
    if grant is None:
        raise authorization.RequestExpiredError(private="the consent to confirm is gone")
    grant_management.settle(session, pushed.parameters, grant=grant, now=now)
    code = authorization_code.issue(
        session,
        pushed=pushed,
        person_id=current_user.person_id,
        grant_id=grant.grant_id,
        authenticated_at=current_user.authenticated_at,
        level=current_user.level,
        now=now,
    )
    return _back(pushed, code=code)


def _give(pushed: PushedRequest, ask: Ask, form: AskForm) -> Grant:
    choice = form.choice()
    return consent.give(
        context.session(),
        person_id=current_user.person_id,
        client_id=pushed.client_id,
        purpose_id=ask.purpose_id,
        attributes=choice.attributes,
        mode=choice.mode,
        days=choice.days,
        level=current_user.level,
        shown=asking.shown(ask),
        now=context.now(),
        wanted=ask.wanted,
        effect=ask.effect,
        grant_id=grant_management.grant_id(pushed.parameters),
        asked_at=authorization.pushed_at(pushed),
        version=ask.purpose_version,
    )


def _refused(pushed: PushedRequest, error: str, *, private: str = "", description: str = "") -> Response:
    """Tell the client by redirect why nobody was asked, and use the request up."""
    log.info("%s refused: %s (%s)", g.request_id, error, private)
    authorization.answer(context.session(), pushed, now=context.now())
    return _back(pushed, error=error, **({"error_description": description} if description else {}))


def _back(pushed: PushedRequest, **outcome: str) -> Response:
    return _away(
        response_modes.address(
            context.session(),
            pushed,
            keyring=context.keyring(),
            issuer=context.settings().issuer,
            outcome=outcome,
            now=context.now(),
        )
    )


def _away(address: str) -> Response:
    # 303 and never 307: a form that was sent here must not be sent on (FAPI 2.0 section 5.3.2.2).  Where somebody
    # comes from holds the request's name, which is nobody else's business (RFC 9700 section 4.2.4).
    g.referrer_policy = "no-referrer"
    response = redirect(address, 303)
    response.headers["Cache-Control"] = "no-store"
    return response  # type: ignore[return-value]  # Werkzeug's own class stands in for Flask's

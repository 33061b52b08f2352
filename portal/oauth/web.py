"""`/oauth/authorize`: the consent screen in front of a pushed authorization request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit
from uuid import UUID

from flask import Blueprint, g, redirect, request
from flask_login import current_user

from portal.consent import asking, terms
from portal.consent import services as consent
from portal.consent.forms import AskForm
from portal.oauth import authorization, authorization_code, grant_management
from portal.oauth.forms import ConfirmForm
from portal.web import context
from portal.web.access import SIGN_IN, public
from portal.web.pages import page

if TYPE_CHECKING:
    from flask import Response
    from flask.typing import ResponseReturnValue
    from werkzeug.datastructures import MultiDict

    from portal.companies.queries import ClientFacts
    from portal.consent.asking import Ask
    from portal.consent.models import Grant
    from portal.oauth.models import PushedRequest

pages = Blueprint("oauth", __name__)


@pages.url_value_preprocessor
def _for_people(_endpoint: str | None, _values: object) -> None:
    # The address lies among the machines' ones, but what fails here is read by a person.
    g.page = True


@pages.get("/oauth/authorize")
@public
def authorize() -> ResponseReturnValue:
    """Ask the person; a stranger signs in first and comes back."""
    pushed, client = _opened(request.args)
    if not current_user.is_authenticated:
        return _sign_in_first(pushed, request.args["request_uri"])
    ask = _ask(pushed)
    return _screen(pushed, client, ask, _form(ask, pushed), request_uri=request.args["request_uri"])


@pages.post("/oauth/authorize")
@public
def answer() -> ResponseReturnValue:
    """Take the person's answer, once, and lead them back to the client with it."""
    pushed, client = _opened(request.form)
    if not current_user.is_authenticated:
        return _sign_in_first(pushed, request.form["request_uri"])
    ask = _ask(pushed)
    form = _form(ask, pushed)
    if form.declined:
        return _declined(pushed, ask, form)
    if not form.validate_on_submit():
        return _screen(pushed, client, ask, form, request_uri=request.form["request_uri"], status=422)
    return _shared(pushed, ask, form)


def _opened(sent: MultiDict[str, str]) -> tuple[PushedRequest, ClientFacts]:
    return authorization.opened(
        context.session(),
        client_ids=sent.getlist("client_id"),
        request_uris=sent.getlist("request_uri"),
        now=context.now(),
    )


def _sign_in_first(pushed: PushedRequest, request_uri: str) -> Response:
    response = redirect(f"{SIGN_IN}?next={quote(_address(pushed, request_uri), safe='/')}", 303)
    response.headers["Cache-Control"] = "no-store"
    return response  # type: ignore[return-value]  # Werkzeug's own class stands in for Flask's


def _address(pushed: PushedRequest, request_uri: str) -> str:
    # Only the two parameters that count: whatever stood beside them is not carried further.
    return "/oauth/authorize?" + urlencode({"client_id": pushed.client_id, "request_uri": request_uri})


def _ask(pushed: PushedRequest) -> Ask:
    return asking.build(
        context.session(),
        keyring=context.keyring(),
        person_id=current_user.person_id,
        client_id=pushed.client_id,
        purpose_id=UUID(pushed.parameters["purpose_id"]),
        wanted=terms.wanted(pushed.parameters),
        effect=grant_management.effect(pushed.parameters),
    )


def _form(ask: Ask, pushed: PushedRequest) -> AskForm | ConfirmForm:
    # Whoever was asked in full has chosen: that counts, also when another window has answered meanwhile.
    chosen = "duration" in request.form
    return ConfirmForm() if ask.covered(context.now()) and not chosen else AskForm(ask)


def _screen(
    pushed: PushedRequest,
    client: ClientFacts,
    ask: Ask,
    form: AskForm | ConfirmForm,
    *,
    request_uri: str,
    status: int = 200,
) -> Response:
    g.form_action_origins = [authorization.origin(pushed)]
    name = "confirm" if isinstance(form, ConfirmForm) else "authorize"
    returns_to = urlsplit(pushed.parameters["redirect_uri"]).hostname
    return page(
        f"oauth/{name}.html",
        status=status,
        ask=ask,
        form=form,
        client=client,
        hidden={"client_id": pushed.client_id, "request_uri": request_uri},
        back=_address(pushed, request_uri),
        returns_to=returns_to,
    )


def _declined(pushed: PushedRequest, ask: Ask, form: AskForm | ConfirmForm) -> Response:
    session, now = context.session(), context.now()
    authorization.answer(session, pushed, now=now)
    consent.refuse(
        session,
        person_id=current_user.person_id,
        client_id=pushed.client_id,
        purpose_id=ask.purpose_id,
        shown=_shown(ask, form),
        now=now,
    )
    return _back(pushed, error="access_denied", error_description="The person declined.")


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
    )


def _back(pushed: PushedRequest, **outcome: str) -> Response:
    # 303 and never 307: a form that was sent here must not be sent on (FAPI 2.0 section 5.3.2.2).
    response = redirect(authorization.back(pushed, issuer=context.settings().issuer, **outcome), 303)
    response.headers["Cache-Control"] = "no-store"
    return response  # type: ignore[return-value]  # Werkzeug's own class stands in for Flask's

"""Signing in and out, and looking after one's account.

A page answers alike whether or not an address has an account: same status, same text, a ring of the same bell.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from flask import Blueprint, flash, g, make_response, redirect, request
from flask_login import current_user

from portal import events, queue
from portal.errors import NotFoundError
from portal.identity import browser, codes, mailing, onward, pending, queries, rules, services, tries
from portal.identity.forms import CodeForm, EmailForm, PasswordForm, PlainForm, SignInForm
from portal.identity.onward import typed
from portal.web import context, limits
from portal.web.access import person_id, person_required, public, recent_sign_in
from portal.web.pages import page

if TYPE_CHECKING:
    from uuid import UUID

    from flask import Response
    from flask.typing import ResponseReturnValue

    from portal.identity.pending import Pending

log = logging.getLogger(__name__)
pages = Blueprint("identity", __name__, url_prefix="/account")

_SECURITY = "/account/security"
_NO_MATCH = (
    "That email address and password do not match. "
    "After 10 wrong passwords you have to wait 15 minutes, or use a code by email"
)
_WRONG_CODE = "That code is not right or no longer works. Check it, or ask for another code"


@pages.get("/sign-in")
@public
def sign_in() -> ResponseReturnValue:
    if current_user.is_authenticated and not request.args.get("again"):
        return redirect(onward.place(), 303)
    return _sign_in_page(SignInForm())


@pages.post("/sign-in")
@public
def try_sign_in() -> ResponseReturnValue:
    form = SignInForm()
    by_code = request.form.get("by") == "code"
    if not form.validate():
        return _sign_in_page(form, 422)
    if not by_code and not form.password.data:
        form.password.errors = ["Enter your password, or choose a code by email"]
        return _sign_in_page(form, 422)
    if wait := tries.wait_for(form, tries.MAIL if by_code else tries.PROOF):
        return limits.waits(_sign_in_page(form), wait)
    if by_code:
        return _send_first_code(typed(form.email), joining=False)
    who = services.check_password(
        context.session(),
        keyring=context.keyring(),
        email=typed(form.email),
        password=typed(form.password),
        now=context.now(),
    )
    if who is None:
        log.info("%s sign-in refused: password", g.request_id)
        form.password.errors = [_NO_MATCH]
        return _sign_in_page(form, 422)
    tries.right()
    return browser.sign_in(make_response(redirect(onward.place(), 303)), person_id=who, method="password")


def _sign_in_page(form: SignInForm, status: int = 200) -> Response:
    return page(
        "identity/sign_in.html", status=status, form=form, query=onward.query(), again=bool(request.args.get("again"))
    )


@pages.get("/create")
@public
def create() -> ResponseReturnValue:
    return page("identity/create.html", form=EmailForm(), query=onward.query())


@pages.post("/create")
@public
def try_create() -> ResponseReturnValue:
    form = EmailForm()
    if not form.validate():
        return page("identity/create.html", status=422, form=form, query=onward.query())
    if wait := tries.wait_for(form, tries.MAIL):
        return limits.waits(page("identity/create.html", form=form, query=onward.query()), wait)
    return _send_first_code(typed(form.email), joining=True)


def _send_first_code(email: str, *, joining: bool) -> ResponseReturnValue:
    """Send a code and go on to the page that takes it.

    Whoever joins gets an unconfirmed account, also when their address has one: the mail says so, and its code
    leads to the account there is.
    """
    allowed = mailing.may_send(email)
    session, keyring = context.session(), context.keyring()
    if not joining:
        who = queries.find_person(session, keyring=keyring, email=email)
    else:
        who = services.register(session, keyring=keyring, email=email, now=context.now()).person_id if allowed else None
    begun = pending.begin(email=email, person_id=who, joining=joining)
    pending.keep(mailing.send(begun, allowed=allowed))
    return redirect(f"/account/code{onward.query()}", 303)


@pages.get("/code")
@public
def code() -> ResponseReturnValue:
    begun = pending.current()
    if begun is None:
        return redirect(f"/account/sign-in{onward.query()}", 303)
    return _code_page(CodeForm(), begun)


@pages.post("/code")
@public
def try_code() -> ResponseReturnValue:
    begun, form = pending.current(), CodeForm()
    if begun is None:
        return redirect(f"/account/sign-in{onward.query()}", 303)
    if not form.validate():
        return _code_page(form, begun, 422)
    if wait := tries.wait_for(form, tries.PROOF):
        return limits.waits(_code_page(form, begun), wait)
    who = _proved(begun, rules.code_of(typed(form.code)) or "")
    if who is None:
        log.info("%s sign-in refused: code", g.request_id)
        form.code.errors = [_WRONG_CODE]
        return _code_page(form, begun, 422)
    tries.right()
    place = onward.place()
    if begun.joining and not queries.has_password(context.session(), person_id=who):
        place = "/account/password?" + urlencode({"next": place, "new": "1"})
    return browser.sign_in(make_response(redirect(place, 303)), person_id=who, method="code")


def _proved(begun: Pending, digits: str) -> UUID | None:
    who = begun.person()
    if who is None:
        return None
    session, keyring = context.session(), context.keyring()
    right = codes.use(session, keyring=keyring, person_id=who, code_ids=begun.codes(), code=digits, now=context.now())
    return _confirmed(who) if right else None


def _confirmed(who: UUID) -> UUID:
    session, keyring = context.session(), context.keyring()
    is_new = not queries.is_confirmed(session, person_id=who)
    owner = services.confirm(session, keyring=keyring, person_id=who)
    email = queries.email_of(session, keyring=keyring, person_id=who)
    if is_new and owner == who and email:
        events.announce(session, events.PersonConfirmed(person_id=who, email=email, at=context.now()))
    return owner


@pages.post("/code/again")
@public
def another_code() -> ResponseReturnValue:
    begun, form = pending.current(), CodeForm()
    if begun is None:
        return redirect(f"/account/sign-in{onward.query()}", 303)
    if wait := tries.wait_for(form, tries.MAIL):
        return limits.waits(_code_page(form, begun), wait)
    pending.keep(mailing.send(begun, allowed=mailing.may_send(begun.email)))
    flash("We sent another code. It can take a minute to arrive.")
    return redirect(f"/account/code{onward.query()}", 303)


def _code_page(form: CodeForm, begun: Pending, status: int = 200) -> Response:
    return page(
        "identity/code.html", status=status, form=form, email=begun.email, joining=begun.joining, query=onward.query()
    )


@pages.get("/password")
@recent_sign_in
def password() -> ResponseReturnValue:
    return _password_page(PasswordForm())


@pages.post("/password")
@recent_sign_in
def set_password() -> ResponseReturnValue:
    form = PasswordForm()
    if not form.validate():
        return _password_page(form, 422)
    try:
        was_first = _set_password(typed(form.password))
    except services.WeakPasswordError as weak:
        form.password.errors = [weak.public]
        return _password_page(form, 422)
    response = make_response(redirect(onward.place(_SECURITY), 303))
    if was_first:
        # The mailbox opened the account so far; whoever has it chooses what is to be the other proof from now on.
        browser.raise_session(response)
    flash("Your password is saved. You are signed out everywhere else.")
    return response


def _set_password(new: str) -> bool:
    session, who, now = context.session(), person_id(), context.now()
    had_one = services.hold_password(session, person_id=who)
    settles = services.settles_at(session, person_id=who, method=current_user.method, level=current_user.level, now=now)
    services.set_password(
        session, keyring=context.keyring(), person_id=who, password=new, now=now,
        words=[context.settings().service_name], second_proof_from=settles,
    )  # fmt: skip
    services.end_other_sessions(session, person_id=who, keep=current_user.token_hash, now=now)
    if had_one:
        job = "portal.identity.jobs.send_password_notice"
        queue.ring_after_commit(session, context.settings().redis_url, queue.MAIL, job, str(who))
    return not had_one


def _password_page(form: PasswordForm, status: int = 200) -> ResponseReturnValue:
    has_one = queries.has_password(context.session(), person_id=person_id())
    email = queries.email_of(context.session(), keyring=context.keyring(), person_id=person_id())
    return page(
        "identity/password.html",
        status=status,
        form=form,
        email=email,
        has_one=has_one,
        new=bool(request.args.get("new")),
        query=onward.query("new"),
        way_out=onward.place(_SECURITY),
        shortest=rules.SHORTEST_PASSWORD,
    )


@pages.get("/security")
@person_required
def security() -> ResponseReturnValue:
    session, who = context.session(), person_id()
    return page(
        "identity/security.html",
        email=queries.email_of(session, keyring=context.keyring(), person_id=who),
        has_password=queries.has_password(session, person_id=who),
        sessions=queries.sessions_of(session, person_id=who, now=context.now()),
        form=PlainForm(),
    )


@pages.post("/sessions/end")
@person_required
def end_session() -> ResponseReturnValue:
    """End the one session that the form names, or all others."""
    session, who, now = context.session(), person_id(), context.now()
    named = request.form.get("session", "")
    if named == "others":
        services.end_other_sessions(session, person_id=who, keep=current_user.token_hash, now=now)
        flash("You are signed out everywhere else.")
        return redirect(_SECURITY, 303)
    try:
        token_hash = bytes.fromhex(named)
    except ValueError:
        raise NotFoundError from None
    if not services.end_session(session, person_id=who, token_hash=token_hash, now=now):
        raise NotFoundError
    flash("That browser is signed out.")
    return redirect(_SECURITY, 303)


@pages.post("/sign-out")
@public
def sign_out() -> ResponseReturnValue:
    return browser.sign_out(make_response(redirect("/", 303)))

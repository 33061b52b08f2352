"""Signing in and out, and looking after one's account.

A page answers alike whether or not an address has an account: same status, same text, a ring of the same bell.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from flask import Blueprint, flash, g, make_response, redirect, request
from flask_login import current_user
from redis import RedisError

from portal import events, queue
from portal.db import new_id
from portal.errors import NotFoundError
from portal.identity import browser, pending, queries, rules, services
from portal.identity.forms import CodeForm, EmailForm, PasswordForm, PlainForm, SignInForm
from portal.vault import blind_index
from portal.web import context
from portal.web.access import person_id, person_required, public, recent_sign_in
from portal.web.pages import page

if TYPE_CHECKING:
    from uuid import UUID

    from flask.typing import ResponseReturnValue
    from wtforms import StringField

    from portal.identity.pending import Pending

log = logging.getLogger(__name__)
pages = Blueprint("identity", __name__, url_prefix="/account")

_HOME = "/home"
_SECURITY = "/account/security"
_NO_MATCH = (
    "That email address and password do not match. "
    "After 10 wrong passwords you have to wait 15 minutes, or use a code by email"
)
_WRONG_CODE = "That code is not right or no longer works. Check it, or ask for another code"
_MAILS = 5
_MAIL_SECONDS = 900


@pages.get("/sign-in")
@public
def sign_in() -> ResponseReturnValue:
    if current_user.is_authenticated and not request.args.get("again"):
        return redirect(_next(), 303)
    return _sign_in_page(SignInForm())


@pages.post("/sign-in")
@public
def try_sign_in() -> ResponseReturnValue:
    form = SignInForm()
    by_code = request.form.get("by") == "code"
    if not form.validate():
        return _sign_in_page(form, 422)
    if by_code:
        return _send_first_code(_typed(form.email), joining=False)
    if not form.password.data:
        form.password.errors = ["Enter your password, or choose a code by email"]
        return _sign_in_page(form, 422)
    who = services.check_password(
        context.session(),
        keyring=context.keyring(),
        email=_typed(form.email),
        password=_typed(form.password),
        now=context.now(),
    )
    if who is None:
        log.info("%s sign-in refused: password", g.request_id)
        form.password.errors = [_NO_MATCH]
        return _sign_in_page(form, 422)
    return browser.sign_in(make_response(redirect(_next(), 303)), person_id=who, method="password")


def _sign_in_page(form: SignInForm, status: int = 200) -> ResponseReturnValue:
    return page(
        "identity/sign_in.html", status=status, form=form, query=_query(), again=bool(request.args.get("again"))
    )


@pages.get("/create")
@public
def create() -> ResponseReturnValue:
    return page("identity/create.html", form=EmailForm(), query=_query())


@pages.post("/create")
@public
def try_create() -> ResponseReturnValue:
    form = EmailForm()
    if not form.validate():
        return page("identity/create.html", status=422, form=form, query=_query())
    return _send_first_code(_typed(form.email), joining=True)


def _send_first_code(email: str, *, joining: bool) -> ResponseReturnValue:
    """Send a code and go on to the page that takes it.

    Whoever joins gets an unconfirmed account, also when their address has one: the mail says so, and its code
    leads to the account there is.
    """
    allowed = _may_mail(email)
    session, keyring = context.session(), context.keyring()
    if not joining:
        who = queries.find_person(session, keyring=keyring, email=email)
    else:
        who = services.register(session, keyring=keyring, email=email, now=context.now()).person_id if allowed else None
    begun = pending.begin(email=email, person_id=who, joining=joining)
    pending.keep(_send_code(begun, allowed=allowed))
    return redirect(f"/account/code{_query()}", 303)


def _send_code(begun: Pending, *, allowed: bool) -> Pending:
    # The job makes the code, so that this answer takes as long for an address nobody has.
    who, code_id = begun.person() if allowed else None, new_id()
    job = "portal.identity.jobs.send_code"
    redis_url = context.settings().redis_url
    queue.ring_after_commit(context.session(), redis_url, queue.WORK, job, str(who or new_id()), str(code_id))
    return pending.with_code(begun, code_id)


def _may_mail(email: str) -> bool:
    """Say whether this address may get another code: five in a quarter of an hour, known or not."""
    name = f"codes:{blind_index.of_email(context.keyring(), email).hex()}"
    try:
        valkey = queue.connection(context.settings().redis_url)
        with valkey.pipeline() as commands:
            commands.incr(name)
            commands.expire(name, _MAIL_SECONDS, nx=True)
            asked = commands.execute()[0]
    except RedisError:
        return True  # the database counts the codes of known people as well
    return int(asked) <= _MAILS


@pages.get("/code")
@public
def code() -> ResponseReturnValue:
    begun = pending.current()
    if begun is None:
        return redirect(f"/account/sign-in{_query()}", 303)
    return _code_page(CodeForm(), begun)


@pages.post("/code")
@public
def try_code() -> ResponseReturnValue:
    begun, form = pending.current(), CodeForm()
    if begun is None:
        return redirect(f"/account/sign-in{_query()}", 303)
    if not form.validate():
        return _code_page(form, begun, 422)
    who = _proved(begun, rules.code_of(_typed(form.code)) or "")
    if who is None:
        log.info("%s sign-in refused: code", g.request_id)
        form.code.errors = [_WRONG_CODE]
        return _code_page(form, begun, 422)
    place = _next()
    if begun.joining and not queries.has_password(context.session(), person_id=who):
        place = "/account/password?" + urlencode({"next": place, "new": "1"})
    return browser.sign_in(make_response(redirect(place, 303)), person_id=who, method="code")


def _proved(begun: Pending, digits: str) -> UUID | None:
    who = begun.person()
    if who is None:
        return None
    session, keyring = context.session(), context.keyring()
    right = services.use_code(
        session, keyring=keyring, person_id=who, code_ids=begun.codes(), code=digits, now=context.now()
    )
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
    begun = pending.current()
    if begun is None:
        return redirect(f"/account/sign-in{_query()}", 303)
    pending.keep(_send_code(begun, allowed=_may_mail(begun.email)))
    flash("We sent another code. It can take a minute to arrive.")
    return redirect(f"/account/code{_query()}", 303)


def _code_page(form: CodeForm, begun: Pending, status: int = 200) -> ResponseReturnValue:
    return page(
        "identity/code.html", status=status, form=form, email=begun.email, joining=begun.joining, query=_query()
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
        _set_password(_typed(form.password))
    except services.WeakPasswordError as weak:
        form.password.errors = [weak.public]
        return _password_page(form, 422)
    flash("Your password is saved. You are signed out everywhere else.")
    return redirect(_next(_SECURITY), 303)


def _set_password(new: str) -> None:
    session, who, now = context.session(), person_id(), context.now()
    had_one = queries.has_password(session, person_id=who)
    name = context.settings().service_name
    services.set_password(session, keyring=context.keyring(), person_id=who, password=new, now=now, words=[name])
    services.end_other_sessions(session, person_id=who, keep=current_user.token_hash, now=now)
    if had_one:
        job = "portal.identity.jobs.send_password_notice"
        queue.ring_after_commit(session, context.settings().redis_url, queue.WORK, job, str(who))


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
        query=_query("new"),
        way_out=_next(_SECURITY),
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


def _typed(field: StringField) -> str:
    return field.data or ""


def _next(default: str = _HOME) -> str:
    return rules.way_back(request.args.get("next"), default=default)


def _query(*more: str) -> str:
    """Return what the next step needs of the address: where to go afterwards, and `more`."""
    kept = {name: request.args[name] for name in ("again", *more) if request.args.get(name) == "1"}
    if place := rules.way_back(request.args.get("next"), default=""):
        kept["next"] = place
    return f"?{urlencode(kept)}" if kept else ""

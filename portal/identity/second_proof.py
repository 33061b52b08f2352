"""Confirming who you are: whoever signed in with one proof, password or code, gives the other one."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from flask import Blueprint, flash, g, make_response, redirect
from flask_login import current_user

from portal.identity import browser, codes, mailing, onward, pending, queries, rules, services, tries
from portal.identity.forms import CodeForm, KnownPasswordForm, PlainForm
from portal.identity.onward import typed
from portal.web import context, limits
from portal.web.access import SECOND_PROOF, has_two_proofs, person_id, person_required
from portal.web.pages import page

if TYPE_CHECKING:
    from flask import Response
    from flask.typing import ResponseReturnValue

    from portal.identity.pending import Pending

log = logging.getLogger(__name__)
pages = Blueprint("second_proof", __name__, url_prefix="/account")

_PASSWORDS = limits.Rate("second-proof-passwords", 10, 900)
_WRONG_CODE = "That code is not right or no longer works. Check it, or ask for another code"
_WRONG_PASSWORD = "That is not your password. After 10 wrong passwords you have to wait 15 minutes"  # noqa: S105


@pages.get("/confirm-it-is-you")
@person_required
def confirm() -> ResponseReturnValue:
    if has_two_proofs():
        return redirect(onward.place(), 303)
    return _page(_form())


@pages.post("/confirm-it-is-you")
@person_required
def try_confirm() -> ResponseReturnValue:
    form = _form()
    if has_two_proofs():
        return redirect(onward.place(), 303)
    if _settles() or not isinstance(form, CodeForm | KnownPasswordForm):
        return redirect(SECOND_PROOF + onward.query(), 303)
    if not form.validate():
        return _page(form, 422)
    if wait := tries.wait_for(form, tries.PROOF):
        return limits.waits(_page(form), wait)
    if not _is_right(form):
        log.info("%s second proof refused: %s", g.request_id, type(form).__name__)
        return _page(form, 422)
    tries.right()
    return browser.raise_session(make_response(redirect(onward.place(), 303)))


@pages.post("/confirm-it-is-you/code")
@person_required
def send_code() -> ResponseReturnValue:
    """Send a code to whoever signed in with a password."""
    form, begun = _form(), _begun() or _begin()
    if current_user.method == "password" and not (has_two_proofs() or _settles()):
        if wait := tries.wait_for(form, tries.MAIL):
            return limits.waits(_page(form), wait)
        allowed = mailing.may_send_second_proof(begun)
        pending.keep(mailing.send(begun, allowed=allowed, name=pending.SECOND_PROOF), pending.SECOND_PROOF)
        flash("We sent you a code. It can take a minute to arrive.")
    return redirect(SECOND_PROOF + onward.query(), 303)


def _form() -> CodeForm | KnownPasswordForm | PlainForm:
    # What is missing: the password after a code, a code after the password, once one was sent.
    if current_user.method != "password":
        return KnownPasswordForm() if queries.has_password(context.session(), person_id=person_id()) else PlainForm()
    return CodeForm() if _begun() else PlainForm()


def _settles() -> object:
    return queries.settling_password(context.session(), person_id=person_id(), now=context.now())


def _begun() -> Pending | None:
    begun = pending.current(pending.SECOND_PROOF)
    return begun if begun and begun.person() == person_id() else None


def _begin() -> Pending:
    return pending.begin(email=_email(), person_id=person_id(), joining=False)


def _email() -> str:
    return queries.email_of(context.session(), keyring=context.keyring(), person_id=person_id()) or ""


def _is_right(form: CodeForm | KnownPasswordForm) -> bool:
    return _is_password(form) if isinstance(form, KnownPasswordForm) else _is_code(form)


def _is_password(form: KnownPasswordForm) -> bool:
    # Counted for the person, wherever they are, and before the look: tries sent together all count.
    form.password.errors = [_WRONG_PASSWORD]
    who = person_id()
    if limits.spend(_PASSWORDS, str(who)):
        return False
    right = services.is_password_of(context.session(), person_id=who, password=typed(form.password))
    if right:
        limits.give_back(_PASSWORDS, str(who))
    return right


def _is_code(form: CodeForm) -> bool:
    session, who, now = context.session(), person_id(), context.now()
    form.code.errors = [_WRONG_CODE]
    begun = _begun()
    return begun is not None and codes.use(
        session, keyring=context.keyring(), person_id=who, code_ids=begun.codes(),
        code=rules.code_of(typed(form.code)) or "", now=now, purpose=queries.SECOND_PROOF,
    )  # fmt: skip


def _page(form: CodeForm | KnownPasswordForm | PlainForm, status: int = 200) -> Response:
    here = SECOND_PROOF + onward.query()
    return page(
        "identity/second_proof.html",
        status=status,
        form=form,
        email=_email(),
        settles=_settles(),
        by_code=current_user.method == "password",
        has_password=queries.has_password(context.session(), person_id=person_id()),
        query=onward.query(),
        choose=f"/account/password?{urlencode({'next': here})}",
    )

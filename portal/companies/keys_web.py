"""The pages on which staff look after an app's keys: add, prove, retire, stop, and share out among departments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, flash, redirect, request, url_for

from portal.companies import client_keys, departments, forms, keys, proofs, queries, settings
from portal.companies.access import own_client, recent_staff_required
from portal.companies.key_states import State
from portal.companies.replacing import replace
from portal.errors import NotFoundError, PortalError, RefusedError
from portal.web.context import now, session
from portal.web.pages import page

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

    from portal.companies.queries import ClientFacts, KeyFacts, PurposeFacts

pages = Blueprint("company_keys", __name__)


@pages.route("/org/apps/<client_id>/keys", methods=["GET", "POST"])
@recent_staff_required
def overview(client_id: str) -> ResponseReturnValue:
    client = own_client(client_id)
    form = forms.KeysForm()
    if form.validate_on_submit():
        try:
            with session().begin_nested():
                added = client_keys.add(
                    session(), client_id=client_id, jwks=keys.read(form.data["jwks"]), group=form.data["group"],
                    now=now(),
                )  # fmt: skip
        except PortalError as error:
            form.refuse(error)
        else:
            flash(f"Added: {', '.join(added)}." if added else "These keys are there already.")
            return _back(client_id)
    found = queries.key_list(session(), client_id, now=now())
    return page("companies/keys.html", client=client, keys=found, form=form, status=form.status)


@pages.route("/org/apps/<client_id>/keys/address", methods=["GET", "POST"])
@recent_staff_required
def address(client_id: str) -> ResponseReturnValue:
    client = own_client(client_id)
    form = forms.KeyAddressForm(data={"jwks_uri": client.metadata.jwks_uri or ""})
    if form.validate_on_submit():
        place = (form.data["jwks_uri"] or "").strip()
        try:
            replace(client, settings.document_of(client) | {"jwks_uri": place or None}, fetched=bool(place))
        except PortalError as error:
            form.refuse(error)
        else:
            flash("The keys there were read." if place else "The keys stay as they are until you change them here.")
            return _back(client_id)
    return page("companies/key_address.html", client=client, form=form, status=form.status)


@pages.route("/org/apps/<client_id>/keys/prove", methods=["GET", "POST"])
@recent_staff_required
def prove(client_id: str) -> ResponseReturnValue:
    """Show a challenge when asked to, and take the text that was in it."""
    client = own_client(client_id)
    key = _unproved(client, request.values.get("kid", ""))
    if key is None and request.method == "POST":
        raise NotFoundError
    if key is None:
        return page("companies/prove_key.html", client=client, key=None)
    form = forms.ProofForm()
    challenge = form.challenge.data or ""
    if request.method == "POST" and form.act.data == "challenge":
        challenge = proofs.challenge(session(), client_id=client_id, kid=key.kid, now=now()).text
    elif form.validate_on_submit() and _proved(form, client_id, key.kid):
        flash(f"Proved: {key.kid}.")
        return _back(client_id)
    return page("companies/prove_key.html", client=client, key=key, form=form, challenge=challenge, status=form.status)


@pages.post("/org/apps/<client_id>/keys/retire")
@recent_staff_required
def retire(client_id: str) -> ResponseReturnValue:
    own_client(client_id)
    kid = request.form.get("kid", "")
    try:
        client_keys.retire(session(), client_id=client_id, kid=kid, now=now())
    except RefusedError as error:
        flash(error.public, "hold")
    else:
        flash(f"Retired: {kid}.")
    return _back(client_id)


@pages.post("/org/apps/<client_id>/keys/stop")
@recent_staff_required
def stop(client_id: str) -> ResponseReturnValue:
    """Ask once more, and then use a key no longer, whatever waits for want of it."""
    client = own_client(client_id)
    found = _keys(client)
    key = _named(found, request.form.get("kid", ""))
    if request.form.get("act") == "stop":
        client_keys.stop(session(), client_id=client_id, kid=key.kid, now=now())
        flash(f"Stopped: {key.kid}. It is never used again.")
        return _back(client_id)
    alike = [each for each in found if (each.use, each.group) == (key.use, key.group) and each.kid != key.kid]
    left = any(each.state in {State.ACTIVE, State.SUPERSEDED, State.UNUSED} for each in alike)
    return page("companies/stop_key.html", client=client, key=key, left=left)


@pages.route("/org/apps/<client_id>/purposes/<code>/departments", methods=["GET", "POST"])
@recent_staff_required
def groups(client_id: str, code: str) -> ResponseReturnValue:
    client = own_client(client_id)
    purpose = _purpose(client, code)
    found = departments.of_client(session(), client_id, now=now())
    form = forms.department_form(purpose, sorted(found))()
    if form.validate_on_submit():
        departments.choose(session(), client_id=client_id, code=code, groups=form.chosen())
        flash("Saved: what is sent from now on is encrypted like this.")
        return redirect(url_for("companies.one_app", client_id=client_id), 303)
    return page(
        "companies/departments.html", client=client, purpose=purpose, form=form, departments=found, status=form.status
    )


def _proved(form: forms.ProofForm, client_id: str, kid: str) -> bool:
    answer = (form.answer.data or "").strip()
    try:
        if proofs.prove(session(), client_id=client_id, kid=kid, answer=answer, now=now()):
            return True
    except RefusedError as error:
        form.refuse(error)
        return False
    form.refuse(proofs.ProofWrongError(pointer="/answer"))
    return False


def _back(client_id: str) -> ResponseReturnValue:
    return redirect(url_for("company_keys.overview", client_id=client_id), 303)


def _keys(client: ClientFacts) -> list[KeyFacts]:
    return queries.key_list(session(), client.client_id, now=now())


def _named(found: list[KeyFacts], kid: str) -> KeyFacts:
    for key in found:
        if key.kid == kid:
            return key
    raise NotFoundError


def _unproved(client: ClientFacts, kid: str) -> KeyFacts | None:
    return next((key for key in _keys(client) if key.kid == kid and key.state is State.UNPROVED), None)


def _purpose(client: ClientFacts, code: str) -> PurposeFacts:
    found = queries.purpose_by_code(session(), client.client_id, code)
    if found is None or found.withdrawn:
        raise NotFoundError
    return found

"""The pages on which staff declare what they want details for, change it, and have it reviewed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, flash, redirect, request, url_for

from portal.companies import declaring, forms, purpose_queries, versions, withdrawing
from portal.companies.access import own_client, recent_staff_required, staff_required
from portal.companies.declared import OverAskingError
from portal.errors import NotFoundError, PortalError
from portal.web.access import person_id
from portal.web.context import now, session
from portal.web.pages import page

if TYPE_CHECKING:
    from flask import Response
    from flask.typing import ResponseReturnValue

pages = Blueprint("purposes", __name__, url_prefix="/org/apps/<client_id>/purposes")


@pages.route("/new", methods=["GET", "POST"])
@staff_required
def new(client_id: str) -> ResponseReturnValue:
    client = own_client(client_id)
    form = forms.form_of(forms.PurposeForm, declaring.catalogue())()
    fine = form.validate_on_submit()
    if fine and not declaring.previews():
        try:
            code = declaring.declare(form, client_id)
        except PortalError as error:
            form.refuse(error)
        else:
            flash("The purpose is added.")
            return redirect(url_for("purposes.one", client_id=client_id, code=code), 303)
    return page(
        "companies/new_purpose.html",
        client=client,
        form=form,
        preview=fine and declaring.previews(),
        status=form.status,
    )


@pages.get("/<code>")
@staff_required
def one(client_id: str, code: str) -> Response:
    client = own_client(client_id)
    found = purpose_queries.of_purpose(session(), client_id=client_id, code=code, withdrawn_too=True)
    gone = purpose_queries.withdrawal(session(), client_id=client_id, code=code)
    return page("companies/purpose.html", client=client, code=code, versions=found, newest=found[0], gone=gone)


@pages.route("/<code>/change", methods=["GET", "POST"])
@staff_required
def change(client_id: str, code: str) -> ResponseReturnValue:
    """Another version: whoever agreed to an earlier one keeps it."""
    client = own_client(client_id)
    newest = purpose_queries.of_purpose(session(), client_id=client_id, code=code)[0]
    # What is sent is all there is: a field that is missing does not say what it said before.
    before = forms.shown(newest.purpose) if request.method == "GET" else None
    form = forms.form_of(forms.PurposeForm, declaring.catalogue())(data=before)
    form.offer_days(newest.purpose.longest_days)
    fine = form.validate_on_submit()
    if fine and not declaring.previews():
        try:
            made = versions.revise(
                session(), client_id=client_id, code=code, catalogue=declaring.names(), now=now(), **form.said()
            )
        except PortalError as error:
            form.refuse(error)
        else:
            flash(f"Version {made.purpose.version} is saved.")
            return redirect(url_for("purposes.one", client_id=client_id, code=code), 303)
    preview = fine and declaring.previews()
    return page(
        "companies/change_purpose.html", client=client, code=code, newest=newest, form=form, preview=preview,
        status=form.status,
    )  # fmt: skip


@pages.post("/<code>/review")
@staff_required
def review(client_id: str, code: str) -> ResponseReturnValue:
    """Send the draft for review, or take back what waits."""
    own_client(client_id)
    act = request.form.get("act", "")
    try:
        if act == "send":
            versions.send(session(), client_id=client_id, code=code, now=now())
            flash("Sent for review. We write to you when somebody has looked at it.")
        elif act == "take-back":
            versions.take_back(session(), client_id=client_id, code=code)
            flash("Taken back: it is a draft again.")
        else:
            raise NotFoundError
    except (versions.NoDraftError, OverAskingError) as error:
        # Another window, or the operator, was quicker, or its ceiling is lower now: the page says how it stands.
        flash(error.public, "hold")
    return redirect(url_for("purposes.one", client_id=client_id, code=code), 303)


@pages.route("/<code>/withdraw", methods=["GET", "POST"])
@recent_staff_required
def withdraw(client_id: str, code: str) -> ResponseReturnValue:
    """Withdraw a purpose for good, once staff have read what that means."""
    client = own_client(client_id)
    if request.method == "POST":
        withdrawing.withdraw(session(), client_id=client_id, code=code, by=person_id(), now=now())
        flash("Withdrawn. Nobody can be asked for it any more, and what people shared for it ends now.")
        return redirect(url_for("purposes.one", client_id=client_id, code=code), 303)
    found = purpose_queries.of_purpose(session(), client_id=client_id, code=code)
    used = next((one for one in found if one.in_use), found[0])
    return page("companies/withdraw_purpose.html", client=client, code=code, purpose=used.purpose, in_use=used.in_use)

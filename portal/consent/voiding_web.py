"""For operators: one consent, found by what somebody quotes, and declared void where it should not have begun."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_wtf import FlaskForm
from wtforms import StringField, TextAreaField
from wtforms.validators import Length, StopValidation

from portal.companies import looks
from portal.companies import queries as companies
from portal.consent import of_company, queries, renewing, steps
from portal.consumer import text
from portal.web.access import operator_required, person_id
from portal.web.context import now, session
from portal.web.pages import page

if TYPE_CHECKING:
    from uuid import UUID

    from flask import Response
    from flask.typing import ResponseReturnValue

    from portal.consent.models import Grant

# Why an operator reads it, as its person finds it in their activity.
_LOOKED_AT: Final = "see whether a consent of yours should stand"
pages = Blueprint("voiding", __name__, url_prefix="/ops/consents")


class QuotedForm(FlaskForm):  # type: ignore[misc] # Flask-WTF ships no annotations
    """What somebody quotes; it changes nothing and is sent with the address."""

    class Meta:
        csrf = False

    number = StringField("Number of the consent, or of its receipt", [Length(max=100, message="That is no number.")])

    def missed(self) -> None:
        """Say that nothing is called so."""
        self.number.errors = ["No consent has this number. Enter it as the receipt or the question shows it."]


class ReasonForm(FlaskForm):  # type: ignore[misc] # Flask-WTF ships no annotations
    """Why a consent is void, for its person and the organisation."""

    reason = TextAreaField("Reason")

    def validate_reason(self, field: TextAreaField) -> None:
        """Keep one line of plain words."""
        try:
            written = " ".join((field.data or "").split())
            field.data = text.clean(written, what="The reason", longest=renewing.LONGEST_REASON)
        except text.InvalidValueError as error:
            raise StopValidation(f"{error.errors['value']}.") from error
        if not field.data:
            raise StopValidation(renewing.ReasonError.public)


@pages.get("")
@operator_required
def find() -> ResponseReturnValue:
    """Lead to the consent that is quoted."""
    form = QuotedForm(formdata=request.args)
    quoted = (form.number.data or "").strip()
    if form.validate() and quoted:
        held = queries.quoted(session(), words=quoted)
        if held is not None:
            return redirect(url_for("voiding.one", grant_id=held.grant_id), 303)
        form.missed()
    return page("consent/ops_find.html", status=422 if form.errors else 200, form=form)


@pages.route("/<uuid:grant_id>", methods=["GET", "POST"])
@operator_required
def one(grant_id: UUID) -> ResponseReturnValue:
    """Show a consent, ask why it is void, ask again, and declare it so."""
    held, form, act = queries.by_id(session(), grant_id=grant_id), ReasonForm(), request.form.get("act", "")
    if not form.validate_on_submit() or act not in {"ask", "void"}:
        return _page(held, form, 422 if form.errors and act != "back" else 200)
    if not _open(held) or _own(held):
        # Somebody was quicker, or it is for another to say: the page says how it stands.
        return _page(held, form, 409)
    if act == "ask":
        return _page(held, form, 200, sure=True)
    renewing.invalidate(
        session(), person_id=held.person_id, grant_id=grant_id, reason=form.reason.data or "", now=now(),
        operator_id=person_id(),
    )  # fmt: skip
    flash("It is void. The person and the organisation are told.")
    return redirect(url_for("voiding.one", grant_id=grant_id), 303)


def find_slot() -> str:
    """Return the field for what somebody quotes, on the operators' first page."""
    return render_template("consent/_find.html", form=QuotedForm(formdata=None))


def _open(held: Grant) -> bool:
    """Say whether there is anything to declare void: something was agreed to, and nobody has said so yet."""
    return held.state != "invalidated" and held.state not in steps.UNBORN


def _own(held: Grant) -> bool:
    return renewing.is_own(session(), held, operator_id=person_id())


def _page(held: Grant, form: ReasonForm, status: int, *, sure: bool = False) -> Response:
    looks.record_of_operator(held.person_id, purpose=_LOOKED_AT, grant_id=held.grant_id, again=True)
    client = companies.client(session(), held.client_id)
    return page(
        "consent/ops_consent.html",
        status=status,
        held=held,
        state=of_company.state(held, now=now()),
        open=_open(held),
        own=_own(held),
        client=client,
        purpose=companies.purpose(session(), held.purpose_id, version=held.purpose_version),
        sub=queries.sub_of(session(), person_id=held.person_id, company_id=held.company_id),
        steps=queries.versions(session(), person_id=held.person_id, grant_id=held.grant_id),
        has=queries.holds(session(), held),
        longest=renewing.LONGEST_REASON,
        form=form,
        sure=sure,
    )

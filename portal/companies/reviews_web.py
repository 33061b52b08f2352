"""The pages on which an operator looks at what live apps want details for, before anybody is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from flask import Blueprint, flash, redirect, render_template, request, url_for
from wtforms import RadioField, TextAreaField
from wtforms.validators import InputRequired, StopValidation

from portal.companies import ceilings, purpose_queries, queries, rules, versions, withdrawing
from portal.companies.forms import RefusableForm
from portal.companies.reviewing import changes
from portal.errors import NotFoundError, PortalError
from portal.web import cursor
from portal.web.access import operator_required, person_id
from portal.web.context import now, session
from portal.web.pages import page

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from flask import Response
    from flask.typing import ResponseReturnValue
    from wtforms import Field

    from portal.companies.purpose_queries import Review
    from portal.companies.queries import ClientFacts

pages = Blueprint("reviews", __name__, url_prefix="/ops/purposes")
_LIVE, _BACK = "live", "back"
_LONGEST: Final = 500
_PAGE: Final = 50


class DecisionForm(RefusableForm):
    decision = RadioField(
        "Your decision", [InputRequired("Choose what you decide.")],
        choices={_LIVE: "Put it live: people can be asked under it from now on",
                 _BACK: "Send it back: the organisation reads what there is to mend"},
    )  # fmt: skip
    words = TextAreaField("What the organisation reads")

    def validate_words(self, field: Field) -> None:
        """Whoever gets it back has to know what to mend."""
        if not (field.data or "").strip():
            field.data = ""
            if self.decision.data == _BACK:
                raise StopValidation("Say what there is to mend.")
            return
        field.data = _line(field.data, "your words")


class TakeDownForm(RefusableForm):
    """Why a purpose is taken down, for its organisation."""

    words = TextAreaField("Reason")

    def validate_words(self, field: Field) -> None:
        """Whoever loses a purpose has to know why."""
        if not (field.data or "").strip():
            field.data = ""
            raise StopValidation("Say why, for the organisation.")
        field.data = _line(field.data, "the reason")


@pages.get("")
@operator_required
def waiting() -> Response:
    before, behind = cursor.before(), cursor.behind()
    waits = [] if before else purpose_queries.waiting(session(), after=behind, limit=_PAGE + 1)
    decided = [] if behind else purpose_queries.decided(session(), before=before, limit=_PAGE + 1)
    shown, older = cursor.part(waits, _PAGE, _sent), cursor.part(decided, _PAGE, _decided)
    return page(
        "companies/reviews.html",
        waiting=shown.rows,
        more=shown.last,
        decided=older.rows,
        older=older.last,
        continued=bool(before or behind),
    )


# PostgreSQL counts no further.
@pages.route("/<uuid:purpose_id>/<int(max=2147483647):version>", methods=["GET", "POST"])
@operator_required
def one(purpose_id: UUID, version: int) -> ResponseReturnValue:
    form = DecisionForm()
    if form.validate_on_submit():
        try:
            _decide(form, purpose_id, version)
        except PortalError as error:
            form.refuse(error)
        else:
            return redirect(url_for("reviews.waiting"), 303)
    return _page(form, purpose_id, version)


@pages.route("/<uuid:purpose_id>/take-down", methods=["GET", "POST"])
@operator_required
def take_down(purpose_id: UUID) -> ResponseReturnValue:
    """Ask why a purpose is taken down, ask again, and take it down."""
    form, act = TakeDownForm(), request.form.get("act", "")
    if not form.validate_on_submit() or act not in {"ask", "take-down"}:
        return _take_down_page(form, purpose_id)
    if act == "ask":
        return _take_down_page(form, purpose_id, sure=True)
    try:
        with session().begin_nested():
            withdrawing.take_down(
                session(), purpose_id=purpose_id, by=person_id(), words=form.words.data or "", now=now()
            )
    except PortalError as error:
        form.refuse(error)
        return _take_down_page(form, purpose_id, status=error.status)
    flash("Taken down. The organisation is written to, and what people shared for it ends now.")
    return redirect(url_for("reviews.take_down", purpose_id=purpose_id), 303)


def purposes_waiting_slot() -> str:
    """Return how many purposes wait for an operator, as a line; empty when none does."""
    count = purpose_queries.waiting_count(session())
    return render_template("companies/_reviews_waiting.html", count=count) if count else ""


def _sent(one: Review) -> tuple[datetime, UUID]:
    return one.version.sent_at or one.version.drafted_at, one.version.purpose.purpose_id


def _decided(one: Review) -> tuple[datetime, UUID]:
    return one.version.decided_at or one.version.drafted_at, one.version.purpose.purpose_id


def _decide(form: DecisionForm, purpose_id: UUID, version: int) -> None:
    given: dict[str, Any] = {
        "purpose_id": purpose_id, "version": version, "by": person_id(), "words": form.words.data, "now": now(),
    }  # fmt: skip
    with session().begin_nested():
        if form.decision.data == _LIVE:
            versions.put_live(session(), **given)
        else:
            versions.send_back(session(), **given)
    flash("It is live." if form.decision.data == _LIVE else "Sent back, with your words.")


def _page(form: DecisionForm, purpose_id: UUID, version: int) -> Response:
    found = purpose_queries.review(session(), purpose_id=purpose_id, version=version)
    asked, before = found.version.purpose, queries.purpose(session(), purpose_id)
    return page(
        "companies/review.html",
        review=found,
        organisation=queries.company(session(), slug=found.client.company_slug),
        changes=changes(before, asked) if before and before.version < asked.version else None,
        before=before,
        ceiling=ceilings.CEILINGS[asked.dpv],
        own=_own(found.client),
        form=form,
        status=form.status,
    )


def _take_down_page(form: TakeDownForm, purpose_id: UUID, *, sure: bool = False, status: int = 0) -> Response:
    purpose = queries.purpose(session(), purpose_id)
    client = queries.client(session(), purpose.client_id) if purpose else None
    if purpose is None or client is None:
        raise NotFoundError
    return page(
        "companies/take_down.html",
        status=status or form.status,
        purpose=purpose,
        client=client,
        organisation=queries.company(session(), slug=client.company_slug),
        gone=purpose_queries.withdrawal(session(), client_id=client.client_id, code=purpose.code),
        own=_own(client),
        form=form,
        sure=sure,
    )


def _own(client: ClientFacts) -> bool:
    return queries.acts_for(session(), person_id(), company_id=client.company_id)


def _line(typed: str, what: str) -> str:
    try:
        return rules.line(typed, what=what, longest=_LONGEST)
    except PortalError as error:
        raise StopValidation(error.public) from error

"""For a company's staff: the consents given to it, one with its steps, asking once more, and ending it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import UUID

from flask import Blueprint, flash, g, redirect, request, url_for
from flask_wtf import FlaskForm
from wtforms import SelectMultipleField, StringField
from wtforms.validators import Length, ValidationError
from wtforms.widgets import CheckboxInput, ListWidget

from portal.companies import looks
from portal.companies import queries as companies
from portal.companies.access import own_client, recent_staff_required, staff_required
from portal.consent import later, of_company, queries, services
from portal.consumer.catalogue import label
from portal.errors import InvalidError, NotFoundError, PortalError
from portal.web.context import keyring, now, session
from portal.web.pages import page

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flask import Response
    from flask.typing import ResponseReturnValue

    from portal.companies.queries import ClientFacts, PurposeFacts
    from portal.consent.models import Grant

pages = Blueprint("company_consents", __name__)
_PAGE: Final = 50


class _Looking(FlaskForm):  # type: ignore[misc] # Flask-WTF ships no annotations
    """Whose consents to show; it changes nothing and is sent with the address."""

    class Meta:
        csrf = False

    person = StringField("Person", [Length(max=100, message="Enter an identifier of at most 100 characters.")])


class LaterForm(FlaskForm):  # type: ignore[misc] # Flask-WTF ships no annotations
    """Which of the details that were left out to ask for."""

    attributes = SelectMultipleField(
        "Details they left out", choices={}, widget=ListWidget(prefix_label=False), option_widget=CheckboxInput()
    )

    def __init__(self, left_out: Sequence[str]) -> None:
        super().__init__()
        self.attributes.choices = {name: label(name) for name in left_out}

    def validate_attributes(self, field: SelectMultipleField) -> None:
        """Refuse to ask for nothing."""
        if not field.data:
            raise ValidationError("Choose at least one detail.")


@pages.get("/org/consents")
@staff_required
def overview() -> Response:
    form = _Looking(formdata=request.args)
    clients = {one.client_id: one for one in companies.clients_of(session(), company_id=g.company.company_id)}
    fine, who = form.validate(), (form.person.data or "").strip()
    person_id = queries.person_of(session(), company_id=g.company.company_id, sub=who) if who and fine else None
    nobody = not fine or bool(who and person_id is None)
    found, last = of_company.page(
        session(), client_ids=[] if nobody else list(clients), limit=_PAGE, now=now(), person_id=person_id,
        after=_after(),
    )  # fmt: skip
    people = {one.person_id for one in found}
    return page(
        "companies/consents.html",
        status=200 if fine else 422,
        form=form,
        who=who,
        found=[(one, of_company.state(one, now=now())) for one in found],
        clients=clients,
        subs=queries.subs_of(session(), person_ids=people, company_id=g.company.company_id) if people else {},
        older=url_for("company_consents.overview", person=who or None, after=last) if last else None,
    )


@pages.get("/org/consents/<uuid:grant_id>")
@staff_required
def one(grant_id: UUID) -> Response:
    held, client, purpose = _own(grant_id)
    looks.record(held.person_id, client_id=client.client_id, purpose="see what you share with them", grant_id=grant_id)
    return _page(held, client, purpose, LaterForm(_left_out(held, purpose)))


@pages.post("/org/consents/<uuid:grant_id>/ask")
@staff_required
def ask(grant_id: UUID) -> ResponseReturnValue:
    """Ask the person for what they left out; what stands in the way is said on the page."""
    held, client, purpose = _own(grant_id)
    form = LaterForm(_left_out(held, purpose))
    if form.validate_on_submit():
        try:
            with session().begin_nested():
                later.ask(
                    session(), keyring=keyring(), client_id=client.client_id, grant_id=grant_id,
                    attributes=list(dict.fromkeys(form.attributes.data or ())), now=now(),
                )  # fmt: skip
        except PortalError as error:
            form.form_errors.append(error.public)
        else:
            flash("Asked. They answer in their portal; what they then share reaches you as every change does.")
            return redirect(url_for("company_consents.one", grant_id=grant_id), 303)
    return _page(held, client, purpose, form)


@pages.route("/org/consents/<uuid:grant_id>/end", methods=["GET", "POST"])
@recent_staff_required
def end(grant_id: UUID) -> ResponseReturnValue:
    """End a consent as the company wishes, once staff have read what that means."""
    held, client, _purpose = _own(grant_id)
    here = url_for("company_consents.one", grant_id=grant_id)
    if request.method == "POST":
        services.end(session(), person_id=held.person_id, grant_id=grant_id, now=now())
        flash("Ended. You get nothing more under it, and the person is told.")
        return redirect(here, 303)
    if of_company.state(held, now=now()) not in queries.LIVE:
        return redirect(here, 303)
    return page("companies/end_consent.html", held=held, client=client, sub=_sub(held))


def _page(held: Grant, client: ClientFacts, purpose: PurposeFacts, form: LaterForm) -> Response:
    again = later.next_at(session(), held)
    return page(
        "companies/consent.html",
        status=422 if form.errors else 200,
        held=held,
        state=of_company.state(held, now=now()),
        client=client,
        purpose=purpose,
        sub=_sub(held),
        form=form,
        left_out=_left_out(held, purpose),
        again=again if again and again > now() else None,
        steps=queries.versions(session(), person_id=held.person_id, grant_id=held.grant_id),
    )


def _own(grant_id: UUID) -> tuple[Grant, ClientFacts, PurposeFacts]:
    held = of_company.one(session(), company_id=g.company.company_id, grant_id=grant_id)
    client, purpose = own_client(held.client_id), companies.purpose(session(), held.purpose_id)
    if purpose is None:
        raise NotFoundError
    return held, client, purpose


def _left_out(held: Grant, purpose: PurposeFacts) -> list[str]:
    active = of_company.state(held, now=now()) == "active"
    return later.left_out(held, purpose) if active else []


def _sub(held: Grant) -> str:
    return queries.sub_of(session(), person_id=held.person_id, company_id=held.company_id) or ""


def _after() -> UUID | None:
    given = request.args.get("after", "")
    try:
        return UUID(given) if given else None
    except ValueError:
        raise InvalidError("Start again from the first page of this list.", pointer="/after") from None

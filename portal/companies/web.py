"""The pages of company staff, and the public register of organisations."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import flask
from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask_login import current_user

from portal.companies import declaring, forms, purpose_queries, queries, registration, services, settings
from portal.companies.access import CHOSEN, own_client, recent_staff_required, staff_required, take_place
from portal.companies.purposes import BASES, PURPOSES, USES, times_a_day
from portal.companies.replacing import replace
from portal.errors import NotFoundError, PortalError
from portal.web.access import person_id, person_required, public
from portal.web.context import now, session
from portal.web.pages import page

if TYPE_CHECKING:
    from flask import Response
    from flask.typing import ResponseReturnValue

    from portal.companies.forms import AppForm

pages = Blueprint("companies", __name__)
pages.add_app_template_filter(times_a_day)


@pages.app_template_filter()
def country_name(code: str) -> str:
    """Return "Ireland" for "IE"."""
    return forms.countries().get(code, code)


@pages.app_template_filter()
def purpose_kind(dpv: str) -> str:
    """Return the plain words for a DPV term."""
    return PURPOSES.get(dpv, dpv)


@pages.app_template_filter()
def purpose_use(use: str) -> str:
    """Return "Kept up to date" for "kept-up-to-date"."""
    return USES.get(use, use).partition(":")[0]


@pages.app_template_filter()
def lawful_basis(basis: str) -> str:
    """Return "Legal obligation" for "legal-obligation"."""
    return BASES.get(basis, basis).partition(":")[0]


def company_link_slot() -> str:
    """Return the way from every page to the company's pages, for those who act for one."""
    if not current_user.is_authenticated or not queries.companies_of(session(), person_id()):
        return ""
    return render_template("companies/_link.html")


@pages.get("/organisations")
@public
def organisations() -> Response:
    return page("companies/organisations.html", organisations=queries.verified_companies(session()))


@pages.get("/organisations/<slug>")
@public
def organisation(slug: str) -> Response:
    found = queries.company(session(), slug=slug)
    if found is None or not found.verified:
        raise NotFoundError
    clients = [one for one in queries.clients_of(session(), company_id=found.company_id) if one.active]
    purposes = [purpose for one in clients for purpose in queries.purposes_of(session(), one.client_id)]
    return page("companies/organisation.html", organisation=found, purposes=purposes)


@pages.get("/org")
@person_required
def overview() -> Response:
    if not take_place():
        return page("companies/none.html")
    clients = queries.clients_of(session(), company_id=g.company.company_id)
    keys_of = queries.key_counts(session(), company_id=g.company.company_id)
    return page("companies/overview.html", clients=clients, key_counts=keys_of)


@pages.post("/org/switch")
@staff_required
def switch() -> ResponseReturnValue:
    wanted = request.form.get("company", "")
    if all(place.company.slug != wanted for place in g.places):
        raise NotFoundError
    flask.session[CHOSEN] = wanted
    return redirect(url_for("companies.overview"), 303)


@pages.route("/org/join", methods=["GET", "POST"])
@person_required
def join() -> ResponseReturnValue:
    form = forms.CompanyForm()
    if form.validate_on_submit():
        try:
            made = services.register_company(session(), owner=person_id(), now=now(), **form.values())
        except PortalError as error:
            form.refuse(error)
        else:
            flask.session[CHOSEN] = made.slug
            flash(f"{made.trading_name} is registered. Next, add an app.")
            return redirect(url_for("companies.overview"), 303)
    return page("companies/join.html", form=form, status=form.status)


@pages.get("/org/apps")
@staff_required
def apps() -> Response:
    clients = queries.clients_of(session(), company_id=g.company.company_id)
    return page(
        "companies/apps.html",
        clients=clients,
        key_counts=queries.key_counts(session(), company_id=g.company.company_id),
        purposes={one.client_id: purpose_queries.of_client(session(), one.client_id) for one in clients},
    )


@pages.route("/org/apps/new", methods=["GET", "POST"])
@staff_required
def new_app() -> ResponseReturnValue:
    form = cast("AppForm", forms.form_of(forms.AppForm, declaring.catalogue())())
    fine, previews = form.validate_on_submit(), declaring.previews()
    if fine and not previews:
        try:
            client_id = _create(form)
        except PortalError as error:
            form.refuse(error)
        else:
            flash("The app is registered. Next, add its public keys and its endpoint.")
            return redirect(url_for("companies.one_app", client_id=client_id), 303)
    return page("companies/new_app.html", form=form, preview=fine and previews, status=form.status)


@pages.get("/org/apps/<client_id>")
@staff_required
def one_app(client_id: str) -> Response:
    client = own_client(client_id)
    return page(
        "companies/app.html",
        client=client,
        keys=queries.key_list(session(), client_id, now=now()),
        keys_read=queries.keys_fetched_at(session(), client_id),
        answers={
            what: forms.ANSWERS[settings.form_of(client.metadata, what)] for what in ("userinfo", "introspection")
        },
        purposes=purpose_queries.of_client(session(), client_id),
        withdrawn=purpose_queries.withdrawn(session(), client_id),
        by_program=registration.by_program(session(), client_id=client_id),
    )


@pages.post("/org/apps/<client_id>/program/end")
@recent_staff_required
def end_program(client_id: str) -> ResponseReturnValue:
    """End the token by which a program changes the app: it has no end of its own, and may be in other hands."""
    own_client(client_id)
    registration.end_client_token(session(), client_id=client_id)
    flash("Ended: no program can change this app any more.")
    return redirect(url_for("companies.one_app", client_id=client_id), 303)


@pages.route("/org/apps/<client_id>/settings", methods=["GET", "POST"])
@recent_staff_required
def app_settings(client_id: str) -> ResponseReturnValue:
    client = own_client(client_id)
    form = forms.SettingsForm(data=settings.shown(client))
    if form.validate_on_submit():
        try:
            replace(client, settings.described_anew(client, form.values()))
        except PortalError as error:
            form.refuse(error)
        else:
            flash("Saved. The app is registered like this from now on.")
            return redirect(url_for("companies.one_app", client_id=client_id), 303)
    return page("companies/settings.html", client=client, form=form, status=form.status)


@pages.route("/org/registration-tokens", methods=["GET", "POST"])
@recent_staff_required
def registration_tokens() -> Response:
    form, token = forms.TokenForm(), ""
    if form.validate_on_submit():
        try:
            token = _make_token(form)
        except PortalError as error:
            form.refuse(error)
        else:
            form = forms.TokenForm(formdata=None)
    made = registration.tokens_of(session(), company_id=g.company.company_id, now=now())
    return page("companies/registration_tokens.html", form=form, token=token, tokens=made, status=form.status)


@pages.post("/org/registration-tokens/end")
@recent_staff_required
def end_registration_token() -> ResponseReturnValue:
    token_id = request.form.get("token", "")
    name = registration.end_token(session(), company_id=g.company.company_id, token_id=token_id, now=now())
    flash(f"Ended: {name}.")
    return redirect(url_for("companies.registration_tokens"), 303)


def _make_token(form: forms.TokenForm) -> str:
    given = form.values()
    return registration.make_token(
        session(),
        company_id=g.company.company_id,
        made_by=person_id(),
        name=given["name"],
        environment=given["environment"],
        uses=given["uses"],
        days=given["days"],
        now=now(),
    )


def _create(form: AppForm) -> str:
    # Both or neither: an app without its purpose is of no use to anybody.
    given = form.values()
    with session().begin_nested():
        client_id = services.create_client(
            session(),
            company_id=g.company.company_id,
            name=given["name"],
            redirect_uris=given["redirect_uris"].split(),
            environment=given["environment"],
            now=now(),
        )
        declaring.declare(form, client_id)
    return client_id

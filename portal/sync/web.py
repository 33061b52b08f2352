"""For company staff: where an app is told, and proving that it is theirs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flask import Blueprint, flash, redirect, render_template, url_for

from portal.companies.access import own_client, recent_staff_required
from portal.errors import PortalError
from portal.sync import queries, services
from portal.sync.forms import EndpointForm
from portal.web.context import keyring, now, session
from portal.web.pages import page

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

    from portal.companies.queries import ClientFacts
    from portal.sync.models import Stream

pages = Blueprint("sync", __name__)


@dataclass(frozen=True, kw_only=True)
class Place:
    """An app with its endpoint and how many messages it is still owed."""

    client: ClientFacts
    endpoint: Stream | None
    waiting: int


def endpoint_status_slot(client_id: str) -> str:
    """Return where an app is told, in a few lines, with the way to change it."""
    return render_template("sync/_endpoint.html", client_id=client_id, place=_place(own_client(client_id)))


@pages.route("/org/apps/<client_id>/endpoint", methods=["GET", "POST"])
@recent_staff_required
def endpoint(client_id: str) -> ResponseReturnValue:
    client = own_client(client_id)
    form = EndpointForm(data={"url": getattr(_place(client).endpoint, "url", "")})
    if form.validate_on_submit():
        try:
            _prove(client_id, (form.url.data or "").strip())
        except PortalError as error:
            form.url.errors = [error.public]
        else:
            flash("Proven: the endpoint sent the challenge back. Updates go there from now on.")
            return redirect(url_for("sync.endpoint", client_id=client_id), 303)
    status = 422 if form.errors else 200
    return page("sync/endpoint.html", client=client, form=form, place=_place(client), status=status)


def _prove(client_id: str, url: str) -> None:
    # An address that does not prove itself leaves the one that works in its place: nothing is written before.
    asked = services.challenge(session(), keyring=keyring(), client_id=client_id, url=url, now=now())
    # Nothing is held while a stranger's server takes its time.
    session().commit()
    services.await_echo(asked)
    services.enable_endpoint(session(), client_id=client_id, url=url, now=now())


def _place(client: ClientFacts) -> Place:
    client_id = client.client_id
    waiting = queries.waiting(session(), client_ids=[client_id])
    return Place(
        client=client,
        endpoint=queries.stream_of(session(), client_id=client_id),
        waiting=waiting.get(client_id, 0),
    )

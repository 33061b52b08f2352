"""For company staff: how and where an app is told, proving that an address is theirs, and pausing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from flask import Blueprint, flash, g, redirect, render_template, request, url_for

from portal.companies.access import own_client, recent_staff_required
from portal.db import new_id
from portal.errors import NotFoundError, PortalError
from portal.sync import deliveries, proving, push_header, queries, services, streams
from portal.sync.access import own_stream
from portal.sync.forms import EndpointForm, PaceForm
from portal.web.context import keyring, now, session
from portal.web.pages import page

if TYPE_CHECKING:
    from flask import Response
    from flask.typing import ResponseReturnValue

    from portal.companies.queries import ClientFacts
    from portal.sync.models import Stream
    from portal.sync.streams import Wish

pages = Blueprint("sync", __name__)


def endpoint_status_slot(client_id: str) -> str:
    """Return where an app is told, in a few lines, with the way to change it."""
    return render_template(
        "sync/_endpoint.html",
        client_id=client_id,
        endpoint=queries.stream_of(session(), client_id=client_id),
        backlog=deliveries.backlog(session(), client_id=client_id),
    )


@pages.route("/org/apps/<client_id>/endpoint", methods=["GET", "POST"])
@recent_staff_required
def endpoint(client_id: str) -> ResponseReturnValue:
    client = own_client(client_id)
    form = EndpointForm()
    if form.validate_on_submit():
        try:
            stream = _prove(client_id, (form.url.data or "").strip())
        except PortalError as error:
            form.url.errors = [error.public]
        else:
            then = _stays(stream) or " Updates go there from now on."
            flash("Proven: the endpoint sent the challenge back." + then)
            return redirect(url_for("sync.endpoint", client_id=client_id), 303)
    return _shown(client, form=form if form.is_submitted() else None)


@pages.post("/org/apps/<client_id>/endpoint/pace")
@recent_staff_required
def pace(client_id: str) -> ResponseReturnValue:
    """Say how much the endpoint takes at once."""
    client, _stream = _live(client_id)
    form = PaceForm()
    if not form.validate_on_submit():
        return _shown(client, pace_form=form)
    stream = queries.stream_held(session(), client_id=client_id)
    form.populate_obj(stream)
    flash("Saved. What leaves from now on keeps to it.")
    return redirect(url_for("sync.endpoint", client_id=client_id), 303)


@pages.post("/org/apps/<client_id>/endpoint/collect")
@recent_staff_required
def collect(client_id: str) -> ResponseReturnValue:
    """Have the app's server collect what is new instead of being sent it (RFC 8936)."""
    client = own_client(client_id)
    if client.ended:
        raise NotFoundError
    begun = services.begin_stream(
        session(), client_id=client_id, stream_id=new_id(), method="poll", url=None, now=now()
    )
    if begun is None:
        begun = streams.change(session(), keyring=keyring(), client_id=client_id, wish=_collecting, now=now())
    flash("Nothing is sent any more: your server collects what is new, and what waited is kept for it." + _stays(begun))
    return redirect(url_for("sync.endpoint", client_id=client_id), 303)


@pages.post("/org/apps/<client_id>/endpoint/status")
@recent_staff_required
def status(client_id: str) -> ResponseReturnValue:
    """Pause, or go on after a pause; what happens in between is kept."""
    _client, stream = _live(client_id)
    wanted = request.form.get("status", "")
    if (stream.state, wanted) not in {("enabled", "paused"), ("paused", "enabled"), ("disabled", "enabled")}:
        raise NotFoundError
    if stream.disabled_at is not None or stream.verified_at is None:
        # One that was turned off because it failed proves itself again, or is turned on beside its figures.
        raise NotFoundError
    streams.set_status(session(), client_id=client_id, status=wanted, reason="", now=now())
    paused = "Paused: nothing leaves, and the newest state of each person is kept."
    flash(paused if wanted == "paused" else "Going on: what waited leaves now.")
    return redirect(url_for("sync.endpoint", client_id=client_id), 303)


def _shown(client: ClientFacts, *, form: EndpointForm | None = None, pace_form: PaceForm | None = None) -> Response:
    stream = queries.stream_of(session(), client_id=client.client_id)
    wrong = any(each is not None and each.errors for each in (form, pace_form))
    return page(
        "sync/endpoint.html",
        client=client,
        stream=stream,
        backlog=deliveries.backlog(session(), client_id=client.client_id),
        form=form or EndpointForm(formdata=None, data={"url": getattr(stream, "url", "")}),
        pace=pace_form or PaceForm(formdata=None, obj=stream),
        status=422 if wrong else 200,
    )


def _live(client_id: str) -> tuple[ClientFacts, Stream]:
    client, stream = own_stream(client_id)
    if client.ended:
        raise NotFoundError
    return client, stream


def _collecting(stream: Stream) -> Wish:
    return replace(streams.wish_of(stream), method="poll", batch=1)


def _stays(stream: Stream) -> str:
    """Return what is said of a stream that rests, and still does; empty for one that is on."""
    if stream.state == "enabled":
        return ""
    return f" It stays {'paused' if stream.state == 'paused' else 'turned off'} until you go on."


def _prove(client_id: str, url: str) -> Stream:
    # An address that does not prove itself leaves the one that works in its place: nothing is written before.
    known = queries.stream_of(session(), client_id=client_id)
    # The header belongs to the address that it was given for.
    header = push_header.of_stream(keyring(), known) if known and known.url == url else None
    asked = services.challenge(
        session(), keyring=keyring(), client_id=client_id, url=url, now=now(), authorization=header
    )
    proving.prove(asked, company_id=g.company.company_id)
    return services.enable_endpoint(session(), client_id=client_id, url=url, now=now())

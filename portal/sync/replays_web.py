"""For company staff: how many would be sent again, having them sent again, and how far that is."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID  # noqa: TC003 - Flask reads it in the route

from flask import Blueprint, flash, redirect, request, url_for

from portal.companies.access import own_client, recent_staff_required, staff_required
from portal.errors import NotFoundError, PortalError
from portal.sync import deliveries, replays
from portal.sync.access import own_stream
from portal.sync.forms import ReplayForm
from portal.web import dates
from portal.web.context import now, session
from portal.web.dates import ZONE
from portal.web.pages import page

if TYPE_CHECKING:
    from datetime import datetime

    from flask import Response
    from flask.typing import ResponseReturnValue

    from portal.companies.queries import ClientFacts
    from portal.sync.models import Replay

pages = Blueprint("replays", __name__)


@pages.get("/org/deliveries/endpoints/<client_id>/replay")
@staff_required
def preview(client_id: str) -> Response:
    """Count what a replay would send again; nothing happens yet."""
    client, _stream = own_stream(client_id)
    form = ReplayForm(formdata=request.args or None)
    return _preview(client, form, counted=bool(request.args))


@pages.post("/org/deliveries/endpoints/<client_id>/replay")
@recent_staff_required
def begin(client_id: str) -> ResponseReturnValue:
    client, _stream = own_stream(client_id)
    form = ReplayForm(formdata=request.form)
    if not form.validate():
        return _preview(client, form, counted=True)
    try:
        replay = replays.begin(session(), client_id=client_id, scope=form.scope.data, since=_since(form), now=now())
    except PortalError as error:
        form.scope.errors = [error.public]
        return _preview(client, form, counted=False, status=error.status)
    return redirect(url_for("replays.progress", replay_id=replay.replay_id), 303)


@pages.get("/org/deliveries/replays/<uuid:replay_id>")
@staff_required
def progress(replay_id: UUID) -> Response:
    replay, client = _own(replay_id)
    _client, stream = own_stream(client.client_id)
    backlog = deliveries.backlog(session(), client_id=client.client_id)
    moves = stream.state == "enabled" and stream.method == "push" and backlog.waiting > 0
    return page(
        "sync/replay.html",
        "live",
        replay=replay,
        client=client,
        stream=stream,
        backlog=backlog,
        looks_again=replay.finished_at is None or moves,
    )


@pages.post("/org/deliveries/replays/<uuid:replay_id>/stop")
@staff_required
def stop(replay_id: UUID) -> ResponseReturnValue:
    replay, _client = _own(replay_id)
    if replays.stop(session(), replay_id=replay.replay_id, now=now()):
        flash("Stopped. What is in line already is still sent.")
    return redirect(url_for("replays.progress", replay_id=replay_id), 303)


def _preview(client: ClientFacts, form: ReplayForm, *, counted: bool, status: int = 200) -> Response:
    fits = counted and form.validate()
    total = None
    if fits:
        total = replays.count(session(), client_id=client.client_id, scope=form.scope.data, since=_since(form))
    if form.since.data is None and not form.errors:
        form.since.data = now().astimezone(ZONE).date()
    return page(
        "sync/replay_preview.html",
        client=client,
        form=form,
        total=total,
        running=replays.running(session(), client_id=client.client_id),
        status=422 if form.errors and status == 200 else status,  # noqa: PLR2004 - what a page answers by itself
    )


def _since(form: ReplayForm) -> datetime:
    return dates.midnight(form.since.data or now().astimezone(ZONE).date())


def _own(replay_id: UUID) -> tuple[Replay, ClientFacts]:
    replay = replays.find(session(), replay_id=replay_id)
    if replay is None:
        raise NotFoundError
    return replay, own_client(replay.client_id)

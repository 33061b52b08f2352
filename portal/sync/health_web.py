"""For company staff: how well one endpoint does, and turning it on again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, flash, redirect, render_template, request, url_for

from portal.companies import letters
from portal.companies.access import own_client, recent_staff_required, staff_required
from portal.errors import NotFoundError
from portal.sync import chart, deliveries, health, queries, replays, services
from portal.sync.access import own_stream
from portal.sync.forms import kept
from portal.web import dates
from portal.web.context import now, session
from portal.web.pages import page, wants_fragment

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from flask import Response
    from flask.typing import ResponseReturnValue

    from portal.companies.queries import ClientFacts
    from portal.sync.models import Stream

pages = Blueprint("health", __name__)

LETTERS = {
    "failing-1": "No message taken for an hour",
    "failing-2": "No message taken for a day",
    "failing-3": "No message taken for four days",
    "disabled": "The endpoint is turned off",
    "held": "Messages are held back",
}


def endpoints_away_slot(clients: Sequence[ClientFacts]) -> str:
    """Return a line for each app whose endpoint takes nothing; empty where all do."""
    found = queries.streams_away(session(), client_ids=[each.client_id for each in clients])
    away = [(each, found[each.client_id]) for each in clients if each.client_id in found]
    return render_template("sync/_endpoints_away.html", away=away) if away else ""


@pages.get("/org/deliveries/endpoints/<client_id>")
@staff_required
def panel(client_id: str) -> Response:
    client, stream = own_stream(client_id)
    return page(
        "sync/health.html",
        "live",
        client=client,
        stream=stream,
        kept=kept(request.args),
        circuit=_circuit(stream),
        upcoming=_upcoming(stream, deliveries.next_due(session(), client_id=client_id)),
        figures=deliveries.figures(session(), client_id=client_id),
        backlog=deliveries.backlog(session(), client_id=client_id),
        letters=letters.sent(session(), client_id=client_id, kinds=LETTERS),
        words=LETTERS,
        running=replays.running(session(), client_id=client_id),
        chart=None if wants_fragment() else chart.lately(session(), client_ids=[client_id], now=now()),
    )


@pages.post("/org/deliveries/endpoints/<client_id>/turn-on")
@recent_staff_required
def turn_on(client_id: str) -> ResponseReturnValue:
    """Send again to an endpoint that has proved itself before and was turned off since."""
    client = own_client(client_id)
    stream = queries.stream_held(session(), client_id=client_id)
    if stream.disabled_at is None or stream.verified_at is None or client.ended:
        raise NotFoundError
    health.returned(session(), stream)
    services.ring(session())
    flash("It is on again. What was kept for it is sent now, as fast as it takes it.")
    return redirect(url_for("health.panel", client_id=client_id, **kept(request.args)), 303)


def _circuit(stream: Stream) -> tuple[str, str]:
    """Return what is done with the endpoint at this moment, and the tone of that."""
    waits = stream.circuit_until is not None and stream.circuit_until > now()
    if stream.state != "enabled":
        return "Nothing is sent", "stop"
    if stream.circuit_step:
        return ("Left alone until the next probe", "stop") if waits else ("One message at a time, to see", "hold")
    return ("Held back, as your endpoint asked", "hold") if waits else ("Messages go out as they come", "ok")


def _upcoming(stream: Stream, due: datetime | None) -> str:
    """Return when the next message is sent, a probe or not; empty for an endpoint to which none is."""
    if stream.state != "enabled" or stream.method != "push":
        return ""
    until = stream.circuit_until if stream.circuit_until and stream.circuit_until > now() else None
    if due is None:
        return "When there is something to send" + (f", not before {_at(until)}" if until else "")
    at = max(due, until or due)
    if at <= now():
        return "Now"
    # What changes meanwhile is due at once, and waits for the circuit alone.
    return _at(at) if at == until else f"{_at(at)}, or sooner if something changes"


def _at(moment: datetime) -> str:
    return f"{dates.day(moment)}, {dates.clock(moment)}"

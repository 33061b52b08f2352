"""For company staff: where an app is told, and what was sent there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from flask import Blueprint, flash, g, redirect, render_template, request, url_for

from portal.companies import queries as companies
from portal.companies.access import own_client, recent_staff_required, staff_required
from portal.consent import queries as consents
from portal.errors import NotFoundError, PortalError
from portal.ledger import queries as ledger
from portal.sync import chart, queries, services
from portal.sync.forms import EndpointForm
from portal.web import cursor
from portal.web.context import keyring, now, session
from portal.web.dates import ZONE
from portal.web.pages import page

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flask import Response
    from flask.typing import ResponseReturnValue

    from portal.ledger.queries import Entry
    from portal.sync.models import Stream

pages = Blueprint("sync", __name__)

CHANNELS = ("push", "notice")
DAYS = 14
_PAGE = 50
# Enough rows beside the page's own to count earlier tries of the same message.
_TRIES_WITHIN = 200


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One message as the company sees it: the person only by the identifier the company knows them by."""

    entry: Entry
    event: str
    sub: str
    tries: int
    result: str
    tone: str


@dataclass(frozen=True, kw_only=True)
class Place:
    """An app with its endpoint and how many messages it is still owed."""

    client: companies.ClientFacts
    endpoint: Stream | None
    waiting: int

    @property
    def failing(self) -> bool:
        return self.endpoint is not None and (self.endpoint.failures > 0 or self.endpoint.state == "disabled")


_RESULTS = {
    "completed": ("Delivered", "ok"),
    "failed": ("Failed", "stop"),
    "unknown": ("No answer", "hold"),
    "suppressed": ("Not sent: something changed first", "hold"),
    "sending": ("On its way", ""),
}


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


@pages.get("/org/deliveries")
@staff_required
def deliveries() -> Response:
    before = cursor.before()
    entries = ledger.of_company(
        session(), company_id=g.company.company_id, channels=CHANNELS, limit=_TRIES_WITHIN, before=before
    )
    sent = [entry for entry in entries if entry.message_id is not None]
    return page(
        "sync/deliveries.html",
        "live",
        attempts=_attempts(sent),
        older=_after(sent[_PAGE - 1]) if len(sent) > _PAGE else None,
        first_page=before is None,
        places=_places(),
        chart=_chart(),
    )


@pages.post("/org/deliveries/again")
@staff_required
def send_again() -> ResponseReturnValue:
    """Send one person's state anew; the company names them as it knows them, and only its own sharing is found."""
    company_id, sub = g.company.company_id, request.form.get("sub", "")
    who = None if "\0" in sub else consents.person_of(session(), company_id=company_id, sub=sub)
    held = consents.grant(session(), person_id=who, grant_id=_id(request.form.get("sharing", ""))) if who else None
    if held is None or held.company_id != company_id:
        raise NotFoundError
    place = _place(own_client(held.client_id))
    services.send_again(session(), person_id=held.person_id, grant_id=held.grant_id)
    flash(*_answer(place))
    return redirect(url_for("sync.deliveries"), 303)


def _answer(place: Place) -> tuple[str, str]:
    if place.endpoint is None or place.endpoint.state != "enabled":
        return f"Nothing is sent yet: {place.client.name} has no proven endpoint. It is sent once there is one.", "hold"
    return f"Sending again to {place.client.name}. It is the newest state, and shows below once it is sent.", "message"


def _id(given: str) -> UUID:
    try:
        return UUID(given)
    except ValueError:
        raise NotFoundError from None


def _prove(client_id: str, url: str) -> None:
    # An address that does not prove itself leaves the one that works in its place: nothing is written before.
    asked = services.challenge(session(), keyring=keyring(), client_id=client_id, url=url, now=now())
    # Nothing is held while a stranger's server takes its time.
    session().commit()
    services.await_echo(asked)
    services.enable_endpoint(session(), client_id=client_id, url=url, now=now())


def _place(client: companies.ClientFacts) -> Place:
    client_id = client.client_id
    waiting = queries.waiting(session(), client_ids=[client_id])
    return Place(
        client=client,
        endpoint=queries.stream_of(session(), client_id=client_id),
        waiting=waiting.get(client_id, 0),
    )


def _places() -> list[Place]:
    """Return the company's apps that have an endpoint, those that fail first."""
    clients = companies.clients_of(session(), company_id=g.company.company_id)
    found = [place for place in map(_place, clients) if place.endpoint is not None]
    return sorted(found, key=lambda place: not place.failing)


def _attempts(sent: Sequence[Entry]) -> list[Attempt]:
    shown = sent[:_PAGE]
    people = {entry.person_id for entry in shown}
    subs = consents.subs_of(session(), person_ids=people, company_id=g.company.company_id)
    return [
        Attempt(
            entry=entry,
            event="profile" if entry.channel == "push" else "consent",
            sub=subs.get(entry.person_id, ""),
            tries=sum(other.message_id == entry.message_id for other in sent[position:]),
            result=_RESULTS.get(entry.outcome, (entry.outcome, ""))[0],
            tone=_RESULTS.get(entry.outcome, ("", ""))[1],
        )
        for position, entry in enumerate(shown)
    ]


def _chart() -> chart.Chart:
    today = now().astimezone(ZONE).date()
    first = datetime.combine(today - timedelta(days=DAYS - 1), datetime.min.time(), tzinfo=ZONE)
    counts = ledger.days_of_company(
        session(), company_id=g.company.company_id, channels=CHANNELS, since=first, zone=ZONE.key
    )
    return chart.of_days(counts, first=first.date(), days=DAYS)


def _after(entry: Entry) -> str:
    return cursor.after(entry.at, entry.disclosure_id)

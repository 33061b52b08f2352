"""For company staff: every attempt to tell them something, what waits, and one message with all its tries."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from flask import Blueprint, flash, g, redirect, request, url_for

from portal.companies import looks
from portal.companies import queries as companies
from portal.companies.access import own_client, staff_required
from portal.consent import queries as consents
from portal.errors import NotFoundError
from portal.sync import chart, copies, deliveries, queries, receipts, services
from portal.sync.deliveries import OWED, Wanted
from portal.sync.forms import DeliveriesForm, kept
from portal.web import cursor, dates
from portal.web.context import now, session
from portal.web.pages import page, wants_fragment

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from flask import Response
    from flask.typing import ResponseReturnValue
    from sqlalchemy import Row

    from portal.companies.queries import ClientFacts
    from portal.sync.copies import Share
    from portal.sync.deliveries import Backlog, Cursor, Owed
    from portal.sync.models import Attempt, Delivery, Stream

pages = Blueprint("deliveries", __name__)

_PAGE = 50
_LOOKED_UP = "see what was sent to them and whether it arrived"
# What each outcome is called, and its tone.
_OUTCOMES = {
    "completed": ("Delivered", "ok"),
    "failed": ("Failed", "stop"),
    "unknown": ("No answer", "hold"),
    "suppressed": ("Not sent", "hold"),
}


@dataclass(frozen=True, kw_only=True)
class Place:
    """An app with its endpoint and what it is still owed."""

    client: ClientFacts
    endpoint: Stream
    backlog: Backlog

    @property
    def failing(self) -> bool:
        return self.endpoint.failing_since is not None or self.endpoint.state == "disabled"


@dataclass(frozen=True, kw_only=True)
class Line:
    """One attempt, or what waits for one: the person only by the identifier the company knows them by."""

    id: UUID
    at: datetime
    app: str
    client_id: str
    grant_id: UUID | None
    sub: str
    kinds: Sequence[str] = ()
    jti: str = ""
    result: str
    tone: str
    milliseconds: int | None = None
    tries: int
    problem: str
    next_try: str = ""
    receipt: str = ""


@pages.get("/org/deliveries")
@staff_required
def log() -> Response:
    clients = _clients()
    form = DeliveriesForm(formdata=request.args, apps={one.client_id: one.name for one in clients.values()})
    behind = cursor.before()
    chosen = form.chosen() if form.validate() else {}
    if app := chosen.get("app"):
        clients = {app: clients[app]}
    streams = deliveries.streams(session(), clients)
    found, older = ([], None) if form.errors else _lines(_wanted(form, clients), clients, streams, behind)
    _record_look(form, found)
    return page(
        "sync/deliveries.html",
        "live",
        status=422 if form.errors else 200,
        form=form,
        chosen=chosen,
        lines=found,
        older=url_for("deliveries.log", **(chosen | {"before": cursor.after(*older)})) if older else None,
        reached=older,
        first_page=behind is None,
        kept=kept(request.args),
        owed=chosen.get("result") in OWED,
        places=_places(clients, streams),
        chart=None if wants_fragment() else chart.lately(session(), client_ids=list(clients), now=now()),
        chart_of=", ".join(one.name for one in clients.values()) if "app" in chosen else "",
        shares=[] if wants_fragment() else _shares(clients, streams),
    )


@pages.get("/org/deliveries/messages/<client_id>/<jti>")
@staff_required
def message(client_id: str, jti: str) -> Response:
    client = own_client(client_id)
    attempts = deliveries.message(session(), client_id=client_id, jti=jti)
    if not attempts:
        raise NotFoundError
    newest = attempts[-1]
    if newest.person_id:
        looks.record(newest.person_id, client_id=client_id, purpose=_LOOKED_UP, grant_id=newest.grant_id)
    stream = queries.stream_of(session(), client_id=client_id)
    pair = (newest.person_id, newest.grant_id) if newest.person_id and newest.grant_id else None
    owed = deliveries.still_owed(session(), [pair] if pair else []).get(pair) if pair else None
    return page(
        "sync/message.html",
        client=client,
        stream=stream,
        attempts=attempts,
        newest=newest,
        kinds=[deliveries.kind(uri) for uri in newest.kinds],
        words=_result,
        tone=_tone,
        sub=_subs([newest]).get(newest.person_id, ""),
        next_try=_followed(newest, owed, stream),
        payload=_pretty(newest.payload),
        kept=kept(request.args),
        receipt=receipts.of_messages(session(), client_id=client_id, jtis=[jti]).get(jti),
    )


@pages.post("/org/deliveries/again")
@staff_required
def send_again() -> ResponseReturnValue:
    """Send one person's state anew; the company names them as it knows them, and only its own sharing is found.

    The address says from which list, or message, so that staff are where they were.
    """
    company_id, sub = g.company.company_id, request.form.get("sub", "")
    who = consents.person_of(session(), company_id=company_id, sub=sub)
    held = consents.grant(session(), person_id=who, grant_id=_id(request.form.get("sharing", ""))) if who else None
    if held is None or held.company_id != company_id:
        raise NotFoundError
    client = own_client(held.client_id)
    services.send_again(session(), person_id=held.person_id, grant_id=held.grant_id)
    flash(*_answer(client, queries.stream_of(session(), client_id=client.client_id)))
    if jti := request.args.get("message"):
        return redirect(url_for("deliveries.message", client_id=client.client_id, jti=jti, **kept(request.args)), 303)
    return redirect(url_for("deliveries.log", **kept(request.args)), 303)


def _answer(client: ClientFacts, stream: Stream | None) -> tuple[str, str]:
    if stream is None or stream.state != "enabled":
        return f"Nothing is sent yet: {client.name} has no endpoint that is on. It is sent once there is one.", "hold"
    words = f"Sending again to {client.name}: the newest state. It stands first under Deliveries once it is sent."
    return words, "message"


def _id(given: str) -> UUID:
    try:
        return UUID(given)
    except ValueError:
        raise NotFoundError from None


def _clients() -> dict[str, ClientFacts]:
    return {one.client_id: one for one in companies.clients_of(session(), company_id=g.company.company_id)}


def _record_look(form: DeliveriesForm, found: Sequence[Line]) -> None:
    # A list of many, by the identifiers that the company knows anyway, is about none of them.
    if (form.person.data or "").strip() and found:
        who = consents.person_of(session(), company_id=g.company.company_id, sub=found[0].sub)
        if who is not None:
            looks.record(who, client_id=found[0].client_id, purpose=_LOOKED_UP)


def _wanted(form: DeliveriesForm, clients: Mapping[str, ClientFacts]) -> Wanted:
    who = (form.person.data or "").strip()
    person_id = consents.person_of(session(), company_id=g.company.company_id, sub=who) if who else None
    return Wanted(
        # An identifier of nobody finds nothing.
        client_ids=list(clients) if person_id or not who else [],
        result=form.result.data or "",
        kind=form.kind.data or "",
        person_id=person_id,
        first=dates.midnight(form.first.data) if form.first.data else None,
        last=dates.midnight(form.last.data + timedelta(days=1)) if form.last.data else None,
    )


def _lines(
    wanted: Wanted,
    clients: Mapping[str, ClientFacts],
    streams: Mapping[str, Stream],
    behind: Cursor | None,
) -> tuple[list[Line], Cursor | None]:
    if wanted.result in OWED:
        waiting, further = deliveries.owed(session(), wanted, limit=_PAGE, after=behind)
        return _waiting(waiting, clients, streams), further
    found, older = deliveries.attempts(session(), wanted, limit=_PAGE, before=behind)
    return _attempts(found, clients, streams), older


def _waiting(
    found: Sequence[Delivery], clients: Mapping[str, ClientFacts], streams: Mapping[str, Stream]
) -> list[Line]:
    subs = _subs(found)
    return [
        Line(
            id=one.grant_id, at=one.due_at, app=clients[one.client_id].name, client_id=one.client_id,
            grant_id=one.grant_id, sub=subs.get(one.person_id, ""), result="Held back" if one.held else "Waiting",
            tone="hold", tries=one.attempts, problem=one.last_problem,
            next_try=_next_try(deliveries.owed_by(one), streams.get(one.client_id)),
        )
        for one in found
    ]  # fmt: skip


def _attempts(
    found: Sequence[Row[Any]], clients: Mapping[str, ClientFacts], streams: Mapping[str, Stream]
) -> list[Line]:
    tries, subs, said = deliveries.tries(session(), found), _subs(found), _receipts(found)
    owed = deliveries.still_owed(session(), {(one.person_id, one.grant_id) for one in found if one.grant_id})
    lines = []
    for one in found:
        # Only the newest attempt says when the next is made.
        next_one = owed.pop((one.person_id, one.grant_id), None)
        lines.append(
            Line(
                id=one.attempt_id, at=one.at, app=clients[one.client_id].name, client_id=one.client_id,
                grant_id=one.grant_id, sub=subs.get(one.person_id, ""), jti=one.jti,
                kinds=[deliveries.kind(uri) for uri in one.kinds], result=_result(one), tone=_tone(one),
                milliseconds=one.milliseconds, tries=tries[one.attempt_id], problem=one.detail,
                next_try=_followed(one, next_one, streams.get(one.client_id)),
                receipt=said.get((one.client_id, one.jti), ""),
            )
        )  # fmt: skip
    return lines


def _receipts(found: Sequence[Row[Any]]) -> dict[tuple[str, str], str]:
    """Return by (client_id, jti) what each app says that it did with its messages."""
    return {
        (client_id, jti): said.status
        for client_id in {one.client_id for one in found}
        for jti, said in receipts.of_messages(
            session(), client_id=client_id, jtis=[one.jti for one in found if one.client_id == client_id]
        ).items()
    }


def _result(attempt: Row[Any] | Attempt) -> str:
    words = _OUTCOMES.get(attempt.outcome, (attempt.outcome, ""))[0]
    return f"{attempt.status} {words}" if attempt.status else words


def _tone(attempt: Row[Any] | Attempt) -> str:
    return _OUTCOMES.get(attempt.outcome, ("", ""))[1]


def _followed(attempt: Row[Any] | Attempt, owed: Owed | None, stream: Stream | None) -> str:
    """Return when what was not received is tried again, by itself or by what has taken its place."""
    if owed is None or attempt.outcome == "completed":
        return ""
    newer = "by a newer message, " if attempt.generation != owed.generation else ""
    return newer + _next_try(owed, stream)


def _next_try(owed: Owed, stream: Stream | None) -> str:
    if stream is None or stream.state != "enabled":
        return "when the endpoint is on again"
    if owed.leased_until and owed.leased_until > now():
        return "on its way"
    if stream.method == "poll":
        return "when you poll"
    if owed.held:
        return f"{dates.moment(owed.due_at)}, or when you send it again: it is held back"
    at = max(owed.due_at, stream.circuit_until or owed.due_at)
    # An endpoint that has failed is sent one message to see, and this need not be it.
    soonest = " at the soonest: one message at a time" if stream.circuit_step else ""
    return (dates.moment(at) if at > now() else "now") + soonest


def _subs(rows: Collection[Any]) -> Mapping[Any, str]:
    people = {row.person_id for row in rows if row.person_id}
    return consents.subs_of(session(), person_ids=people, company_id=g.company.company_id) if people else {}


def _pretty(payload: str) -> str:
    return json.dumps(json.loads(payload), indent=2, ensure_ascii=False) if payload else ""


def _places(clients: Mapping[str, ClientFacts], streams: Mapping[str, Stream]) -> list[Place]:
    """Return the company's apps that have an endpoint, those that fail first."""
    backlogs = deliveries.backlogs(session(), client_ids=list(streams))
    found = [
        Place(client=clients[client_id], endpoint=stream, backlog=backlogs[client_id])
        for client_id, stream in streams.items()
    ]
    return sorted(found, key=lambda place: (not place.failing, place.client.name))


def _shares(clients: Mapping[str, ClientFacts], streams: Iterable[str]) -> list[tuple[str, Share]]:
    """Return how many of the copies that each app holds, by its name, are as people have their details now."""
    found = [(clients[one].name, copies.share(session(), now=now(), client_id=one)) for one in streams]
    return [(name, share) for name, share in found if share.total]

"""What this company's staff and customers see in a browser."""

from __future__ import annotations

import hmac
import logging
import secrets
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import requests
from flask import Blueprint, abort, current_app, flash, redirect, render_template, request, session, url_for

import asking
import store as storing
import wording
from approving import Approvals
from portal_client import PortalProblemError, UntrustedError
from receiver import RefusedError

if TYPE_CHECKING:
    from typing import Any

    from flask import Flask, Response
    from werkzeug.wrappers import Response as BaseResponse

    from asking import Asking
    from portal_client import PortalClient
    from store import Store

_LOG = logging.getLogger(__name__)
_TROUBLE = (UntrustedError, RefusedError, requests.RequestException)
_UNREACHABLE = "We could not reach the portal. Nothing has changed; try again in a minute."


def customer_pages(store: Store, portal: PortalClient, pulls: Asking) -> Blueprint:
    pages = Blueprint("pages", __name__)

    @pages.get("/")
    def customers() -> str:
        return render_template("customers.html", **_list(store))

    @pages.get("/customers")
    def customers_fragment() -> str:
        return render_template("_customers.html", **_list(store))

    @pages.post("/customers/<sub>/refresh")
    def refresh(sub: str) -> BaseResponse:
        _refresh(store, pulls, sub)
        return redirect(url_for("pages.customers", page=_page()), 303)

    @pages.post("/asks")
    def ask() -> BaseResponse:
        try:
            return redirect(url_for("pages.asked", ask_id=pulls.many(store.subjects(asking.MANY))), 303)
        except PortalProblemError as problem:
            flash(f"The portal refused: {problem.title}", "stop")
        except _TROUBLE:
            flash(_UNREACHABLE, "stop")
        return redirect(url_for("pages.customers"), 303)

    @pages.get("/asks/<ask_id>")
    def asked(ask_id: str) -> str:
        return render_template("asked.html", ask=store.ask(ask_id) or abort(404))

    @pages.get("/asks/<ask_id>/progress")
    def asked_fragment(ask_id: str) -> str:
        return render_template("_asked.html", ask=store.ask(ask_id) or abort(404))

    _add_connecting(pages, store, portal, pulls)
    _add_approving(pages, store, Approvals(portal, pulls))
    return pages


def _add_approving(pages: Blueprint, store: Store, approvals: Approvals) -> None:
    @pages.post("/customers/<sub>/approve")
    def approve(sub: str) -> BaseResponse:
        person = store.customer(sub) or abort(404)
        try:
            made = approvals.ask(sub, attributes=[detail["name"] for detail in person["details"]])
        except PortalProblemError as problem:
            flash(f"The portal refused: {problem.title}", "stop")
        except _TROUBLE:
            flash(_UNREACHABLE, "stop")
        else:
            return redirect(url_for("pages.approval", approval_id=made.id), 303)
        return redirect(url_for("pages.customers", page=_page()), 303)

    @pages.get("/approvals/<approval_id>")
    def approval(approval_id: str) -> str:
        found = approvals.find(approval_id) or abort(404)
        return render_template("approval.html", approval=found, person=store.customer(found.sub))

    @pages.get("/approvals/<approval_id>/progress")
    def approval_fragment(approval_id: str) -> str:
        return render_template("_approval.html", approval=approvals.find(approval_id) or abort(404))


def _add_connecting(pages: Blueprint, store: Store, portal: PortalClient, pulls: Asking) -> None:
    @pages.get("/connect")
    def connect_page() -> str:
        return render_template("connect.html")

    @pages.post("/connect")
    def connect() -> BaseResponse:
        try:
            departure = portal.depart()
        except PortalProblemError as problem:
            flash(f"The portal refused: {problem.title}", "stop")
            return redirect(url_for("pages.connect_page"), 303)
        except _TROUBLE:
            flash(_UNREACHABLE, "stop")
            return redirect(url_for("pages.connect_page"), 303)
        store.start_attempt(departure.state, nonce=departure.nonce, verifier=departure.verifier, now=time.time())
        session["state"] = departure.state
        return redirect(departure.address, 303)

    @pages.get("/callback")
    def callback() -> BaseResponse | tuple[str, int]:
        return _callback(store, portal, pulls)

    @pages.get("/welcome")
    def welcome() -> str:
        person = store.customer(session.get("customer", ""))
        return render_template("welcome.html", person=person or abort(404))

    @pages.get("/declined")
    def declined() -> str:
        return render_template("declined.html")


def _callback(store: Store, portal: PortalClient, pulls: Asking) -> BaseResponse | tuple[str, int]:
    """Check that this answer belongs to this browser and comes from this portal, then use it once."""
    answer = request.args
    state = session.pop("state", "")
    attempt = store.finish_attempt(state) if state and hmac.compare_digest(state, answer.get("state", "")) else None
    if attempt is None:
        return _failed("This page was opened without having started here, or twice.")
    if answer.get("iss") != portal.issuer:
        return _failed("The answer did not come from the portal we asked.")
    if answer.get("error") == "access_denied":
        return redirect(url_for("pages.declined"), 303)
    if "code" not in answer:
        return _failed("The portal could not finish.")
    try:
        connection = portal.arrive(answer["code"], nonce=attempt[0], verifier=attempt[1])
        pulls.one(connection.sub, token=connection.token)
    except (PortalProblemError, *_TROUBLE) as error:
        _LOG.warning("connecting failed: %s %s", type(error).__name__, getattr(error, "code", ""))
        return _failed("The portal's answer could not be used.")
    session["customer"] = connection.sub
    return redirect(url_for("pages.welcome"), 303)


def _failed(reason: str) -> tuple[str, int]:
    return render_template("failed.html", reason=reason), 400


def _refresh(store: Store, pulls: Asking, sub: str) -> None:
    person = store.customer(sub) or abort(404)
    before = {detail["name"]: detail["version"] for detail in person["details"]}
    called = wording.name(person)
    try:
        pulls.one(sub)
    except PortalProblemError as problem:
        flash(f"The portal refused: {problem.title}", "stop")
        return
    except _TROUBLE:
        flash(_UNREACHABLE, "stop")
        return
    after = {detail["name"]: detail["version"] for detail in (store.customer(sub) or person)["details"]}
    news = "something had changed" if after != before else "nothing had changed"
    flash(f"Asked about {called} and answered at once: {news}.", "ok")


def _list(store: Store) -> dict[str, Any]:
    page = _page()
    people, total = store.customers(page=page)
    return {
        "people": people,
        "total": total,
        "page": page,
        "last_page": max(1, -(-total // storing.PAGE)),
        "many": min(asking.MANY, len(store.subjects(asking.MANY))),
    }


def _page() -> int:
    return max(1, request.args.get("page", 1, type=int))


def protect(app: Flask, portal: str) -> None:
    """Headers, words and the form guard that every page shares."""
    parts = urlsplit(portal)
    policy = (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
        # The form that connects is redirected to the portal, which form-action must name.
        f" form-action 'self' {parts.scheme}://{parts.netloc}; base-uri 'none'; frame-ancestors 'none'"
    )
    app.jinja_env.globals.update(
        label=wording.label, state=wording.state, person_name=wording.name, lines=wording.lines,
        clock=wording.clock, day=wording.day, still_right=wording.still_right, result=wording.result,
        rank=wording.rank, guard=_guard,
    )  # fmt: skip
    app.jinja_env.filters["ranked"] = lambda details: sorted(details, key=wording.rank)
    app.before_request(_check_guard)

    @app.after_request
    def headers(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = policy
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "same-origin"
        response.headers.setdefault("Cache-Control", "no-store")
        return response


def _guard() -> str:
    """Return the value each form carries, so that no other site can send it in this browser's name."""
    if "guard" not in session:
        session["guard"] = secrets.token_urlsafe(24)
    return str(session["guard"])


def _check_guard() -> None:
    # The endpoint for machines carries no cookie: its messages are signed.
    if request.method != "POST" or request.endpoint == "events.take":
        return
    if not hmac.compare_digest(str(session.get("guard", "")), request.form.get("guard", "-")):
        current_app.logger.warning("a form came without its guard")
        abort(400)

"""The signed-in browser: its cookie, and flask-login's `current_user` from our own session table.

The cookie holds a random token and nothing else; the table holds its SHA-256.  Flask's own signed cookie
carries only the form token and a sign-in under way, and is emptied whenever somebody signs in or out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import flask
from flask import g, request
from flask_login import LoginManager, current_user
from sqlalchemy.exc import DBAPIError

from portal.identity import levels, queries, services
from portal.web import context

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from flask import Flask, Request, Response

_LONGEST_TOKEN = 64
_PROGRAMS = (("Edg", "Edge"), ("OPR", "Opera"), ("Firefox", "Firefox"), ("Chrome", "Chrome"), ("Safari", "Safari"))
_SYSTEMS = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("Mac OS", "Mac"),
    ("Linux", "Linux"),
)


@dataclass(frozen=True)
class Visitor:
    """Whoever is signed in, as flask-login asks for it."""

    person_id: UUID
    authenticated_at: datetime
    method: str
    level: int
    token_hash: bytes
    is_authenticated: bool = True
    is_active: bool = True
    is_anonymous: bool = False

    @property
    def has_two_proofs(self) -> bool:
        return self.level >= levels.TWO_PROOFS

    @cached_property
    def is_operator(self) -> bool:
        """Whether they look after the portal: asked anew with every request, and once in it."""
        return queries.is_operator(context.session(), person_id=self.person_id)

    def get_id(self) -> str:
        return str(self.person_id)


def init_app(app: Flask) -> None:
    """Let flask-login find people by our cookie; its own cookie is never set."""
    manager = LoginManager()
    manager.session_protection = None
    manager.request_loader(_visitor)
    manager.init_app(app)


def _visitor(_request: Request) -> Visitor | None:
    token = request.cookies.get(cookie_name(), "")
    if not token or len(token) > _LONGEST_TOKEN:
        return None
    try:
        row = queries.session_of(context.session(), token=token, now=context.now())
    except DBAPIError:
        # The page that says "something went wrong" is drawn without knowing who reads it.
        if g.get("failed"):
            return None
        raise
    if row is None:
        return None
    services.touch(context.session(), row=row, now=context.now())
    return Visitor(row.person_id, row.authenticated_at, row.method, row.level, row.token_hash)


def cookie_name() -> str:
    """Return the cookie's name; the prefix binds it to this host and TLS (RFC 6265bis section 4.1.3)."""
    return "__Host-session" if context.settings().secure else "session"


def sign_in(response: Response, *, person_id: UUID, method: str) -> Response:
    """Give this browser a new session, whatever it had before, and set its cookie on `response`."""
    before = request.cookies.get(cookie_name(), "")
    token = services.open_session(
        context.session(),
        person_id=person_id,
        method=method,
        browser=describe(request.user_agent.string),
        now=context.now(),
        replaces=queries.hash_of(before) if before else None,
    )
    return _with_cookie(response, token)


def raise_session(response: Response) -> Response:
    """Note that whoever is signed in has given both proofs, and set the session's new cookie on `response`."""
    token = services.raise_session(
        context.session(), person_id=current_user.person_id, token_hash=current_user.token_hash, now=context.now()
    )
    if token is None:
        # It was raised, or ended, by another request at this moment: whoever did it has the cookie that counts.
        return response
    return _with_cookie(response, token)


def _with_cookie(response: Response, token: str) -> Response:
    flask.session.clear()
    response.set_cookie(cookie_name(), token, path="/", secure=context.settings().secure, httponly=True, samesite="Lax")
    response.headers["Cache-Control"] = "no-store"
    return response


def sign_out(response: Response) -> Response:
    """End this browser's session, take its cookie back and have the browser drop what it kept of our pages."""
    token = request.cookies.get(cookie_name(), "")
    if token:
        services.end_session(context.session(), person_id=None, token_hash=queries.hash_of(token), now=context.now())
    flask.session.clear()
    response.delete_cookie(cookie_name(), path="/", secure=context.settings().secure, httponly=True, samesite="Lax")
    # Not "cookies": that would take those of every other service on this host's domain with it.
    response.headers["Clear-Site-Data"] = '"cache", "storage"'
    response.headers["Cache-Control"] = "no-store"
    return response


def describe(user_agent: str) -> str:
    """Return "Firefox on Windows": enough to recognise one's own browser, too little to follow anybody."""
    program = next((name for mark, name in _PROGRAMS if mark in user_agent), "A browser")
    system = next((name for mark, name in _SYSTEMS if mark in user_agent), "")
    return f"{program} on {system}" if system else program

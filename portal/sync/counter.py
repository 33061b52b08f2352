"""Pulls of one person and userinfo at the door: a good answer leaves from here, all else goes on to Flask.

What Flask does around a view (sessions, forms, hooks) is a third of such a call's time and nothing to a machine that
sends neither cookie nor form.  A refusal is handed on, and the same view raises it: there is one way to refuse.
"""

from __future__ import annotations

import json
import re
import secrets
from typing import TYPE_CHECKING, Final, NamedTuple

from portal import db
from portal.oauth import protection, userinfo
from portal.sync import messages, pulls
from portal.web import security
from portal.web.limits import network

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from portal.config import Settings
    from portal.oauth.protection import Credentials
    from portal.vault.keyring import Keyring
    from portal.web.limits import Limits

# Any other spelling of an address, and any parameter, is Flask's to read.
_PULL = re.compile(r"/api/v1/people/([A-Za-z0-9_-]{1,255})", re.ASCII)
_USERINFO: Final = "/oauth/userinfo"
_JSON: Final = "application/json"


class _Answer(NamedTuple):
    media_type: str
    text: str


class Counter:
    """WSGI middleware (PEP 3333) around the portal."""

    def __init__(self, inner: WSGIApplication, *, settings: Settings, keyring: Keyring, limits: Limits) -> None:
        self._inner, self._settings, self._keyring, self._limits = inner, settings, keyring, limits
        self._headers = (("Cache-Control", "no-store"), *security.headers((), secure=settings.secure))

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        asked = self._asked(environ)
        if asked is None or self._limits.wait_of(network(environ.get("REMOTE_ADDR", ""))):
            return self._inner(environ, start_response)
        try:
            now = db.now()
            answer = asked(self._credentials(environ, now), now)
        except Exception as failure:  # noqa: BLE001 - the view raises it again, and Flask's handlers answer
            environ[protection.FAILURE] = failure
            return self._inner(environ, start_response)
        body = answer.text.encode()
        what, length = ("Content-Type", answer.media_type), ("Content-Length", str(len(body)))
        start_response("200 OK", [what, length, *self._headers, ("Request-Id", "req_" + secrets.token_hex(8))])
        return [body]

    def _asked(self, environ: WSGIEnvironment) -> Callable[[Credentials, datetime], _Answer] | None:
        if environ["REQUEST_METHOD"] != "GET" or environ.get("QUERY_STRING"):
            return None
        if environ["PATH_INFO"] == _USERINFO:
            return self._told
        found = _PULL.fullmatch(environ["PATH_INFO"])
        return None if found is None else lambda credentials, now: self._pulled(credentials, now, found[1])

    def _credentials(self, environ: WSGIEnvironment, now: datetime) -> Credentials:
        return protection.presented(
            environ.get("HTTP_AUTHORIZATION"), environ.get("HTTP_DPOP"),
            method="GET", url=self._settings.issuer + environ["PATH_INFO"], now=now,
        )  # fmt: skip

    def _pulled(self, credentials: Credentials, now: datetime, sub: str) -> _Answer:
        settings = self._settings
        message = pulls.pull(
            settings.database_url, keyring=self._keyring, issuer=settings.issuer, credentials=credentials, sub=sub,
            requested=None, now=now,
        )  # fmt: skip
        return _Answer(messages.MEDIA_TYPE, message)

    def _told(self, credentials: Credentials, now: datetime) -> _Answer:
        url = self._settings.database_url
        told = userinfo.tell(url, keyring=self._keyring, credentials=credentials, now=now)
        if told.plain:
            return _Answer(_JSON, json.dumps(told.claims))
        with db.transaction(url) as session:
            signed = userinfo.signed(session, told, keyring=self._keyring, issuer=self._settings.issuer)
        return _Answer(signed.media_type, signed.text)

"""Pulls of one person and userinfo at the door: a good answer leaves from here, all else goes on to Flask.

What Flask does around a view (sessions, forms, hooks) is a third of such a call's time and nothing to a machine that
sends neither cookie nor form.  A refusal is handed on, and the same view raises it: there is one way to refuse.
"""

from __future__ import annotations

import json
import re
import secrets
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from werkzeug.http import parse_etags

from portal import db
from portal.oauth import protection, userinfo
from portal.sync import messages, pulls
from portal.sync.pulls import Question
from portal.web import limits, security
from portal.web.limits import network

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from werkzeug.datastructures import ETags

    from portal.config import Settings
    from portal.oauth.protection import Credentials
    from portal.vault.keyring import Keyring
    from portal.web.limits import Limits

# Any other spelling of an address, and any parameter, is Flask's to read.
_PULL = re.compile(r"/api/v1/people/([A-Za-z0-9_-]{1,255})", re.ASCII)
_USERINFO: Final = "/oauth/userinfo"
_JSON: Final = "application/json"
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


class _Answer(NamedTuple):
    media_type: str
    text: str | None
    headers: Mapping[str, str]


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
        headers = [*answer.headers.items(), *self._headers, ("Request-Id", "req_" + secrets.token_hex(8))]
        if answer.text is None:
            start_response("304 Not Modified", headers)
            return []
        body = answer.text.encode()
        what, length = ("Content-Type", answer.media_type), ("Content-Length", str(len(body)))
        start_response("200 OK", [what, length, *headers])
        return [body]

    def _asked(self, environ: WSGIEnvironment) -> Callable[[Credentials, datetime], _Answer] | None:
        if environ["REQUEST_METHOD"] != "GET" or environ.get("QUERY_STRING"):
            return None
        if environ["PATH_INFO"] == _USERINFO:
            return self._told
        found = _PULL.fullmatch(environ["PATH_INFO"])
        if found is None:
            return None
        held = conditional(environ.get("HTTP_IF_NONE_MATCH"))
        return lambda credentials, now: self._pulled(
            Question(credentials=credentials, sub=found[1], requested=None, held=held, now=now)
        )

    def _credentials(self, environ: WSGIEnvironment, now: datetime) -> Credentials:
        return protection.presented(
            environ.get("HTTP_AUTHORIZATION"), environ.get("HTTP_DPOP"),
            method="GET", url=self._settings.issuer + environ["PATH_INFO"], now=now,
        )  # fmt: skip

    def _pulled(self, question: Question) -> _Answer:
        told = pulls.pull(self._settings, question, keyring=self._keyring, pace=self._pace)
        return _Answer(messages.MEDIA_TYPE, told.message, told.headers)

    def _pace(self, client_id: str) -> int:
        return self._limits.pace(limits.api_rate(self._settings), client_id)

    def _told(self, credentials: Credentials, now: datetime) -> _Answer:
        settings = self._settings
        told = userinfo.tell(
            settings.database_url, keyring=self._keyring, credentials=credentials, most=settings.grant_pulls, now=now
        )
        if told.plain:
            return _Answer(_JSON, json.dumps(told.claims), _NOTHING)
        with db.transaction(settings.database_url) as session:
            signed = userinfo.signed(session, told, keyring=self._keyring, issuer=settings.issuer)
        return _Answer(signed.media_type, signed.text, _NOTHING)


def conditional(header: str | None) -> ETags | None:
    """Return what `If-None-Match` names (RFC 9110 section 13.1.2), None where there is none."""
    return parse_etags(header) if header else None

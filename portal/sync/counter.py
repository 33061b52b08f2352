"""A pull of one person at the door: a good answer leaves from here, everything else goes on to Flask.

What Flask does around a view (sessions, forms, hooks) is a sixth of a pull's time and nothing to a machine that
sends neither cookie nor form.  A refusal is handed on, and the same view raises it: there is one way to refuse.
"""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Final

from portal import db
from portal.oauth import protection
from portal.sync import messages, pulls
from portal.web import security
from portal.web.limits import network

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from portal.config import Settings
    from portal.vault.keyring import Keyring
    from portal.web.limits import Limits

FAILURE: Final = "portal.failure"
# Any other spelling of an address, and any parameter, is Flask's to read.
_PLAIN = re.compile(r"/api/v1/people/([A-Za-z0-9_-]{1,255})", re.ASCII)


class Counter:
    """WSGI middleware (PEP 3333) around the portal."""

    def __init__(self, inner: WSGIApplication, *, settings: Settings, keyring: Keyring, limits: Limits) -> None:
        self._inner, self._settings, self._keyring, self._limits = inner, settings, keyring, limits
        self._headers = (
            ("Content-Type", messages.MEDIA_TYPE),
            ("Cache-Control", "no-store"),
            *security.headers((), secure=settings.secure),
        )

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        plain = environ["REQUEST_METHOD"] == "GET" and not environ.get("QUERY_STRING")
        found = _PLAIN.fullmatch(environ["PATH_INFO"]) if plain else None
        if found is None or self._limits.wait_of(network(environ.get("REMOTE_ADDR", ""))):
            return self._inner(environ, start_response)
        try:
            body = self._pulled(environ, found[1]).encode()
        except Exception as failure:  # noqa: BLE001 - the view raises it again, and Flask's handlers answer
            environ[FAILURE] = failure
            return self._inner(environ, start_response)
        length, named = ("Content-Length", str(len(body))), ("Request-Id", "req_" + secrets.token_hex(8))
        start_response("200 OK", [*self._headers, length, named])
        return [body]

    def _pulled(self, environ: WSGIEnvironment, sub: str) -> str:
        now, issuer = db.now(), self._settings.issuer
        presented = protection.presented(
            environ.get("HTTP_AUTHORIZATION"), environ.get("HTTP_DPOP"),
            method="GET", url=issuer + environ["PATH_INFO"], now=now,
        )  # fmt: skip
        return pulls.pull(
            self._settings.database_url, keyring=self._keyring, issuer=issuer, credentials=presented, sub=sub,
            requested=None, now=now,
        )  # fmt: skip

"""One request, waited for: what has no loop of its own asks companies this way, by the rules of `exchanges`."""

from __future__ import annotations

import time
from contextlib import closing
from functools import cache
from typing import TYPE_CHECKING

from portal.egress import guard, names
from portal.egress.answers import Answer, NoAnswerError
from portal.egress.exchanges import Answered, Exchanges, Failed, Ready

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

__all__ = ["Answer", "Client", "NoAnswerError", "shared"]

_CONNECT_SECONDS = 3.0


class Client:
    """Asks companies; one a process, used by many threads.  Each request has a connection of its own.

    `allow` holds `host:port` pairs exempt from the rules (the demo's loopback company).
    """

    def __init__(
        self,
        *,
        allow: frozenset[str] = frozenset(),
        resolve: guard.Resolver = names.look_up,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        self._allow, self._resolve, self._trust = allow, resolve, trust

    def post(
        self,
        url: str,
        body: bytes,
        *,
        content_type: str,
        accept: str,
        seconds: float,
        authorization: str | None = None,
    ) -> Answer:
        """Send `body` and return the answer within `seconds`; `authorization` is the header of that name.

        Raises `guard.UnsafeAddressError` before, `NoAnswerError` after a byte was tried.
        """
        headers = {"Accept": accept, "Content-Type": content_type}
        if authorization is not None:
            headers["Authorization"] = authorization
        return self._ask("POST", url, headers, body, seconds)

    def get(self, url: str, *, accept: str, seconds: float) -> Answer:
        """Return what is at `url` within `seconds`; raises as `post` does."""
        return self._ask("GET", url, {"Accept": accept}, None, seconds)

    def _ask(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, seconds: float) -> Answer:
        ends = time.monotonic() + seconds
        with closing(Exchanges(allow=self._allow, lines=1, resolve=self._resolve, trust=self._trust)) as loop:
            loop.connect(url, url, seconds=min(_CONNECT_SECONDS, seconds))
            while True:
                for event in loop.poll(seconds):
                    if isinstance(event, Ready):
                        left = ends - time.monotonic()
                        loop.send(url, body=body, headers=headers, seconds=left, method=method)
                    elif isinstance(event, Failed):
                        raise event.error
                    elif isinstance(event, Answered):
                        return event.answer


@cache
def shared(allow: frozenset[str]) -> Client:
    """Return the process's client."""
    return Client(allow=allow)

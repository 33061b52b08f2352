"""HTTP as it goes over the wire: nothing tidied, nothing followed, a header as often as it was given."""

from __future__ import annotations

import json
import random
import re
import secrets
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from http.client import HTTPMessage

FORM = "application/x-www-form-urlencoded"
_PATIENCE = 30


@dataclass(frozen=True)
class Answer:
    """What came back; the names are those of Werkzeug's answers, so that one relying party serves both."""

    status_code: int
    headers: HTTPMessage
    content: bytes = field(repr=False)

    @property
    def text(self) -> str:
        return self.content.decode()

    @property
    def json(self) -> Any:  # noqa: ANN401 - whatever JSON holds
        return json.loads(self.content)


class Wire:
    """A way to the server; with `cookies` it is somebody's browser, and keeps those that are set.

    Each request comes from another address of this machine, unless `address` says from which.
    """

    def __init__(self, port: int, cookies: dict[str, str] | None = None, address: str | None = None) -> None:
        self.port = port
        self.address = address
        self.cookies = cookies

    def get(self, path: str, *, headers: Mapping[str, str] | None = None) -> Answer:
        return self.send("GET", path, headers=list((headers or {}).items()))

    def post(
        self,
        path: str,
        *,
        data: Any = b"",  # noqa: ANN401 - a form in any shape, or the body itself
        content_type: str | None = FORM,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        body = data if isinstance(data, bytes) else _encoded(data)
        typed = [("Content-Type", content_type)] if content_type else []
        return self.send("POST", path, body=body, headers=[*typed, *(headers or {}).items()])

    def send(
        self, method: str, path: str, *, body: bytes | None = None, headers: Iterable[tuple[str, str]] = ()
    ) -> Answer:
        """Send one request on a connection of its own, each header as it is given."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=_PATIENCE, source_address=(self._from(), 0))
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in [("Host", f"localhost:{self.port}"), *self._cookie_header(), *headers]:
                connection.putheader(name, value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            response = connection.getresponse()
            answer = Answer(response.status, response.headers, response.read())
        finally:
            connection.close()
        self._keep_cookies(answer)
        return answer

    def say(self, request: bytes) -> tuple[int, bytes]:
        """Send bytes as they are; return status and answer, 0 when the line was closed without one."""
        answer = b""
        with socket.create_connection(("127.0.0.1", self.port), timeout=_PATIENCE) as line:
            with suppress(OSError):
                line.sendall(request)
            with suppress(ConnectionResetError):
                while part := line.recv(65536):
                    answer += part
        status = re.match(rb"HTTP/1.1 (\d{3})", answer)
        return int(status[1]) if status else 0, answer

    def _from(self) -> str:
        # Whoever fails again and again from one address must wait, and most of these requests fail on purpose.
        return self.address or "127." + ".".join(str(1 + secrets.randbelow(250)) for _ in range(3))

    def _cookie_header(self) -> list[tuple[str, str]]:
        if not self.cookies:
            return []
        return [("Cookie", "; ".join(f"{name}={value}" for name, value in self.cookies.items()))]

    def _keep_cookies(self, answer: Answer) -> None:
        if self.cookies is None:
            return
        for line in answer.headers.get_all("Set-Cookie", []):
            name, _, value = line.partition(";")[0].partition("=")
            self.cookies[name] = value


def _listener() -> socket.socket:
    for port in random.sample(_QUIET_PORTS, 50):
        with suppress(OSError):
            return socket.create_server(("127.0.0.1", port))
    message = "no port is free"
    raise RuntimeError(message)


def _encoded(data: Any) -> bytes:  # noqa: ANN401 - a form in any shape
    return (data if isinstance(data, str) else urlencode(data, doseq=True)).encode()


# Below those that the system gives to whoever asks for any: nobody looks here for a server that is gone.
_QUIET_PORTS = range(20_000, 30_000)


class Trap:
    """A port on this machine that counts who comes by."""

    def __init__(self) -> None:
        self._listener = _listener()
        self._listener.setblocking(False)  # noqa: FBT003 - the standard library asks for it so
        self.port = int(self._listener.getsockname()[1])

    def calls(self) -> int:
        found = 0
        with suppress(BlockingIOError):
            while True:
                self._listener.accept()[0].close()
                found += 1
        return found

    def close(self) -> None:
        self._listener.close()

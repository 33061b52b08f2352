"""A company's server with its key set on a real loopback port; it may answer otherwise, or never."""

from __future__ import annotations

import json
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class KeyServer:
    """Answers every connection by `behave`; `asked` counts them."""

    def __init__(self, jwks: dict[str, Any] | None = None) -> None:
        self.asked = 0
        self.behave: Callable[[socket.socket], None] = lambda line: line.sendall(reply(json.dumps(self.jwks).encode()))
        self.jwks = jwks or {}
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def pair(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.pair}/jwks"

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                line, _ = self._listener.accept()
            except OSError:
                return
            self.asked += 1
            threading.Thread(target=self._talk, args=(line,), daemon=True).start()

    def _talk(self, line: socket.socket) -> None:
        try:
            with line:
                if line.recv(65536):
                    self.behave(line)
        except OSError:
            return


def reply(body: bytes, status: str = "200 OK", kind: str = "application/jwk-set+json", more: str = "") -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n{more}\r\n"
    )
    return head.encode() + body


def drip(line: socket.socket) -> None:
    """Send a byte at a time for ever: no timeout of a socket ends this."""
    line.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
    while True:
        line.sendall(b" ")
        time.sleep(0.05)

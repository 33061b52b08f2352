"""Requests that arrive together: written out beforehand, sent down open lines in one go, then read."""

from __future__ import annotations

import json
import re
import secrets
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from tests.fapi.wire import FORM

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

_PATIENCE = 60
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)


class Lines:
    """Some kept connections to the server, from addresses of their own."""

    def __init__(self, port: int, number: int) -> None:
        self.port = port
        self._sockets = [_open(port) for _ in range(number)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        for line in self._sockets:
            line.close()

    def together(self, requests: Sequence[bytes]) -> list[tuple[int, Any]]:
        """Send one request down each line, all before the first answer is read; return status and JSON of each."""
        used = self._sockets[: len(requests)]
        assert len(used) == len(requests)
        for line, request in zip(used, requests, strict=True):
            line.sendall(request)
        return [_read(line) for line in used]


def _open(port: int) -> socket.socket:
    address = "127." + ".".join(str(1 + secrets.randbelow(250)) for _ in range(3))
    line = socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE, source_address=(address, 0))
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return line


def written(port: int, method: str, path: str, form: dict[str, str] | None = None, **headers: str) -> bytes:
    """Return a request as bytes."""
    body = b"" if form is None else urlencode(form).encode()
    typed = {} if form is None else {"Content-Type": FORM, "Content-Length": str(len(body))}
    lines = [f"{name}: {value}" for name, value in ({"Host": f"localhost:{port}"} | typed | headers).items()]
    return "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""]).encode() + body


def _read(line: socket.socket) -> tuple[int, Any]:
    received = b""
    while b"\r\n\r\n" not in received:
        received += _more(line)
    head, _, body = received.partition(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 204"):
        return 204, body
    length = _LENGTH.search(head + b"\r\n")
    assert length, head
    while len(body) < int(length[1]):
        body += _more(line)
    is_json = b"json" in head.lower()
    return int(head.split(b" ", 2)[1]), json.loads(body) if is_json else body


def _more(line: socket.socket) -> bytes:
    part = line.recv(65536)
    assert part, "the server closed a line"
    return part

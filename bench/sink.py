"""Receivers without a cost of their own: one loop, many loopback addresses, 202 to everything, a line for each arrival.

`python -m bench.sink <file>` reads from a JSON file `{"places": [["127.0.0.1", 0], …], "tls": {"127.0.0": ["…pem",
"…key"]}, "deaf": [0]}`, listens at each place and prints the ports as JSON.  Whenever a whole request has arrived it
prints `<host>:<port> <CLOCK_MONOTONIC seconds> <bytes> <subjects, parted by commas>`.  The places numbered in `deaf`
read and never answer.
"""

from __future__ import annotations

import base64
import json
import re
import selectors
import socket
import ssl
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.certificates import network

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_JSON = re.compile(rb"content-type: *application/(?:secevents\+)?json", re.IGNORECASE)
_ACCEPTED = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
_READ_BYTES = 1 << 16
_JWS_PARTS = 3


@dataclass
class Line:
    """One connection: where it leads, what has been read, and what could not be written yet."""

    socket: socket.socket
    name: str
    deaf: bool
    shaken: bool
    received: bytes = b""
    unsent: bytes = b""

    def turn(self) -> bool:
        """Read and answer as far as it goes; False when it is over."""
        try:
            if not self.shaken:
                self.socket.do_handshake()  # type: ignore[attr-defined]  # only a line of TLS is not shaken
                self.shaken = True
            return self._flush() and self._read()
        except (ssl.SSLWantReadError, BlockingIOError, ssl.SSLWantWriteError):
            return True
        except OSError:
            return False

    def _read(self) -> bool:
        # TLS may hold more than it says: it is read until there is nothing left.
        while True:
            more = self.socket.recv(_READ_BYTES)
            if not more:
                return False
            self.received += more
            self._take()

    def _take(self) -> None:
        head, found, body = self.received.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not found or not length or len(body) < int(length[1]):
            return
        self.received = b""
        at = time.monotonic()
        answer, tokens = _answer(head, body)
        sys.stdout.write(f"{self.name} {at} {len(body)} {','.join(map(_subject, tokens))}\n")
        sys.stdout.flush()
        if not self.deaf:
            self.unsent += answer
            self._flush()

    def _flush(self) -> bool:
        while self.unsent:
            self.unsent = self.unsent[self.socket.send(self.unsent) :]
        return True


def _answer(head: bytes, body: bytes) -> tuple[bytes, list[bytes]]:
    """Return what to say and the messages that came: one, or as many as the set of them holds."""
    if not _JSON.search(head):
        return _ACCEPTED, [body]
    sets = json.loads(body)["sets"]
    taken = json.dumps({"ack": list(sets)}).encode()
    said = b"HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(taken)
    return said + taken, [token.encode() for token in sets.values()]


def _subject(token: bytes) -> str:
    """Return whom a message is about, unread otherwise; `-` when it is none."""
    parts = token.split(b".")
    if len(parts) != _JWS_PARTS:
        return "-"
    claims = json.loads(base64.urlsafe_b64decode(parts[1] + b"=="))
    return str(claims["sub_id"].get("sub", "-"))


def main(asked: Mapping[str, Any]) -> None:
    loop = selectors.DefaultSelector()
    contexts = {network: _context(files) for network, files in asked.get("tls", {}).items()}
    listeners = [socket.create_server(tuple(place), backlog=256) for place in asked["places"]]
    deaf = set(asked.get("deaf", ()))
    for number, listener in enumerate(listeners):
        listener.settimeout(0)
        loop.register(listener, selectors.EVENT_READ, number)
    print(json.dumps([listener.getsockname()[1] for listener in listeners]), flush=True)
    while True:
        for key, _ in loop.select():
            if isinstance(key.data, int):
                _let_in(loop, listeners[key.data], contexts, deaf=key.data in deaf)
            elif not key.data.turn():
                loop.unregister(key.fileobj)
                key.data.socket.close()


def _let_in(
    loop: selectors.BaseSelector, listener: socket.socket, contexts: Mapping[str, ssl.SSLContext], *, deaf: bool
) -> None:
    try:
        made, _ = listener.accept()
    except BlockingIOError:
        return
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    made.settimeout(0)
    host, port = listener.getsockname()
    tls = contexts.get(network(host))
    if tls is not None:
        made = tls.wrap_socket(made, server_side=True, do_handshake_on_connect=False)
    loop.register(made, selectors.EVENT_READ, Line(made, f"{host}:{port}", deaf, shaken=tls is None))


def _context(files: Sequence[str]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(*files)
    return context


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))

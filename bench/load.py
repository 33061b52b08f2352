"""One epoll loop that keeps a few connections busy with prepared requests, and times each answer."""

from __future__ import annotations

import re
import selectors
import socket
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class Round(NamedTuple):
    """What one round came to: answers a second, latencies in milliseconds, answers that were not 200."""

    rate: float
    milliseconds: list[float]
    wrong: int


class Line:
    """One kept-alive connection: a request at a time, and its answer."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received, self.sent_at = b"", 0.0

    def send(self, request: bytes) -> None:
        self.received, self.sent_at = b"", time.perf_counter()
        self.socket.sendall(request)

    def finished(self) -> bool:
        self.received += self.socket.recv(65536)
        head, found, body = self.received.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        return bool(found and length and len(body) >= int(length[1]))


def run(port: int, requests: Iterator[bytes], *, connections: int, seconds: float) -> Round:
    """Send `requests` over `connections` for `seconds`, or until there are none left."""
    loop = selectors.DefaultSelector()
    times: list[float] = []
    wrong, busy, started = 0, 0, time.perf_counter()
    for _ in range(connections):
        line = Line(port)
        loop.register(line.socket, selectors.EVENT_READ, line)
        line.send(next(requests))
        busy += 1
    while busy:
        for key, _ in loop.select():
            line = key.data
            if not line.finished():
                continue
            times.append((time.perf_counter() - line.sent_at) * 1000)
            wrong += not line.received.startswith(b"HTTP/1.1 200")
            following = next(requests, None) if time.perf_counter() - started < seconds else None
            if following is None:
                loop.unregister(line.socket)
                line.socket.close()
                busy -= 1
            else:
                line.send(following)
    return Round(len(times) / (time.perf_counter() - started), times, wrong)


def percentile(values: list[float], percent: float) -> float:
    """Return the nearest-rank percentile."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, round(percent / 100 * len(ordered)) - 1))]

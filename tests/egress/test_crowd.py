"""Thousands of uses at random against servers in every mood: each is told once, and each answer is its own."""

from __future__ import annotations

import random
import time
from collections import Counter, defaultdict
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from portal.egress.exchanges import Answered, Exchanges, Failed, Ready, Written
from tests.egress.servers import ACCEPTED, Server, hang_up, reset, say
from tests.timing import until

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Hashable

    from tests.egress.callers import Loop

MOODS = [
    "counted", "counted", "counted", "chunks", "until the end", "interim", "in pieces", "late", "surplus", "and leaves",
    "leaves", "resets", "half", "garbage", "hangs",
]  # fmt: skip


class Moody:
    """Echoes the body of each request, or does something else."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)  # noqa: S311 - a seed makes it happen again
        self._parts: defaultdict[int, bytes] = defaultdict(bytes)

    def __call__(self, line: socket.socket, piece: bytes) -> None:
        self._parts[id(line)] += piece
        head, found, body = self._parts[id(line)].partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
        if not found or len(body) < length:
            return
        del self._parts[id(line)]
        self._answer(line, self._dice.choice(MOODS), body)

    def _answer(self, line: socket.socket, mood: str, body: bytes) -> None:
        counted = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        if mood == "leaves":
            hang_up(line)
        elif mood == "resets":
            reset(line)
        elif mood == "hangs":
            # Longer than its request is given.
            time.sleep(0.9)
        elif mood == "in pieces":
            for position in range(0, len(counted), 7):
                line.sendall(counted[position : position + 7])
                # Each piece leaves by itself.
                time.sleep(0.0005)
        else:
            if mood == "late":
                # Others are answered before it.
                time.sleep(0.05)
            line.sendall(self._said(mood, counted, body))
            if mood in {"until the end", "and leaves", "half"}:
                hang_up(line)

    def _said(self, mood: str, counted: bytes, body: bytes) -> bytes:
        return {
            "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body),
            "until the end": b"HTTP/1.1 200 OK\r\n\r\n" + body,
            "interim": b"HTTP/1.1 102 Processing\r\n\r\n" + counted,
            "surplus": counted + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged",
            "half": counted[:-1],
            "garbage": b"220 mail.example.com ESMTP\r\n",
        }.get(mood, counted)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_each_use_is_told_once_and_each_answer_is_its_own(
    looping: Callable[..., Loop], serve: Callable[..., Server], seed: int
) -> None:
    dice = random.Random(seed)  # noqa: S311 - a seed makes it happen again
    servers = [serve(Moody(seed * 10 + number)) for number in range(6)]
    exchanges = looping(allow=frozenset().union(*(each.allow for each in servers)), lines=16).exchanges
    told: defaultdict[Hashable, list[type]] = defaultdict(list)
    bodies: dict[Hashable, bytes] = {}
    statuses: Counter[str] = Counter()
    numbers = count()
    while len(told) < 600 or len(exchanges):
        while len(told) < 600 and len(exchanges) < 30:
            key = next(numbers)
            told[key] = []
            exchanges.connect(key, dice.choice(servers).url, seconds=1)
        for event in exchanges.poll(1):
            told[event.key].append(type(event))
            if isinstance(event, Ready) and dice.random() < 0.1:
                exchanges.drop(event.key)
            elif isinstance(event, Ready):
                bodies[event.key] = str(event.key).encode() * dice.choice([1, 1, 50, 9000])
                exchanges.send(event.key, body=bodies[event.key], headers={}, seconds=0.6)
            elif isinstance(event, Answered):
                assert event.answer.status == 200
                assert event.answer.body == bodies[event.key]
                statuses["answered"] += 1
            elif isinstance(event, Failed):
                statuses[type(event.error).__name__] += 1
    right = {(Ready,), (Ready, Failed), (Ready, Written, Failed), (Ready, Written, Answered)}
    assert set(map(tuple, told.values())) <= right
    assert statuses["answered"] > 250
    assert {"GarbageError", "StaleError", "TooSlowError"} <= statuses.keys()


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_nothing_is_left_open(serve: Callable[..., Server], looping: Callable[..., Loop]) -> None:
    server = serve(say(ACCEPTED))
    # Threads that ask for names, and what the standard library opens once, are not what is counted.
    looping(allow=server.allow).ask(server.url)
    hang = serve(say(b""))
    before = _open_files()
    exchanges = Exchanges(allow=server.allow | hang.allow)
    for key, url in enumerate([server.url, server.url, hang.url, "https://receiver.example.com/"]):
        exchanges.connect(key, url, seconds=1)
    ready = 0
    while ready < 3:
        for event in exchanges.poll(1):
            if isinstance(event, Ready):
                ready += 1
                exchanges.send(event.key, body=b"x", headers={}, seconds=1)
    exchanges.poll(0.05)
    exchanges.close()
    server.close()
    hang.close()
    # The servers' threads close their ends by and by.
    until(lambda: _open_files() <= before)


def test_answer_that_has_come_counts_however_late_this_process_looks(
    looping: Callable[..., Loop], serve: Callable[..., Server]
) -> None:
    server = serve(say(ACCEPTED))
    loop = looping(allow=server.allow)
    loop.ready(server.url)
    loop.exchanges.send(server.url, body=b"x", headers={}, seconds=0.1)
    until(lambda: server.requests)
    # Beyond what it was given.
    time.sleep(0.3)
    assert [type(event) for event in loop.exchanges.poll(0)] == [Written, Answered]

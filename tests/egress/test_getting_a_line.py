"""Getting a line takes no longer because others take their time over theirs: at most so many are begun at once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from portal.egress import begun, exchanges
from portal.egress.exchanges import Failed, Ready
from tests.egress.servers import say

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.egress.callers import Loop
    from tests.egress.servers import Server

ACCEPTED = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture
def loop(looping: Callable[..., Loop], mute: Server, server: Server, monkeypatch: pytest.MonkeyPatch) -> Loop:
    """A loop that begins four lines at once, and finds who takes 0.2 s late."""
    monkeypatch.setattr(begun, "_AT_ONCE", 4)
    monkeypatch.setattr(exchanges, "_LINE_SECONDS", 0.2)
    monkeypatch.setattr(exchanges, "_ANSWER_SECONDS", 0.1)
    made: Loop = looping(allow=mute.allow | server.allow)
    return made


@pytest.fixture
def mute(serve: Callable[..., Server]) -> Server:
    return serve(say(b""))


@pytest.fixture
def server(serve: Callable[..., Server]) -> Server:
    return serve(say(ACCEPTED))


def hang(loop: Loop, mute: Server, lines: int) -> None:
    """Begin lines to a stranger that never finishes a TLS handshake."""
    for number in range(lines):
        loop.exchanges.connect(number, mute.url.replace("http:", "https:"), seconds=1.5)
    loop.rest(0.05)


def waited(loop: Loop, server: Server) -> float:
    """Return how long another waits for a line."""
    began = time.monotonic()
    loop.exchanges.connect("other", server.url, seconds=1)
    while Ready("other") not in loop.seen:
        loop.rest(0.02)
    return time.monotonic() - began


def test_who_never_finishes_a_handshake_keeps_nobody_from_a_line(loop: Loop, mute: Server, server: Server) -> None:
    hang(loop, mute, 4)
    assert 0.1 < waited(loop, server) < 1
    assert not [event for event in loop.seen if isinstance(event, Failed)]


def test_there_is_an_end_to_how_many_are_begun(loop: Loop, mute: Server, server: Server) -> None:
    """Where all are late it may be this process that is: more at once would make it worse."""
    hang(loop, mute, 8)
    assert waited(loop, server) > 1
    assert [event for event in loop.seen if isinstance(event, Failed)]


def test_nobody_is_late_while_it_is_this_sides_turn(loop: Loop, mute: Server, server: Server) -> None:
    hang(loop, mute, 1)
    assert not loop.exchanges.is_late(0)
    loop.rest(0.3)
    assert loop.exchanges.is_late(0)
    waited(loop, server)
    loop.rest(0.3)
    assert not loop.exchanges.is_late("other")
    loop.exchanges.send("other", body=b"x", headers={}, seconds=1)
    assert not loop.exchanges.is_late("other")
    loop.rest(0.3)
    assert not loop.exchanges.is_late("other"), "it has answered"


def test_who_takes_long_to_answer_is_late(loop: Loop, mute: Server) -> None:
    loop.ready(mute.url)
    loop.exchanges.send(mute.url, body=b"x", headers={}, seconds=1)
    assert not loop.exchanges.is_late(mute.url)
    loop.rest(0.2)
    assert loop.exchanges.is_late(mute.url)

"""Getting a line takes no longer because others take their time over theirs: at most so many are begun at once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from portal.egress import exchanges
from portal.egress.exchanges import Failed, Ready
from tests.egress.servers import say

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.egress.callers import Loop
    from tests.egress.servers import Server

ACCEPTED = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture
def fenced(
    looping: Callable[..., Loop], serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> tuple[Loop, Server]:
    """A loop of which strangers that never finish a TLS handshake hold every line that may be begun."""
    monkeypatch.setattr(exchanges, "_CONNECTING", 4)
    monkeypatch.setattr(exchanges, "_CONNECTING_SECONDS", 0.2)
    mute, server = serve(say(b"")), serve(say(ACCEPTED))
    loop: Loop = looping(allow=mute.allow | server.allow)
    for number in range(4):
        loop.exchanges.connect(number, mute.url.replace("http:", "https:"), seconds=3)
    loop.rest(0.05)
    return loop, server


def test_who_never_finishes_a_handshake_keeps_nobody_from_a_line(fenced: tuple[Loop, Server]) -> None:
    loop, server = fenced
    began = time.monotonic()
    loop.exchanges.connect("other", server.url, seconds=1)
    loop.rest(0.1)
    assert Ready("other") not in loop.seen
    while Ready("other") not in loop.seen:
        loop.rest(0.02)
    assert time.monotonic() - began < 1
    assert not [event for event in loop.seen if isinstance(event, Failed)]


def test_time_counts_while_the_other_side_has_something_to_do(fenced: tuple[Loop, Server]) -> None:
    loop, server = fenced
    began = loop.exchanges.since(0)
    assert began is not None
    assert began <= time.monotonic()
    loop.exchanges.connect("other", server.url, seconds=1)
    assert loop.exchanges.since("other") is None
    while Ready("other") not in loop.seen:
        loop.rest(0.02)
    assert loop.exchanges.since("other") is None
    loop.exchanges.send("other", body=b"x", headers={}, seconds=1)
    assert (loop.exchanges.since("other") or 0) > began
    loop.rest(0.1)
    assert loop.exchanges.since("other") is None

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

import pytest

from tests.egress.callers import LOOP, ONE, Loop
from tests.egress.servers import Authority, Server

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.egress.callers import Asker, Ground
    from tests.egress.servers import Line


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Start servers that end with the test."""
    made: list[Server] = []

    def start(
        behave: Line, wrap: ssl.SSLContext | None = None, greet: Callable[[socket.socket], None] | None = None
    ) -> Server:
        made.append(Server(behave, wrap, greet))
        return made[-1]

    yield start
    for server in made:
        server.close()


@pytest.fixture(params=[ONE, LOOP], ids=["one", "loop"])
def ask(request: pytest.FixtureRequest) -> Asker:
    """Both ways to send a request: waiting for it, and among others."""
    asker: Asker = request.param
    return asker


@pytest.fixture
def looping() -> Iterator[Callable[..., Loop]]:
    """Make loops that end with the test."""
    made: list[Loop] = []

    def make(*, lines: int = 64, **ground: Unpack[Ground]) -> Loop:
        made.append(Loop(lines=lines, **ground))
        return made[-1]

    yield make
    for loop in made:
        loop.exchanges.close()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority("Root", tmp_path)

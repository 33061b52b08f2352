"""Both senders behind one signature, so that one table can be held against each."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING, Protocol, TypedDict, Unpack

from portal.egress.client import Client
from portal.egress.exchanges import Answered, Exchanges, Failed, Ready

if TYPE_CHECKING:
    import ssl

    from portal.egress.answers import Answer
    from portal.egress.exchanges import Event
    from portal.egress.guard import Resolver

_HEADERS = {"Accept": "c/d", "Content-Type": "a/b"}


class Beside(TypedDict, total=False):
    """How names are looked up and who is trusted; left out, it is as in a real sender."""

    resolve: Resolver
    trust: ssl.SSLContext | None


class Ground(Beside, total=False):
    """What a sender goes by: also which addresses are exempt."""

    allow: frozenset[str]


class Asker(Protocol):
    def __call__(self, url: str, *, seconds: float = 1.0, body: bytes = b"x", **ground: Unpack[Ground]) -> Answer:
        """Post `body` to `url` and return the answer; raise what the sender raises or tells."""


class Loop:
    """A loop whose next answer is waited for."""

    def __init__(self, *, lines: int = 64, allow: frozenset[str] = frozenset(), **ground: Unpack[Beside]) -> None:
        self.exchanges = Exchanges(allow=allow, lines=lines, **ground)
        self.seen: list[Event] = []

    def ready(self, url: str, *, seconds: float = 1.0) -> None:
        self.exchanges.connect(url, url, seconds=seconds)
        self._until(Ready)

    def send(self, url: str, *, seconds: float = 1.0, body: bytes = b"x") -> Answer:
        self.exchanges.send(url, body=body, headers=_HEADERS, seconds=seconds)
        answered = self._until(Answered)
        assert isinstance(answered, Answered)
        return answered.answer

    def ask(self, url: str, *, seconds: float = 1.0, body: bytes = b"x") -> Answer:
        self.ready(url, seconds=seconds)
        return self.send(url, seconds=seconds, body=body)

    def rest(self, seconds: float = 0.05) -> None:
        """Let the loop see what happens meanwhile."""
        ends = time.monotonic() + seconds
        while (left := ends - time.monotonic()) > 0:
            self.seen += self.exchanges.poll(left)

    def _until(self, kind: type) -> object:
        while True:
            events = self.exchanges.poll(1)
            self.seen += events
            for event in events:
                if isinstance(event, Failed):
                    raise event.error
                if isinstance(event, kind):
                    return event


def _one(url: str, *, seconds: float = 1.0, body: bytes = b"x", **ground: Unpack[Ground]) -> Answer:
    return Client(**ground).post(url, body, content_type="a/b", accept="c/d", seconds=seconds)


def _loop(url: str, *, seconds: float = 1.0, body: bytes = b"x", **ground: Unpack[Ground]) -> Answer:
    loop = Loop(**ground)
    with closing(loop.exchanges):
        return loop.ask(url, seconds=seconds, body=body)


ONE: Asker = _one
LOOP: Asker = _loop

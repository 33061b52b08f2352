"""What names lead to, asked in a few threads so that no name server holds up what has an answer already."""

from __future__ import annotations

import socket
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from portal.egress.guard import Resolver

_THREADS = 64
_THREADS_FOR_SLOW = 8
_SLOW_SECONDS = 1.0
_REMEMBERED_SECONDS = 5.0
# A name that leads nowhere is forgotten sooner: its owner may be mending it.
_REMEMBERED_PROBLEM_SECONDS = 1.0
_REMEMBERED = 16_384
Place = tuple[str, int]


class Names:
    """The addresses of names as of a few seconds ago; `wake` is called, from a thread, when one has been found."""

    def __init__(self, resolve: Resolver, wake: Callable[[], None]) -> None:
        self._resolve, self._wake = resolve, wake
        self._known: dict[Place, tuple[float, Future[Sequence[str]]]] = {}
        self._asked: set[Place] = set()
        self._slow: set[str] = set()
        self._found: deque[tuple[Place, Future[Sequence[str]], float]] = deque()

    def known(self, place: Place) -> bool:
        """Say whether `addresses` would answer now; if not, begin to ask."""
        until, _ = self._known.get(place, (0.0, None))
        if until > time.monotonic():
            return True
        if place not in self._asked:
            self._asked.add(place)
            # A name whose server has hung before may not take a thread from those that never did.
            asked_by = threads_for_slow() if place[0] in self._slow else threads()
            asked_by.submit(self._ask, place)
        return False

    def addresses(self, host: str, port: int) -> Sequence[str]:
        """Return what was found; raise `OSError` when the name leads nowhere: a `guard.Resolver`."""
        return self._known[host, port][1].result()

    def found(self) -> list[Place]:
        """Return the names that have been asked for and are known now."""
        places = []
        while self._found:
            place, answer, seconds = self._found.popleft()
            self._asked.discard(place)
            self._known.pop(place, None)
            lasts = _REMEMBERED_PROBLEM_SECONDS if answer.exception() else _REMEMBERED_SECONDS
            self._known[place] = time.monotonic() + lasts, answer
            (self._slow.add if seconds > _SLOW_SECONDS else self._slow.discard)(place[0])
            places.append(place)
        if len(self._known) > _REMEMBERED:
            self._known = dict(list(self._known.items())[-_REMEMBERED // 2 :])
            self._slow &= {host for host, _ in self._known}
        return places

    def _ask(self, place: Place) -> None:
        began = time.monotonic()
        answer: Future[Sequence[str]] = Future()
        try:
            answer.set_result(self._resolve(*place))
        except Exception as error:  # noqa: BLE001 - it is raised where the answer is used
            answer.set_exception(error)
        self._found.append((place, answer, time.monotonic() - began))
        self._wake()


def look_up(host: str, port: int) -> Sequence[str]:
    """Return every address of `host`, as the system finds it; may take as long as its name servers like."""
    return [str(answer[4][0]) for answer in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


@cache
def threads() -> ThreadPoolExecutor:
    """Return where names are asked for; nobody there keeps a deadline."""
    return ThreadPoolExecutor(_THREADS, thread_name_prefix="resolver")


@cache
def threads_for_slow() -> ThreadPoolExecutor:
    """Return where names are asked for that kept a thread waiting the last time."""
    return ThreadPoolExecutor(_THREADS_FOR_SLOW, thread_name_prefix="slow-resolver")

"""Many requests under way in one thread: to checked addresses, over kept lines, each step ended in time.

A use of a line has two steps, so that its holder can decide between them: `connect` leads to `Ready`, then `send`
leads to `Answered`; either may lead to `Failed` instead.  Every use passes the guard anew, also on a kept line.
"""

from __future__ import annotations

import heapq
import resource
import selectors
import socket
import ssl
import time
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import count
from typing import TYPE_CHECKING

from portal.egress import guard, names
from portal.egress.answers import Answer, NoAnswerError, TooSlowError, UnreachableError
from portal.egress.begun import Begun
from portal.egress.kept import Kept
from portal.egress.lines import Line, State, compose

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from portal.egress.guard import Resolver, Target

LINES = 4096
# Whoever takes longer, to give a line or to answer, is late; a line may be waited for because of this process's load.
_LINE_SECONDS, _ANSWER_SECONDS = 2.0, 1.0
_OTHER_FILES = 256


@dataclass(frozen=True, slots=True)
class Ready:
    """A line stands and waits for `send` or `drop`."""

    key: Hashable


@dataclass(frozen=True, slots=True)
class Written:
    """The whole request has left."""

    key: Hashable


@dataclass(frozen=True, slots=True)
class Answered:
    key: Hashable
    answer: Answer


@dataclass(frozen=True, slots=True)
class Failed:
    key: Hashable
    error: NoAnswerError | guard.UnsafeAddressError


Event = Ready | Written | Answered | Failed


@dataclass(slots=True, eq=False)
class _Use:
    """One use of a line, from `connect` until its answer.

    `stamp` tells its present deadline from earlier ones; `addresses` are those that have not been tried.  `late_at`
    is when its present step has taken long, None while it waits for its turn or its holder.
    """

    key: Hashable
    url: str
    seconds: float
    line: Line | None = None
    addresses: tuple[str, ...] = ()
    stamp: int = 0
    late_at: float | None = None
    written: bool = False


class Exchanges:
    """Sends requests for one thread, which calls `poll` again and again.

    `allow` holds `host:port` pairs exempt from the guard's rules; at most `lines` connections are open at a time,
    and what is beyond waits, without its time running.
    """

    def __init__(
        self,
        *,
        allow: frozenset[str],
        lines: int = LINES,
        resolve: Resolver = names.look_up,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        self._allow = allow
        self._most = _room_for(lines)
        self._trust = trust or default_trust()
        self._selector = selectors.DefaultSelector()
        self._bell, self._ear = socket.socketpair()
        self._bell.settimeout(0)
        self._ear.settimeout(0)
        self._selector.register(self._ear, selectors.EVENT_READ)
        self._names = names.Names(resolve, self._ring)
        self._uses: dict[Hashable, _Use] = {}
        self._waiting: OrderedDict[Hashable, _Use] = OrderedDict()
        self._begun = Begun()
        self._asking: dict[names.Place, list[_Use]] = {}
        self._holders: dict[Line, _Use] = {}
        self._kept = Kept(self._close)
        self._clock: list[tuple[float, int, _Use]] = []
        self._stamps = count(1)
        self._told: list[Event] = []

    def __len__(self) -> int:
        """Return how many uses have neither been answered nor failed."""
        return len(self._uses)

    def __contains__(self, key: Hashable) -> bool:
        """Say whether anything more will be told of a use."""
        return key in self._uses or any(event.key == key for event in self._told)

    def is_late(self, key: Hashable) -> bool:
        """Say whether the other side has taken long for what it has to do, if it has anything to do."""
        use = self._uses.get(key)
        return use is not None and use.late_at is not None and use.late_at < time.monotonic()

    def connect(self, key: Hashable, url: str, *, seconds: float) -> None:
        """Check where `url` leads and get a line there within `seconds`; `Ready` or `Failed` follows."""
        if key in self._uses:
            raise ValueError(key)
        use = self._uses[key] = _Use(key, url, seconds)
        try:
            if not (self._names.known(self._place(url)) and self._reuse(use, self._check(url))):
                self._waiting[key] = use
        except guard.UnsafeAddressError as error:
            self._fail(use, error)
        self._start_waiting()

    def send(
        self, key: Hashable, *, body: bytes | None, headers: Mapping[str, str], seconds: float, method: str = "POST"
    ) -> None:
        """Send a request on the line of `key`, which is `Ready`; `Answered` or `Failed` follows within `seconds`.

        `Written` comes before `Answered`, unless the answer came before the whole request had left.  Raises
        `ValueError` for a header that could be taken for something else.
        """
        use = self._uses[key]
        line = _line(use)
        request = compose(method, line.target, headers, body)
        self._give(use, seconds, _ANSWER_SECONDS)
        try:
            line.ask(request)
        except NoAnswerError as error:
            self._fail(use, error)
            return
        self._follow(use, selectors.EVENT_READ)

    def drop(self, key: Hashable) -> None:
        """Give a `Ready` line back unused; break off a use in any other state; nothing more is told of it."""
        use = self._uses.get(key)
        self._told = [event for event in self._told if event.key != key]
        if use is not None:
            self._forget(use, keep=use.line is not None and use.line.state is State.READY and use.line.quiet())

    def poll(self, timeout: float) -> list[Event]:
        """Return what has happened, after at most `timeout` seconds; it may be nothing."""
        wait = 0.0 if self._told else self._wait(timeout)
        for key, _ in self._selector.select(wait):
            if key.data is None:
                self._hear()
            else:
                self._happened(key.data)
        # What has come by now is not too late, however late this process is.
        self._expire()
        self._kept.expire()
        self._start_waiting()
        told, self._told = self._told, []
        return told

    def close(self) -> None:
        """Close every line; whatever is under way is broken off."""
        for use in list(self._uses.values()):
            self._forget(use, keep=False)
        while self._kept:
            self._kept.drop_oldest()
        self._selector.close()
        self._ear.close()
        self._bell.close()

    # Getting a line.

    def _place(self, url: str) -> names.Place:
        parts, port = guard.check_form(url, allow=self._allow)
        return parts.hostname or "", port

    def _check(self, url: str) -> Target:
        return guard.check(url, allow=self._allow, resolve=self._names.addresses)

    def _start_waiting(self) -> None:
        busy = len(self._uses) - len(self._waiting)
        while self._waiting and busy < self._most and self._begun.has_room():
            _, use = self._waiting.popitem(last=False)
            busy += 1
            self._begun.add(use, self._give(use, use.seconds, _LINE_SECONDS))
            place = self._place(use.url)
            if self._names.known(place):
                self._go(use)
            else:
                self._asking.setdefault(place, []).append(use)

    def _hear(self) -> None:
        with suppress(BlockingIOError):
            self._ear.recv(4096)
        for place in self._names.found():
            for use in self._asking.pop(place, []):
                if self._uses.get(use.key) is use:
                    self._go(use)

    def _ring(self) -> None:
        # The bell's buffer is full when it has rung often enough, and it is closed when nobody listens.
        with suppress(OSError):
            self._bell.send(b"!")

    def _go(self, use: _Use) -> None:
        try:
            target = self._check(use.url)
        except guard.UnsafeAddressError as error:
            self._fail(use, error)
            return
        if not self._reuse(use, target):
            use.addresses = target.addresses
            self._dial(use, target)

    def _reuse(self, use: _Use, target: Target) -> bool:
        line = self._kept.take(target)
        if line is None:
            return False
        use.line = line
        self._holders[line] = use
        self._get_ready(use)
        return True

    def _dial(self, use: _Use, target: Target) -> None:
        while len(self._holders) + len(self._kept) >= self._most and self._kept:
            self._kept.drop_oldest()
        address, *left = use.addresses
        use.addresses = tuple(left)
        try:
            line = Line(target, address, trust=self._trust)
        except NoAnswerError as error:
            self._give_up(use, error, target)
            return
        use.line = line
        self._holders[line] = use
        self._selector.register(line.fileno(), line.wants, line)

    def _give_up(self, use: _Use, error: NoAnswerError, target: Target) -> None:
        # An address nobody answers at says nothing of the name's other addresses.
        if isinstance(error, UnreachableError) and use.addresses:
            if use.line:
                self._close(use.line)
                use.line = None
            self._dial(use, target)
        else:
            self._fail(use, error)

    def _get_ready(self, use: _Use) -> None:
        self._begun.discard(use)
        use.stamp, use.late_at = 0, None
        self._told.append(Ready(use.key))

    # Using it.

    def _happened(self, line: Line) -> None:
        use = self._holders.get(line)
        if use is None and line not in self._kept:
            # What happened before it, at the same moment, has closed it.
            return
        if line.state is State.READY or use is None:
            self._overhear(line, use)
            return
        before = line.wants
        try:
            line.step()
        except NoAnswerError as error:
            self._give_up(use, error, line.target)
        else:
            self._follow(use, before)

    def _overhear(self, line: Line, use: _Use | None) -> None:
        if line.quiet():
            return
        if use is None:
            self._kept.drop(line)
        else:
            # Its holder is about to use it and will be told then; until then it must not ring again.
            self._selector.unregister(line.fileno())

    def _follow(self, use: _Use, before: int) -> None:
        line = _line(use)
        if line.wants != before:
            self._selector.modify(line.fileno(), line.wants, line)
        if line.state is State.READY:
            self._get_ready(use)
        elif line.written and not use.written:
            use.written = True
            self._told.append(Written(use.key))
        if line.state is State.ANSWERED:
            self._told.append(Answered(use.key, line.answer()))
            self._forget(use, keep=line.rest())

    def _fail(self, use: _Use, error: NoAnswerError | guard.UnsafeAddressError) -> None:
        self._told.append(Failed(use.key, error))
        self._forget(use, keep=False)

    def _forget(self, use: _Use, *, keep: bool) -> None:
        del self._uses[use.key]
        self._waiting.pop(use.key, None)
        self._begun.discard(use)
        use.stamp = 0
        line, use.line = use.line, None
        if line is not None and keep:
            del self._holders[line]
            self._kept.put(line)
        elif line is not None:
            self._close(line)

    def _close(self, line: Line) -> None:
        self._holders.pop(line, None)
        with suppress(KeyError):
            self._selector.unregister(line.fileno())
        line.close()

    # Ending in time.

    def _give(self, use: _Use, seconds: float, patience: float) -> float:
        """Give it time for a step, and return when it is late with it."""
        now = time.monotonic()
        late_at = use.late_at = now + patience
        use.stamp = next(self._stamps)
        heapq.heappush(self._clock, (now + seconds, use.stamp, use))
        if len(self._clock) > 2 * len(self._uses) + 1024:
            self._clock = [entry for entry in self._clock if entry[2].stamp == entry[1]]
            heapq.heapify(self._clock)
        return late_at

    def _wait(self, timeout: float) -> float:
        while self._clock and self._clock[0][2].stamp != self._clock[0][1]:
            heapq.heappop(self._clock)
        return max(0.0, min(timeout, self._clock[0][0] - time.monotonic())) if self._clock else timeout

    def _expire(self) -> None:
        now = time.monotonic()
        while self._clock and self._clock[0][0] <= now:
            _, stamp, use = heapq.heappop(self._clock)
            if use.stamp == stamp:
                sent = use.line is not None and use.line.may_have_sent
                self._fail(use, TooSlowError(maybe_sent=sent))


def _line(use: _Use) -> Line:
    if use.line is None:
        raise ValueError(use.key)
    return use.line


def _room_for(lines: int) -> int:
    """Return how many of `lines` this process may have open, after asking for as many files as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = lines + _OTHER_FILES
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return lines
    soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(1, soft - _OTHER_FILES)


@cache
def default_trust() -> ssl.SSLContext:
    # Made by hand, for `create_default_context` writes keys down where the environment says.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_default_certs()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    return context

"""One connection to a checked address: connecting, TLS, one request after the other; it never waits.

Whoever holds a line waits until it `wants` something (a mask of `selectors`) and then lets it `step`.
"""

from __future__ import annotations

import errno
import re
import selectors
import socket
import ssl
import time
from enum import Enum, auto
from functools import lru_cache
from typing import TYPE_CHECKING

from portal.egress.answers import (
    Answer,
    GarbageError,
    NoAnswerError,
    Reader,
    StaleError,
    UnreachableError,
    UntrustedError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portal.egress.guard import Target

# More than a record of TLS holds, so that nothing stays back above the socket: what is left there rings again.
_READ_BYTES = 64 * 1024
_AGENT = "Ultimate-Customer-Master"
_SUCCESS = range(200, 300)
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t -~]*")
_OURS = {"host", "user-agent", "accept-encoding", "content-length", "transfer-encoding", "connection"}
# What a socket says when it would have to wait; the other errors of `ssl` mean that it cannot go on.
_WAITS = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class State(Enum):
    CONNECTING = auto()
    SHAKING = auto()
    READY = auto()
    ASKING = auto()
    ANSWERED = auto()


def compose(method: str, target: Target, headers: Mapping[str, str], body: bytes | None) -> bytes:
    """Return a whole request; raise `ValueError` for a header that could be taken for something else."""
    lines = [_beginning(method, target.path, target.host_header)]
    for name, value in headers.items():
        if not (_NAME.fullmatch(name) and _VALUE.fullmatch(value)) or name.lower() in _OURS:
            raise ValueError(f"not a header to send: {name!r}")
        lines.append(f"{name}: {value}\r\n")
    if body is not None:
        lines.append(f"Content-Length: {len(body)}\r\n")
    lines.append("\r\n")
    return "".join(lines).encode("ascii") + (body or b"")


@lru_cache(4096)
def _beginning(method: str, path: str, host: str) -> str:
    return f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {_AGENT}\r\nAccept-Encoding: identity\r\n"


def _dialled(address: str, port: int) -> socket.socket:
    try:
        made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    except OSError as error:
        raise NoAnswerError(private=f"no socket: errno {error.errno}") from error
    made.settimeout(0)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        problem = made.connect_ex((address, port))
    except (OSError, ValueError) as error:
        made.close()
        raise UnreachableError(private=type(error).__name__) from error
    if problem not in {0, errno.EINPROGRESS}:
        made.close()
        raise UnreachableError(private=f"errno {problem}")
    return made


class Line:
    """A connection to `address` under the name of `target`; only its holder closes it.

    Every method may raise a `NoAnswerError`; the line is of no use then.
    """

    __slots__ = ("_number", "_out", "_reader", "_sent", "_socket", "_started", "_trust", "address", "state", "target",
                 "uses", "wants")  # fmt: skip

    def __init__(self, target: Target, address: str, *, trust: ssl.SSLContext) -> None:
        self.target, self.address = target, address
        self.state = State.CONNECTING
        self.wants = selectors.EVENT_WRITE
        self.uses = 0
        self._trust = trust
        self._out = memoryview(b"")
        self._reader = Reader()
        self._sent = False
        self._started = 0.0
        self._socket = _dialled(address, target.port)
        self._number = self._socket.fileno()

    def fileno(self) -> int:
        """Return the number that the line is watched by, also when TLS has closed the socket on its own."""
        return self._number

    def close(self) -> None:
        self._socket.close()

    def step(self) -> State:
        """Go on as far as nothing has to be waited for; return what came of it."""
        try:
            if self.state is State.CONNECTING:
                self._connect()
            if self.state is State.SHAKING:
                self._shake()
            elif self.state is State.ASKING:
                self._converse()
        except (OSError, ValueError) as error:
            raise self._explained(error) from error
        return self.state

    def ask(self, request: bytes) -> State:
        """Send a request on a line that is `READY`, unless the other side has spoken or left."""
        kept = self.uses > 0
        if not self.quiet():
            raise (StaleError if kept else GarbageError)(private="spoke or left before it was asked")
        self.uses += 1
        self.state = State.ASKING
        self._out = memoryview(request)
        self._reader = Reader()
        self._sent = False
        self._started = time.monotonic()
        try:
            self._write()
        except (OSError, ValueError) as error:
            raise self._explained(error) from error
        return self.state

    def quiet(self) -> bool:
        """Say whether an unused line still stands and nothing has come that nobody asked for."""
        try:
            self._socket.recv(1)
        except _WAITS:
            return True
        except (OSError, ValueError):
            return False
        return False

    @property
    def written(self) -> bool:
        """Whether the whole request has left."""
        return self._sent and not self._out

    @property
    def may_have_sent(self) -> bool:
        return self._sent

    def answer(self) -> Answer:
        return self._reader.answer(round((time.monotonic() - self._started) * 1000))

    def rest(self) -> bool:
        """Make the line `READY` again; return whether it may carry another request."""
        if not (self._reader.done and self._reader.keep) or self._out:
            return False
        self.state, self._sent = State.READY, False
        return True

    def _connect(self) -> None:
        if problem := self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise UnreachableError(private=f"errno {problem}")
        self.state, self.wants = State.READY, selectors.EVENT_READ
        if self.target.tls:
            self.state = State.SHAKING
            # Whoever has left by now makes `wrap_socket` lose the socket it has taken.
            self._socket.getpeername()
            # No session is taken over: CPython 3.11 loses 6 kB each time it is asked for one.
            self._socket = self._trust.wrap_socket(
                self._socket, server_hostname=self.target.host, do_handshake_on_connect=False
            )

    def _shake(self) -> None:
        assert isinstance(self._socket, ssl.SSLSocket)  # noqa: S101 - tells mypy what `_connect` made
        try:
            self._socket.do_handshake()
        except ssl.SSLWantReadError:
            self.wants = selectors.EVENT_READ
        except ssl.SSLWantWriteError:
            self.wants = selectors.EVENT_WRITE
        else:
            self.state, self.wants = State.READY, selectors.EVENT_READ

    def _converse(self) -> None:
        if self._out:
            self._write()
        self._read()

    def _write(self) -> None:
        try:
            while self._out:
                self._out = self._out[self._socket.send(self._out) :]
                self._sent = True
        except _WAITS:
            self._sent = True
            self.wants = selectors.EVENT_READ | selectors.EVENT_WRITE
        except ConnectionError:
            # Whoever refuses a message half-way may have said why before it hung up.
            if not self._sent:
                raise
            self.wants = selectors.EVENT_READ
        else:
            self.wants = selectors.EVENT_READ

    def _read(self) -> None:
        try:
            data = self._socket.recv(_READ_BYTES)
            if not data and self.uses > 1 and not self._reader.began:
                raise StaleError(private="left before it answered", maybe_sent=True)
            done = self._reader.feed(data)
        except _WAITS:
            return
        if not done:
            return
        if self._out and self._reader.status in _SUCCESS:
            raise GarbageError(private="accepted what it has not read", maybe_sent=True)
        self.state = State.ANSWERED

    def _explained(self, error: Exception) -> NoAnswerError:
        private, sent = type(error).__name__, self._sent
        if isinstance(error, ssl.SSLCertVerificationError):
            return UntrustedError(private=error.verify_message)
        if isinstance(error, ssl.SSLError) and not isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
            return UntrustedError(private=error.reason or private, maybe_sent=sent)
        if self.state is State.CONNECTING:
            return UnreachableError(private=private)
        if self.uses > 1 and not self._reader.began:
            return StaleError(private=private, maybe_sent=sent)
        return GarbageError(private=private, maybe_sent=sent)

"""The only outbound HTTP of the program: it goes to checked addresses, follows nothing, and ends in time.

A name is resolved once, every answer must be public, and the connection goes to the checked address with the
name in TLS and `Host`.  There is no session of `requests` around the adapter, so no redirect is followed and no
proxy, cookie or netrc of the environment is used.  A watchdog shuts the socket when the deadline has passed,
because a socket's timeout starts anew with every byte that drips in.
"""

from __future__ import annotations

import heapq
import socket
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import cache
from itertools import count
from typing import TYPE_CHECKING, Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError

from portal.egress import guard
from portal.errors import PortalError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from urllib3 import PoolManager

BODY_BYTES = 64 * 1024
_CONNECT_SECONDS = 3.0
_RESOLVE_SECONDS = 3.0
_REMEMBERED_SECONDS = 5.0
_POOLS = 256
_POOL_SIZE = 16
_AGENT = "Ultimate-Customer-Master"


class NoAnswerError(PortalError):
    """There was no answer; `maybe_sent` says whether the receiver may have got the request."""

    code = "no-answer"
    status = 502
    public = "It did not answer."

    def __init__(self, public: str, *, private: str = "", maybe_sent: bool = False, too_slow: bool = False) -> None:
        super().__init__(public, private=private)
        self.maybe_sent = maybe_sent
        self.too_slow = too_slow


@dataclass(frozen=True)
class Answer:
    """What came back: at most 64 KiB of body, never decompressed; `milliseconds` from first byte to last."""

    status: int
    content_type: str
    body: bytes
    retry_after: timedelta | None
    milliseconds: int


class Watch:
    """One request under a deadline (monotonic seconds): holds the socket that is shut when it passes."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.expired = False
        self.sent = False
        self._lock = threading.Lock()
        self._line: socket.socket | None = None
        self._left: socket.socket | None = None

    def hold(self, line: socket.socket | None) -> None:
        """Name the socket in use, None when it is over; one that is named too late is shut at once."""
        with self._lock:
            self._line = line
            left, self._left = self._left, None
        if left is not None:
            left.close()
        if self.expired:
            self.expire()

    def leave(self, line: socket.socket) -> None:
        """Close a socket: at once, or when it is over if it is the one in use.

        An answer without a length is read after its connection is closed, and must end in time all the same.
        """
        with self._lock:
            if self._line is line:
                self._left = line
                return
        line.close()

    def expire(self) -> None:
        self.expired = True
        with self._lock:
            if self._line is not None:
                with suppress(OSError):
                    self._line.shutdown(socket.SHUT_RDWR)


class Watchdog:
    """A thread that expires watches in time."""

    def __init__(self) -> None:
        self._waiting: list[tuple[float, int, Watch]] = []
        self._number = count()
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name="watchdog", daemon=True).start()

    @contextmanager
    def until(self, deadline: float) -> Iterator[Watch]:
        watch = Watch(deadline)
        with self._changed:
            heapq.heappush(self._waiting, (deadline, next(self._number), watch))
            if self._waiting[0][2] is watch:
                self._changed.notify()
        try:
            yield watch
        finally:
            watch.hold(None)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting or (left := self._waiting[0][0] - time.monotonic()) > 0:
                    self._changed.wait(left if self._waiting else None)
                watch = heapq.heappop(self._waiting)[2]
            watch.expire()


_current = threading.local()


@cache
def watchdog() -> Watchdog:
    return Watchdog()


class _Watched(HTTPConnection):
    """Names its socket to the watch of the request it serves.

    The watch holds a duplicate, which stays valid while TLS takes the first descriptor over.
    """

    line: socket.socket | None = None

    def _new_conn(self) -> socket.socket:
        made = super()._new_conn()
        self.line = made.dup()
        _current.watch.hold(self.line)
        return made

    def request(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - urllib3's own long signature
        _current.watch.hold(self.line)
        _current.watch.sent = True
        super().request(*args, **kwargs)

    def close(self) -> None:
        super().close()
        if self.line is not None:
            watch = getattr(_current, "watch", None)
            watch.leave(self.line) if watch else self.line.close()
            self.line = None


class _WatchedTLS(_Watched, HTTPSConnection):
    pass


class _Plain(HTTPConnectionPool):
    ConnectionCls = _Watched


class _Tls(HTTPSConnectionPool):
    ConnectionCls = _WatchedTLS


class _Pinned(HTTPAdapter):
    """Connects to the address that was checked, under the name that was asked for."""

    def __init__(self, trust: ssl.SSLContext) -> None:
        self._trust = trust
        super().__init__(pool_connections=_POOLS, pool_maxsize=_POOL_SIZE)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - requests' own signature
        super().init_poolmanager(*args, **kwargs)
        manager: PoolManager = self.poolmanager
        manager.pool_classes_by_scheme = {"http": _Plain, "https": _Tls}

    def get_connection_with_tls_context(
        self,
        request: requests.PreparedRequest,
        verify: object,
        proxies: object = None,
        cert: object = None,
    ) -> HTTPConnectionPool:
        del request, verify, proxies, cert
        target: guard.Target = _current.target
        names = {"server_hostname": target.host, "assert_hostname": target.host, "ssl_context": self._trust}
        manager: PoolManager = self.poolmanager
        scheme = "https" if target.tls else "http"
        return manager.connection_from_host(
            target.address, target.port, scheme, pool_kwargs=names if target.tls else None
        )

    def cert_verify(self, *_args: Any, **_kwargs: Any) -> None:  # noqa: ANN401 - requests' own signature
        """Leave the pool alone: its own context demands a certificate, with or without `requests`' bundle."""


class Client:
    """Asks companies; one a process, used by many threads.

    `allow` holds `host:port` pairs exempt from the rules (the demo's loopback company).
    """

    def __init__(
        self,
        *,
        allow: frozenset[str] = frozenset(),
        resolve: guard.Resolver | None = None,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        self._allow = allow
        self._resolve = resolve or _resolve
        self._adapter = _Pinned(trust or _default_trust())
        self._remembered: dict[str, tuple[float, guard.Target]] = {}

    def check(self, url: str) -> guard.Target:
        """Return where `url` leads; raise `guard.UnsafeAddressError`.

        A checked address is remembered for five seconds: it is an address that is kept, so a name that
        changes its mind in between leads nowhere else.
        """
        known = self._remembered.get(url)
        if known and known[0] > time.monotonic():
            return known[1]
        target = guard.check(url, allow=self._allow, resolve=self._resolve)
        if len(self._remembered) > _POOLS * _POOL_SIZE:
            self._remembered.clear()
        self._remembered[url] = time.monotonic() + _REMEMBERED_SECONDS, target
        return target

    def post(
        self,
        url: str,
        body: bytes,
        *,
        content_type: str,
        accept: str,
        seconds: float,
        authorization: str | None = None,
    ) -> Answer:
        """Send `body` and return the answer within `seconds`; `authorization` is the header of that name.

        Raises `guard.UnsafeAddressError` before, `NoAnswerError` after a byte was tried.
        """
        headers = {"Accept": accept, "Content-Type": content_type}
        if authorization is not None:
            headers["Authorization"] = authorization
        return self._ask("POST", url, headers, body, seconds)

    def get(self, url: str, *, accept: str, seconds: float) -> Answer:
        """Return what is at `url` within `seconds`; raises as `post` does."""
        return self._ask("GET", url, {"Accept": accept}, None, seconds)

    def _ask(self, method: str, url: str, headers: dict[str, str], body: bytes | None, seconds: float) -> Answer:
        target = self.check(url)
        fixed = {"Host": target.host_header, "User-Agent": _AGENT, "Accept-Encoding": "identity"}
        prepared = requests.Request(method, url, headers=fixed | headers, data=body).prepare()
        started = time.monotonic()
        with watchdog().until(started + seconds) as watch:
            _current.watch, _current.target = watch, target
            try:
                return _in_time(self._exchange(prepared, seconds, started), watch)
            except (requests.RequestException, HTTPError, OSError, ValueError) as error:
                raise _explained(error, watch) from error

    def _exchange(self, prepared: requests.PreparedRequest, seconds: float, started: float) -> Answer:
        timeout = (min(_CONNECT_SECONDS, seconds), seconds)
        response = self._adapter.send(prepared, stream=True, timeout=timeout)
        return Answer(
            status=response.status_code,
            content_type=response.headers.get("Content-Type", "").partition(";")[0].strip().lower(),
            body=_body(response),
            retry_after=retry_after(response.headers),
            milliseconds=round((time.monotonic() - started) * 1000),
        )


class _TooLongError(ValueError):
    pass


def _in_time(answer: Answer, watch: Watch) -> Answer:
    # A socket that the watchdog shut reads as the end of headers or body: what was read is not an answer.
    if watch.expired:
        raise TimeoutError
    return answer


def _body(response: requests.Response) -> bytes:
    raw = response.raw
    try:
        body: bytes = raw.read(BODY_BYTES + 1, decode_content=False)
    except BaseException:
        raw.close()
        raise
    if len(body) > BODY_BYTES:
        raw.close()
        raise _TooLongError
    raw.release_conn()
    return body


@cache
def shared(allow: frozenset[str]) -> Client:
    """Return the process's client."""
    return Client(allow=allow)


def retry_after(headers: Mapping[str, str]) -> timedelta | None:
    """Read `Retry-After` (RFC 9110 section 10.2.3): seconds or a date; nonsense is no wish."""
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return timedelta(seconds=min(int(text[:9]), 86_400))
    try:
        wanted = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    aware = wanted if wanted.tzinfo else wanted.replace(tzinfo=UTC)
    return max(aware - datetime.now(UTC), timedelta())


def _explained(error: Exception, watch: Watch) -> NoAnswerError:
    private, sent = type(error).__name__, watch.sent
    if watch.expired or isinstance(error, requests.Timeout):
        return NoAnswerError("It did not answer in time.", private=private, maybe_sent=sent, too_slow=True)
    if isinstance(error, _TooLongError):
        return NoAnswerError("Its answer was longer than 64 KiB.", private=private, maybe_sent=True)
    if isinstance(error, (requests.exceptions.SSLError, ssl.SSLError)):
        return NoAnswerError("Its certificate is not valid for this name, or TLS failed.", private=private)
    if isinstance(error, requests.ConnectionError) and "NewConnectionError" in repr(error):
        return NoAnswerError("Nobody accepts connections there.", private=private)
    return NoAnswerError("It closed the connection or answered with garbage.", private=private, maybe_sent=sent)


@cache
def _default_trust() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


@cache
def _resolvers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(4, thread_name_prefix="resolver")


def _resolve(host: str, port: int) -> list[str]:
    # getaddrinfo knows no deadline of its own, so it waits in a thread and the caller does not.
    asked = _resolvers().submit(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    return [str(answer[4][0]) for answer in asked.result(_RESOLVE_SECONDS)]

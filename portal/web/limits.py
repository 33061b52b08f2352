"""How often: whoever fails again and again waits, machine or person; everybody else notices nothing.

What is counted lies in Valkey, so that all processes count together, by a keyed hash: no address is kept in
plain.  Valkey being away costs nothing but precision: this process then counts for itself.  Who must wait is
remembered in the process, so a good request pays one look into a dict.
"""

from __future__ import annotations

import hashlib
import ipaddress
import logging
import math
import time
from collections import defaultdict
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, cast

from flask import current_app, jsonify, request
from limits import RateLimitItemPerSecond
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import FixedWindowRateLimiter
from redis import Redis, RedisError

from portal.web.access import is_api
from portal.web.context import settings
from portal.web.problems import problem

if TYPE_CHECKING:
    from flask import Flask, Response

    from portal.config import Settings

log = logging.getLogger(__name__)
_EXTENSION: Final = "portal_limits"
_PREFIX: Final = "ucm-limits"
_ANSWER_SECONDS: Final = 0.5
_AWAY_SECONDS: Final = 5.0
_MOST_KEPT: Final = 10_000
_STEPS: Final = 20
_MINUTE: Final = 60
_QUARTER: Final = 900
_FAILURES: Final = frozenset({"invalid_client", "invalid_dpop_proof", "invalid_token"})
_TOO_MANY: Final = "This client sends too many requests. Wait as many seconds as Retry-After says."
_SENTENCE: Final = "Too many requests from your address failed. Wait as many seconds as Retry-After says."


@dataclass(frozen=True)
class Rate:
    """At most `amount` in `seconds`, counted under `name`."""

    name: str
    amount: int
    seconds: int

    def item(self) -> RateLimitItemPerSecond:
        return RateLimitItemPerSecond(self.amount, self.seconds, namespace=self.name)


class Limits:
    """What one process knows: the shared counters, its own for when Valkey is away, and who must wait."""

    def __init__(self, url: str, key: bytes) -> None:
        client = Redis.from_url(url, socket_timeout=_ANSWER_SECONDS, socket_connect_timeout=_ANSWER_SECONDS)
        storage = RedisStorage("redis://", connection_pool=client.connection_pool, key_prefix=_PREFIX)
        self._shared = FixedWindowRateLimiter(storage)
        self._own = FixedWindowRateLimiter(MemoryStorage())
        self._key = key
        self._away_until = 0.0
        self._waiting: dict[str, float] = {}
        self._uncounted: defaultdict[str, int] = defaultdict(int)

    def name_of(self, text: str) -> str:
        """Return what stands for `text` in Valkey."""
        return hashlib.blake2b(text.encode("utf-8", "replace"), key=self._key, digest_size=16).hexdigest()

    def spend(self, rate: Rate, *whom: str, cost: int = 1) -> int:
        """Count `cost` for `whom` and return 0, or the seconds to wait when that is too many."""
        names = [self.name_of(each) for each in whom]
        if time.monotonic() >= self._away_until:
            try:
                return _spend(self._shared, rate, names, cost)
            except RedisError as error:
                self._away_until = time.monotonic() + _AWAY_SECONDS
                log.warning("rate limits are counted by each process alone: %s", type(error).__name__)
        return _spend(self._own, rate, names, cost)

    def wait_of(self, who: str) -> int:
        """Return the seconds that `who` must still wait, as far as this process knows."""
        until = self._waiting.get(who)
        if until is None:
            return 0
        left = math.ceil(until - time.monotonic())
        if left <= 0:
            self._waiting.pop(who, None)
        return max(left, 0)

    def fail(self, rate: Rate, who: str) -> int:
        """Count a failure of `who` and return 0, or the seconds to wait from now on when it was one too many."""
        wait = self.spend(rate, who)
        if wait:
            self._remember(who, wait)
        return wait

    def pace(self, rate: Rate, who: str) -> int:
        """Count one more of `who` and return the seconds to wait.

        For what is good and frequent: the shared counter is told of a twentieth of the rate at once, so the rate
        is exceeded by that share for each process at most.
        """
        name = f"{rate.name}:{who}"
        if wait := self.wait_of(name):
            return wait
        self._uncounted[name] += 1
        if self._uncounted[name] < max(1, rate.amount // _STEPS):
            return 0
        wait = self.spend(rate, who, cost=self._uncounted.pop(name))
        if wait:
            self._remember(name, wait)
        return wait

    def _remember(self, who: str, wait: int) -> None:
        now = time.monotonic()
        if len(self._waiting) >= _MOST_KEPT:
            self._waiting = {name: until for name, until in self._waiting.items() if until > now}
        if len(self._waiting) < _MOST_KEPT:
            self._waiting[who] = now + wait


def _spend(limiter: FixedWindowRateLimiter, rate: Rate, names: list[str], cost: int) -> int:
    item = rate.item()
    if limiter.hit(item, *names, cost=cost):
        return 0
    return max(1, math.ceil(limiter.get_window_stats(item, *names).reset_time - time.time()))


def init_app(app: Flask, given: Settings, *, key: bytes) -> None:
    """Count from now on; `key` makes an address in Valkey unreadable."""
    app.extensions[_EXTENSION] = Limits(given.redis_url, key)
    app.before_request(_turn_away)


def of(app: Flask) -> Limits:
    return cast("Limits", app.extensions[_EXTENSION])


# --- People -----------------------------------------------------------------------------------------------


def caller() -> str:
    """Return where the request comes from: an IPv4 address, or the /64 network an IPv6 address lies in."""
    return network(request.remote_addr or "")


def spend(rate: Rate, *whom: str, cost: int = 1) -> int:
    """Count `cost` for `whom` and return 0, or the seconds to wait when that is too many."""
    return of(current_app).spend(rate, *whom, cost=cost)


def give_back(rate: Rate, *whom: str) -> None:
    """Take one back that turned out to be no failure."""
    of(current_app).spend(rate, *whom, cost=-1)


def people(name: str) -> Rate:
    """Return the rate at which people may try something, per address they come from."""
    return Rate(name, settings().people_tries, _QUARTER)


def waits(response: Response, seconds: int) -> Response:
    """Return the page as an answer to too many requests (RFC 6585 section 4)."""
    response.status_code = HTTPStatus.TOO_MANY_REQUESTS
    response.headers["Retry-After"] = str(seconds)
    return response


# --- Machines ---------------------------------------------------------------------------------------------


def network(address: str) -> str:
    """Return what is counted as one caller: whoever has one IPv6 address has all of its /64."""
    if ":" not in address:
        return address
    try:
        parsed = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    return str(parsed.ipv4_mapped or ipaddress.IPv6Network((int(parsed), 64), strict=False).network_address)


def failed(code: str) -> Response | None:
    """Count an error of the authorization server if it is a failed try to be somebody.

    Return the answer to give in its place when that was one too many: another process may have shut the door.
    """
    if code not in _FAILURES:
        return None
    wait = of(current_app).fail(Rate("machine", settings().machine_failures, _MINUTE), caller())
    return _told_to_wait(wait) if wait else None


def api_rate(given: Settings) -> Rate:
    """Return the rate at which one client may call the API."""
    return Rate("api", given.api_requests, _MINUTE)


def pace_api(client_id: str) -> int:
    """Count a call of the API by a client; return 0, or the seconds it must wait because there were too many."""
    return of(current_app).pace(api_rate(settings()), client_id)


def too_many(seconds: int) -> Response:
    """Return the answer to a client that calls the API too often."""
    return waits(problem(HTTPStatus.TOO_MANY_REQUESTS, "too-many-requests", _TOO_MANY), seconds)


def pace(name: str, client_id: str) -> int:
    """Count a good request of a client; return 0, or the seconds it must wait because there were too many."""
    return of(current_app).pace(Rate(name, settings().client_requests, _MINUTE), client_id)


def _turn_away() -> Response | None:
    if not is_api() or request.endpoint is None:
        return None
    wait = of(current_app).wait_of(caller())
    return _told_to_wait(wait) if wait and _access() != "public" else None


def _access() -> str:
    return str(getattr(current_app.view_functions[str(request.endpoint)], "access", "public"))


def _told_to_wait(seconds: int) -> Response:
    if _access().startswith("token:"):
        return waits(problem(HTTPStatus.TOO_MANY_REQUESTS, "too-many-requests", _SENTENCE), seconds)
    answer = jsonify(error="temporarily_unavailable", error_description=_SENTENCE)
    answer.headers["Cache-Control"] = "no-store"
    return waits(answer, seconds)

"""What attempts say of an endpoint, and what follows for it.  Pure Python, no I/O.

A circuit is closed at `circuit_step` 0.  It opens after five failures in a row or when more than half of the last
twenty failed; nothing is sent until `circuit_until`, then one message at a time, until one of them arrives.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import Enum
from typing import TYPE_CHECKING, Final

from portal.sync.rules import REFUSED, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from portal.sync.rules import Result

IN_A_ROW: Final = 5
WINDOW: Final = 20
# Fewer are too few to say what share of them fails.
FEWEST: Final = 10
FIRST_PAUSE: Final = timedelta(seconds=30)
LONGEST_PAUSE: Final = timedelta(minutes=15)
JITTER: Final = 0.2
# As long as it takes whoever asks for less without saying how much less.
BREATHER: Final = timedelta(seconds=5)
LONGEST_WAIT: Final = timedelta(hours=24)
GIVEN_UP_AFTER: Final = timedelta(hours=120)
WARNED_AFTER: Final = (timedelta(hours=1), timedelta(hours=24), timedelta(hours=96))
GONE: Final = "The endpoint answered 410: it is gone for good."
FAILED_TOO_LONG: Final = "The endpoint took no message for 120 hours."
_FULL = (1 << WINDOW) - 1
# A refusal of whoever sends, not of what is sent: every message would be refused.
_LOCKED_OUT = frozenset({401, 403})
_TOO_MANY = 429
_MAY_SAY_WHEN = frozenset({429, 503})


class Says(Enum):
    """What one attempt says of the endpoint, whatever it says of the message."""

    WORKS = "it took a message"
    REFUSES = "it is there and did not want this message"
    SLOWS = "it is there and wants less"
    FAILS = "it does not do its part"
    NOTHING = "it was not asked, or it was not its fault"


@dataclass(frozen=True, kw_only=True)
class Health:
    """How a stream stands; the fields are columns of `stream`, whose docstring says what they hold."""

    state: str = "enabled"
    reason: str = ""
    failures: int = 0
    recent: int = 0
    tries: int = 0
    failing_since: datetime | None = None
    circuit_until: datetime | None = None
    circuit_step: int = 0
    disabled_at: datetime | None = None
    last_problem: str = ""

    @property
    def trips(self) -> bool:
        """Whether so much failed that nothing more is sent for now."""
        return self.failures >= IN_A_ROW or (self.tries >= FEWEST and 2 * self.recent.bit_count() > self.tries)


def says(result: Result) -> Says:
    """Return what `result` says of the endpoint it comes from."""
    if result.ours or result.outcome is Outcome.SUPPRESSED:
        return Says.NOTHING
    if result.outcome is Outcome.COMPLETED:
        return Says.WORKS
    if result.status == _TOO_MANY:
        return Says.SLOWS
    wanted_other = result.unlike or result.status in REFUSED - _LOCKED_OUT
    return Says.REFUSES if wanted_other else Says.FAILS


def after_all(health: Health, results: Iterable[Result], *, now: datetime) -> Health:
    """Return how a stream stands after these attempts, in this order."""
    for result in results:
        health = after(health, result, now=now)
    return health


def after(health: Health, result: Result, *, now: datetime) -> Health:
    """Return how a stream stands after one attempt that ended `now`."""
    said = says(result)
    if said is Says.NOTHING:
        return health
    if said is Says.WORKS:
        return replace(_answered(health), failing_since=None, last_problem="")
    if said is Says.REFUSES:
        return replace(_answered(health), last_problem=result.detail)
    failing = replace(health, failing_since=health.failing_since or now, last_problem=result.detail)
    if said is Says.FAILS:
        failing = _given_up(_tripped(_counted(failing), now), result, now)
    return _held_back(failing, result, now)


def pause(step: int) -> timedelta:
    """Return how long the circuit stays open for the `step`th time: 30 s doubling to 15 min, ±20 %."""
    planned = min(FIRST_PAUSE * (1 << min(step - 1, 10)), LONGEST_PAUSE)
    return planned * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - spreads load, hides nothing


def warnings_due(health: Health, *, now: datetime) -> int:
    """Return how many of the letters of `WARNED_AFTER` the time since `failing_since` calls for."""
    if health.failing_since is None:
        return 0
    return sum(now - health.failing_since >= age for age in WARNED_AFTER)


def _answered(health: Health) -> Health:
    # What made the circuit open is no reason to open it again at the next failure.
    tries, recent = (0, 0) if health.circuit_step else (health.tries, health.recent)
    return replace(
        health,
        failures=0, recent=(recent << 1) & _FULL, tries=min(tries + 1, WINDOW), circuit_step=0,
        # Who asked for time while the circuit was closed still has it: another message was on its way already.
        circuit_until=None if health.circuit_step else health.circuit_until,
    )  # fmt: skip


def _counted(health: Health) -> Health:
    return replace(
        health,
        failures=health.failures + 1,
        recent=((health.recent << 1) | 1) & _FULL,
        tries=min(health.tries + 1, WINDOW),
    )


def _tripped(health: Health, now: datetime) -> Health:
    # What was on its way when the circuit opened says nothing new; only a probe's failure opens it for longer.
    waiting = health.circuit_until is not None and health.circuit_until > now
    if not health.trips or (health.circuit_step and waiting):
        return health
    step = health.circuit_step + 1
    until = now + pause(step)
    return replace(health, circuit_step=step, circuit_until=max(until, health.circuit_until or until))


def _given_up(health: Health, result: Result, now: datetime) -> Health:
    if health.state == "disabled":
        return health
    if result.gone:
        return replace(health, state="disabled", reason=GONE, disabled_at=now)
    # Several failures, lest our own absence be counted as theirs.
    long = health.failing_since is not None and now - health.failing_since >= GIVEN_UP_AFTER
    if long and health.failures >= IN_A_ROW:
        return replace(health, state="disabled", reason=FAILED_TOO_LONG, disabled_at=now)
    return health


def _held_back(health: Health, result: Result, now: datetime) -> Health:
    asked = result.retry_after if result.status in _MAY_SAY_WHEN else None
    if asked is None and result.status != _TOO_MANY:
        return health
    until = now + min(max(asked or BREATHER, timedelta()), LONGEST_WAIT)
    return replace(health, circuit_until=max(until, health.circuit_until or until))

"""What follows from an answer or its absence: outcomes, delays, words.  Pure Python, no I/O."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

# Standard Webhooks 1.0.0: about 76 hours of attempts; afterwards one a day, always of the newest state.
DELAYS = tuple(
    timedelta(seconds=seconds) for seconds in (0, 5, 30, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
)
_JITTER = 0.2
_LONGEST = timedelta(hours=24)
_GONE = 410
FAST_SECONDS = 1.0
SLOW_SECONDS = 15.0
PARKED = timedelta(seconds=30)
RESULT_KEPT = timedelta(hours=24)
MOST_SUBJECTS = 1000
# As many pulls as one client may have waiting: each is up to a thousand people and takes its turn behind others.
MOST_UNFINISHED = 10


class Outcome(StrEnum):
    """What became of a message that was `sending`."""

    COMPLETED = "completed"
    FAILED = "failed"
    UNKNOWN = "unknown"
    SUPPRESSED = "suppressed"


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one attempt came to; `detail` is words for the deliveries page and holds no personal value.

    `ours` says that the fault lay with the portal: nothing is held against the endpoint.
    """

    outcome: Outcome
    detail: str = ""
    milliseconds: int = 0
    status: int | None = None
    retry_after: timedelta | None = None
    too_slow: bool = False
    ours: bool = False

    @property
    def is_failure(self) -> bool:
        """The receiver did not do its part: it failed, or nobody knows."""
        return self.outcome in {Outcome.FAILED, Outcome.UNKNOWN}

    @property
    def gone(self) -> bool:
        """The receiver says the endpoint will not come back (RFC 9110 section 15.5.11)."""
        return self.status == _GONE


def judge(status: int, *, milliseconds: int, retry_after: timedelta | None = None) -> Result:
    """Return the result of an HTTP `status`: only 2xx is a receipt, a redirect is not followed."""
    if status in range(200, 300):
        return Result(outcome=Outcome.COMPLETED, status=status, milliseconds=milliseconds)
    words = f"It answered {status}."
    if status in range(300, 400):
        words = f"It answered {status}: redirects are not followed."
    elif status == _GONE:
        words = "It answered 410: the endpoint is gone for good."
    return Result(
        outcome=Outcome.FAILED, detail=words, milliseconds=milliseconds, status=status, retry_after=retry_after
    )


def delay(attempts: int, *, retry_after: timedelta | None = None) -> timedelta:
    """Return how long to wait after `attempts` failed ones: the table ±20 %, never less than asked for."""
    planned = DELAYS[min(attempts, len(DELAYS) - 1)]
    jittered = planned * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - spreads load, hides nothing
    return max(jittered, min(retry_after or timedelta(), _LONGEST))

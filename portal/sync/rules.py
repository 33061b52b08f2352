"""What follows from an answer or its absence: outcomes, delays, words.  Pure Python, no I/O."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final

# Standard Webhooks 1.0.0: about 76 hours of attempts; afterwards one a day, always of the newest state.
DELAYS = tuple(
    timedelta(seconds=seconds) for seconds in (0, 5, 30, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
)
_JITTER = 0.2
_LONGEST = timedelta(hours=24)
_GONE = 410
_TOO_MANY = 429
# Who asks for less and does not say when is there: it is asked again within so many steps of the table.
_LONGEST_BREATHER: Final = 3
# Refusals of what was sent: the same would be refused again.
REFUSED: Final = frozenset({400, 401, 403, 413, 422})
# Of these it may be the size, or one among many: fewer at once may do.
_TOO_MUCH = 413
_ONE_OF_THEM = frozenset({400, 422})
HELD = timedelta(hours=24)
# A request's time, of which a line may take the first part.
CONNECT_SECONDS = 5.0
PUSH_SECONDS = 10.0
# A person who stops may have to wait for so long.
STRICT_SECONDS = 5.0
MOST_MESSAGES = 50
# What a company says of a message could be anything, somebody's details too: it is kept where it looks like a code
# (RFC 8935 section 2.4).
ERROR_CODE: Final = re.compile(r"[A-Za-z_]{1,40}", re.ASCII)
MOST_BYTES = 512 * 1024
RESULT_KEPT = timedelta(hours=24)
FETCHED_KEPT = timedelta(hours=1)
MOST_SUBJECTS = 1000
# As many pulls as one client may have waiting: each is up to a thousand people and takes its turn behind others.
MOST_UNFINISHED = 10
# The subjects of all of a client's pulls whose results are kept: an answer is some kilobytes.
MOST_KEPT = 100_000


class Outcome(StrEnum):
    """What became of a message that was `sending`."""

    COMPLETED = "completed"
    FAILED = "failed"
    UNKNOWN = "unknown"
    SUPPRESSED = "suppressed"


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one attempt came to; `detail` is words for the deliveries page and holds no personal value.

    `ours` says that the fault lay with the portal: nothing is held against the endpoint.  `unlike` says that this
    message was refused by itself among others, and `narrower` that so many at once were, and how many may do.
    """

    outcome: Outcome
    detail: str = ""
    milliseconds: int = 0
    status: int | None = None
    retry_after: timedelta | None = None
    too_slow: bool = False
    ours: bool = False
    unlike: bool = False
    narrower: int | None = None

    @property
    def refused(self) -> bool:
        """The receiver does not want this message: it waits for somebody to mend something, or for newer news."""
        return self.narrower is None and (self.unlike or self.status in REFUSED)

    @property
    def gone(self) -> bool:
        """The receiver says the endpoint will not come back (RFC 9110 section 15.5.11)."""
        return self.status == _GONE


@dataclass(frozen=True, kw_only=True)
class Next:
    """What a delivery that did not arrive waits for: its next try after `delay`, the `attempts` it has had by then.

    `held` says that nothing but somebody's deed or newer news makes it due sooner, `renewed` that it needs another id.
    """

    delay: timedelta
    attempts: int
    held: bool = False
    renewed: bool = False


# What follows when it arrived.
DONE: Final = Next(delay=timedelta(), attempts=0)


def judge(status: int, *, milliseconds: int, retry_after: timedelta | None = None, messages: int = 1) -> Result:
    """Return the result of an HTTP `status` for a request with so many `messages`.

    Only 2xx is a receipt, a redirect is not followed.
    """
    if status in range(200, 300):
        return Result(outcome=Outcome.COMPLETED, status=status, milliseconds=milliseconds)
    words = f"It answered {status}."
    if status in range(300, 400):
        words = f"It answered {status}: redirects are not followed."
    elif status == _GONE:
        words = "It answered 410: the endpoint is gone for good."
    return Result(
        outcome=Outcome.FAILED, detail=words, milliseconds=milliseconds, status=status, retry_after=retry_after,
        narrower=_narrower(status, messages),
    )  # fmt: skip


def following(result: Result, *, attempts: int) -> Next:
    """Return what follows for a delivery that had failed `attempts` times and did not arrive now either."""
    if result.outcome is Outcome.SUPPRESSED or result.narrower is not None:
        # Held back by us, or refused for its company: no failure of its own.
        return Next(delay=timedelta(), attempts=attempts)
    if result.refused:
        return Next(delay=_spread(HELD), attempts=attempts + 1, held=True, renewed=result.unlike)
    if result.status == _TOO_MANY:
        return Next(delay=_breather(attempts + 1, result.retry_after), attempts=attempts + 1)
    return Next(delay=delay(attempts + 1, retry_after=result.retry_after), attempts=attempts + 1)


def delay(attempts: int, *, retry_after: timedelta | None = None) -> timedelta:
    """Return how long to wait after `attempts` failed ones: the table ±20 %, never less than asked for."""
    planned = DELAYS[min(attempts, len(DELAYS) - 1)]
    return max(_spread(planned), min(retry_after or timedelta(), _LONGEST))


def _breather(attempts: int, asked: timedelta | None) -> timedelta:
    """Return how long whoever asked for less is left alone: as long as it said, else five minutes at most."""
    if asked:
        return min(asked, _LONGEST)
    return _spread(DELAYS[min(attempts, _LONGEST_BREATHER)])


def _narrower(status: int, messages: int) -> int | None:
    if messages > 1 and status == _TOO_MUCH:
        return messages // 2
    return 1 if messages > 1 and status in _ONE_OF_THEM else None


def _spread(planned: timedelta) -> timedelta:
    return planned * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - spreads load, hides nothing

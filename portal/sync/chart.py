"""Deliveries of the last days as bars, laid out in numbers; the template only draws them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from portal.sync import deliveries
from portal.web import dates
from portal.web.dates import ZONE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from datetime import date, datetime

    from sqlalchemy.orm import Session

DAYS = 14
HEIGHT = 80
STEP = 24
BAR = 16
_FAILED = ("failed", "unknown")


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One day in SVG units: `delivered` and `failed` are heights, the failed part standing on top."""

    day: date
    x: int
    delivered: float
    failed: float


@dataclass(frozen=True, kw_only=True)
class Chart:
    """The bars, and the totals that the caption says in words."""

    bars: Sequence[Bar]
    delivered: int
    failed: int
    width: int
    height: int = HEIGHT
    bar: int = BAR

    @property
    def failed_percent(self) -> str:
        """Return the share of failures with one decimal, as in "0.7"."""
        return f"{100 * self.failed / max(1, self.failed + self.delivered):.1f}"


def lately(session: Session, *, client_ids: Collection[str], now: datetime) -> Chart:
    """Return the chart of what these clients were sent in the last `DAYS` days, today among them."""
    first = now.astimezone(ZONE).date() - timedelta(days=DAYS - 1)
    counts = deliveries.days(session, client_ids=client_ids, since=dates.midnight(first), zone=ZONE.key)
    return of_days(counts, first=first, days=DAYS)


def of_days(counts: Iterable[tuple[date, str, int]], *, first: date, days: int) -> Chart:
    """Return the chart of (day, outcome, count) from `first` on; what was never sent is in no bar."""
    delivered: Counter[date] = Counter()
    failed: Counter[date] = Counter()
    for day, outcome, count in counts:
        if outcome == "completed":
            delivered[day] += count
        elif outcome in _FAILED:
            failed[day] += count
    span = [first + timedelta(days=number) for number in range(days)]
    highest = max(1, *(delivered[day] + failed[day] for day in span))
    bars = [
        Bar(day=day, x=STEP * number, delivered=_part(delivered[day], highest), failed=_part(failed[day], highest))
        for number, day in enumerate(span)
    ]
    return Chart(bars=bars, delivered=delivered.total(), failed=failed.total(), width=STEP * days - (STEP - BAR))


def _part(count: int, highest: int) -> float:
    return round(HEIGHT * count / highest, 1)

"""Dates and times as people read them, in their own time zone (Europe/Dublin until they choose one)."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from babel.dates import format_date, format_time

from portal.db import now

if TYPE_CHECKING:
    from datetime import date

ZONE = ZoneInfo("Europe/Dublin")
_LOCALE = "en_GB"


def midnight(day: date) -> datetime:
    """Return when a day begins where people are."""
    return datetime.combine(day, datetime.min.time(), tzinfo=ZONE)


def day(moment: datetime | None) -> str:
    """Return "4 May 2026"; a dash for none."""
    return format_date(moment.astimezone(ZONE), "d MMMM y", locale=_LOCALE) if moment else "–"


def clock(moment: datetime | None) -> str:
    """Return "09:14:03"; a dash for none."""
    return format_time(moment.astimezone(ZONE), "HH:mm:ss", locale=_LOCALE) if moment else "–"


def instant(moment: datetime | None) -> str:
    """Return "09:14:03.2", where it matters what was first; a dash for none.  Tenths are cut, never rounded up."""
    return f"{clock(moment)}.{moment.microsecond // 100_000}" if moment else "–"


def moment(moment: datetime | None) -> str:
    """Return "today at 09:14", "yesterday at 09:14" or "4 May 2026 at 09:14"; a dash for none."""
    if moment is None:
        return "–"
    local = moment.astimezone(ZONE)
    age = (now().astimezone(ZONE).date() - local.date()).days
    date = {0: "today", 1: "yesterday"}.get(age) or day(local)
    return f"{date} at {local:%H:%M}"

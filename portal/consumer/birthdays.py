"""A date in three inputs: the month as a number or a word, and one message at a time, the most useful first."""

from __future__ import annotations

from calendar import month_name
from contextlib import suppress
from datetime import date
from typing import TYPE_CHECKING

from portal.consumer.text import InvalidValueError, clean

if TYPE_CHECKING:
    from collections.abc import Mapping

PARTS = ("day", "month", "year")
_EARLIEST_YEAR = 1880
_LONGEST_PART = 20
_SHORTEST_WORD = 3
_MONTHS = tuple(name.casefold() for name in month_name)


def parse(what: str, form: Mapping[str, str], *, today: date | None = None) -> str:
    """Return the ISO 8601 date of `day`, `month`, `year`; refuse one after `today`.

    The order of messages is that of the GOV.UK date input: missing, impossible, then anything else.
    """
    typed = {part: clean(form.get(part, ""), what=what, field=part, longest=_LONGEST_PART) for part in PARTS}
    _refuse_missing(what, typed)
    numbers = {"day": _number(typed["day"]), "month": _month(typed["month"]), "year": _number(typed["year"])}
    if len(typed["year"]) != len("1984") or not numbers["year"]:
        raise InvalidValueError({"year": "Year must include 4 numbers"})
    found = _date(what, numbers)
    _refuse_unlikely(what, found, today)
    return found.isoformat()


def fill(value: str | None) -> dict[str, str]:
    """Return the three inputs that show `value`."""
    if value is None:
        return dict.fromkeys(PARTS, "")
    found = date.fromisoformat(value)
    return {"day": str(found.day), "month": str(found.month), "year": f"{found.year:04}"}


def shown(value: str) -> str:
    """Return "27 March 1984"."""
    found = date.fromisoformat(value)
    return f"{found.day} {month_name[found.month]} {found.year}"


def _refuse_missing(what: str, typed: Mapping[str, str]) -> None:
    missing = [part for part in PARTS if not typed[part]]
    if len(missing) == len(PARTS):
        raise InvalidValueError({"day": f"Enter your {what.lower()}"})
    if missing:
        raise InvalidValueError({missing[0]: f"{what} must include a {' and a '.join(missing)}"})


def _date(what: str, numbers: Mapping[str, int]) -> date:
    with suppress(ValueError):
        return date(numbers["year"], numbers["month"], numbers["day"])
    wrong = "month" if not numbers["month"] or numbers["month"] > len(_MONTHS) - 1 else "day"
    raise InvalidValueError({wrong: f"{what} must be a real date"})


def _refuse_unlikely(what: str, found: date, today: date | None) -> None:
    if today is not None and found > today:
        raise InvalidValueError({"year": f"{what} must be in the past"})
    if found.year < _EARLIEST_YEAR:
        raise InvalidValueError({"year": f"{what} must be in {_EARLIEST_YEAR} or later"})


def _number(typed: str) -> int:
    # `isdecimal` takes the digits of every script, and `int` reads them.
    return int(typed) if typed.isdecimal() else 0


def _month(typed: str) -> int:
    word = typed.rstrip(".").casefold()
    if len(word) >= _SHORTEST_WORD and word.isalpha():
        return next((number for number, name in enumerate(_MONTHS) if number and name.startswith(word)), 0)
    return _number(typed)

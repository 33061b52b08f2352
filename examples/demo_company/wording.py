"""The words on this company's pages: labels, states, times, values."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

_LABELS = {
    "name.full": "Name",
    "name.known_as": "Called",
    "birth.date": "Date of birth",
    "email.main": "Email",
    "phone.mobile": "Mobile",
    "phone.home": "Home phone",
    "address.home": "Home address",
    "address.post": "Postal address",
    "language.preferred": "Language",
    "contact.channel": "Contact by",
}
_ORDER = list(_LABELS)
_STATES = {
    "active": ("Sharing", "ok"),
    "paused": ("Paused", "hold"),
    "withdrawn": ("Stopped – we must delete", "stop"),
    "ended": ("Ended by us – we must delete", "stop"),
    "expired": ("Ran out – we must delete", "stop"),
    "refused": ("Declined", "stop"),
}
_RESULTS = {
    "received": "answered and opened",
    "consent-paused": "paused by the person",
    "consent-withdrawn": "stopped by the person",
    "consent-expired": "ran out",
    "consent-ended": "ended by us",
    "consent-absent": "not shared with us",
    "not-found": "not known to the portal",
}
_DAY = 86_400


def label(name: str) -> str:
    return _LABELS.get(name, name)


def rank(detail: dict[str, Any]) -> int:
    name = detail["name"]
    return _ORDER.index(name) if name in _ORDER else len(_ORDER)


def state(person: dict[str, Any]) -> tuple[str, str]:
    """Return the state of consent in words, and the tone to show it in."""
    words, tone = _STATES.get(person["state"], (person["state"], "hold"))
    done = person["erasure"] and person["erasure"]["erased_at"]
    return (words.replace("we must delete", "deleted") if done else words), tone


def result(code: str) -> str:
    return _RESULTS.get(code, code)


def name(person: dict[str, Any]) -> str:
    """Return what to call a customer: their name while we may know it, else the start of their number."""
    for detail in person["details"]:
        if detail["name"] == "name.full" and isinstance(detail["value"], str):
            return detail["value"]
    return f"Customer {person['sub'][:6]}"


def lines(value: object) -> list[str]:
    """Return a value as lines to show; an address has several."""
    if value is None:
        return ["removed by the person"]
    if isinstance(value, dict):
        formatted = value.get("formatted") or "\n".join(str(part) for part in value.values())
        return str(formatted).splitlines()
    return [str(value)]


def day(moment: str) -> str:
    """Return the day of a time as the portal writes it (ISO 8601): "22 December 2026"."""
    return datetime.fromisoformat(moment).astimezone().strftime("%-d %B %Y")


def still_right(detail: dict[str, Any]) -> str:
    """Return the day on which a customer looked at a detail again and called it right; empty where they have not."""
    confirmed, changed = detail["confirmed_at"], detail["changed_at"]
    return day(confirmed) if confirmed and changed and confirmed > changed else ""


def clock(moment: float) -> str:
    """Return a time of day for today, else the day as well."""
    pattern = "%H:%M:%S" if time.time() - moment < _DAY else "%-d %B %Y, %H:%M"
    return time.strftime(pattern, time.localtime(moment))

"""How an organisation has done so far, in plain words: beside its question, and on its page in the register."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from flask import render_template

from portal.companies import queries as companies
from portal.sync import conduct
from portal.web.context import now, session

if TYPE_CHECKING:
    from uuid import UUID

# The width of the little picture, in its own units.
_WIDE: Final = 200
_UNITS: Final = (
    (timedelta(days=2), timedelta(days=1), "days"),
    (timedelta(hours=2), timedelta(hours=1), "hours"),
    (timedelta(minutes=2), timedelta(minutes=1), "minutes"),
)


def conduct_slot(*, client_id: str = "", company_id: UUID | None = None, name: str = "") -> str:
    """Return what the portal has seen of a company, or of the one that an app belongs to; empty for nobody's."""
    client = companies.client(session(), client_id) if company_id is None else None
    company_id = client.company_id if client else company_id
    if company_id is None:
        return ""
    found = conduct.of_company(session(), company_id=company_id, now=now())
    looks = found.looks
    filled = min(_WIDE, round(_WIDE * (looks.used or 0) / looks.allowed)) if looks and looks.allowed else 0
    return render_template(
        "sync/_conduct.html",
        conduct=found,
        soon=in_words(found.changes.median) if found.changes.median is not None else "",
        most=conduct.MOST_COUNTED,
        name=name or (client.company_name if client else ""),
        wide=_WIDE,
        filled=filled,
    )


def in_words(took: timedelta) -> str:
    """Return "1 second", "12 seconds", "5 minutes", "3 hours" or "4 days", rounded up: nobody is praised for less."""
    for least, unit, words in _UNITS:
        if took >= least:
            return f"{-(-took // unit)} {words}"
    seconds = max(1, -(-took // timedelta(seconds=1)))
    return f"{seconds} second{'' if seconds == 1 else 's'}"

"""Activity: who used a person's details."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from babel.dates import format_date
from flask import Blueprint, render_template, request

from portal.errors import InvalidError, NotFoundError
from portal.ledger import queries, rules
from portal.web import cursor
from portal.web.access import person_id, person_required
from portal.web.context import session
from portal.web.dates import ZONE
from portal.web.pages import page

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flask import Response

    from portal.ledger.queries import Entry

pages = Blueprint("ledger", __name__)

PAGE = 50
RECENT = 5


@pages.app_template_filter()
def month_value(first: datetime) -> str:
    """Return "2026-11" as the filter by month sends it."""
    return f"{first.astimezone(ZONE):%Y-%m}"


@pages.app_template_filter()
def month_name(first: datetime) -> str:
    """Return "November 2026"."""
    return format_date(first.astimezone(ZONE), "LLLL y", locale="en_GB")


@dataclass(frozen=True, kw_only=True)
class Line:
    """One row as it is shown; `full` where refusals like it are not all listed for a day after it."""

    entry: Entry
    attributes: Sequence[str]
    how: str
    outcome: str
    tone: str
    full: bool


@dataclass(frozen=True, kw_only=True)
class Filters:
    """What the person narrowed the list to."""

    company_id: UUID | None
    grant_id: UUID | None
    month: str

    @property
    def any(self) -> bool:
        return bool(self.company_id or self.grant_id or self.month)

    def arguments(self) -> dict[str, str]:
        """Return them as the query of an address, without those that are not set."""
        named = {"organisation": self.company_id, "sharing": self.grant_id, "month": self.month}
        return {name: str(value) for name, value in named.items() if value}


@pages.get("/activity")
@person_required
def activity() -> Response:
    filters = _filters()
    entries = queries.of_person(
        session(),
        person_id=person_id(),
        limit=PAGE + 1,
        before=cursor.before(),
        company_id=filters.company_id,
        grant_id=filters.grant_id,
        month=_span(filters.month) if filters.month else None,
    )
    shown = entries[:PAGE]
    return page(
        "ledger/activity.html",
        "list",
        lines=_lines(shown),
        older=_after(shown[-1]) if len(entries) > PAGE else None,
        continued="before" in request.args,
        filters=filters,
        organisations=queries.companies_of_person(session(), person_id=person_id()),
        months=queries.months_of_person(session(), person_id=person_id(), zone=ZONE.key),
    )


@pages.get("/activity/<uuid:disclosure_id>")
@person_required
def entry(disclosure_id: UUID) -> Response:
    found = queries.one(session(), person_id=person_id(), disclosure_id=disclosure_id)
    if found is None:
        raise NotFoundError
    [line] = _lines([found])
    return page("ledger/entry.html", line=line)


def recent_uses_slot() -> str:
    """Return the last few uses of a person's details, in one query."""
    entries = queries.of_person(session(), person_id=person_id(), limit=RECENT, decisions=False)
    return render_template("ledger/_recent.html", lines=_lines(entries))


def _lines(entries: Sequence[Entry]) -> list[Line]:
    filled = queries.filled(session(), person_id=person_id(), entries=entries)
    return [_line(entry, full=entry.disclosure_id in filled) for entry in entries]


def _line(entry: Entry, *, full: bool) -> Line:
    return Line(
        entry=entry,
        attributes=list(entry.given) or entry.asked,
        how=rules.how(entry.channel, entry.reason),
        outcome=rules.outcome(entry.channel, entry.outcome, entry.reason),
        tone=rules.tone(entry.channel, entry.outcome),
        full=full,
    )


def _filters() -> Filters:
    return Filters(
        company_id=_id("organisation"),
        grant_id=_id("sharing"),
        month=request.args.get("month", ""),
    )


def _id(name: str) -> UUID | None:
    given = request.args.get(name, "")
    try:
        return UUID(given) if given else None
    except ValueError:
        raise InvalidError("Choose from the list on the Activity page.", pointer=f"/{name}") from None


def _span(month: str) -> tuple[datetime, datetime]:
    try:
        first = datetime.strptime(month, "%Y-%m").replace(tzinfo=ZONE)
        following = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
    except ValueError:
        raise InvalidError("Choose a month from the list on the Activity page.", pointer="/month") from None
    return first, following


def _after(entry: Entry) -> str:
    return cursor.after(entry.at, entry.disclosure_id)

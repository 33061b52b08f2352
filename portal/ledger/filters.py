"""What a person narrows their activity to: in the address, so that a link keeps it and the back button knows it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID

from flask import request

from portal.errors import InvalidError
from portal.ledger.queries import Wanted
from portal.web.dates import ZONE

if TYPE_CHECKING:
    from collections.abc import Collection

_ON: Final = "1"


@dataclass(frozen=True, kw_only=True)
class Filters:
    """What the person chose; `own` where their own decisions are to be there, too."""

    company_id: UUID | None
    grant_id: UUID | None
    attribute: str
    month: str
    own: bool

    @property
    def any(self) -> bool:
        return bool(self.company_id or self.grant_id or self.attribute or self.month)

    def arguments(self, **others: str) -> dict[str, str]:
        """Return them as the query of an address, without those that are not set; `others` take their places."""
        named = {
            "organisation": self.company_id,
            "sharing": self.grant_id,
            "detail": self.attribute,
            "month": self.month,
            "own": _ON if self.own else "",
        } | others
        return {name: str(value) for name, value in named.items() if value}

    @property
    def wanted(self) -> Wanted:
        return Wanted(
            company_id=self.company_id,
            grant_id=self.grant_id,
            attribute=self.attribute or None,
            month=_span(self.month) if self.month else None,
            decisions=self.own,
        )


def chosen(*, attributes: Collection[str]) -> Filters:
    """Return what the address says; raises `InvalidError` for what no page of ours offers."""
    attribute = request.args.get("detail", "")
    if attribute and attribute not in attributes:
        raise InvalidError("Choose a detail from the list on the Activity page.", pointer="/detail")
    return Filters(
        company_id=_id("organisation"),
        grant_id=_id("sharing"),
        attribute=attribute,
        month=request.args.get("month", ""),
        own=request.args.get("own") == _ON,
    )


def months(first: datetime, last: datetime) -> list[datetime]:
    """Return the first moment of each month from that of `first` to that of `last`, newest first."""
    month, found = first.astimezone(ZONE).replace(day=1, hour=0, minute=0, second=0, microsecond=0), []
    while month <= last:
        found.append(month)
        month = _following(month)
    return found[::-1]


def _id(name: str) -> UUID | None:
    given = request.args.get(name, "")
    try:
        return UUID(given) if given else None
    except ValueError:
        raise InvalidError("Choose from the list on the Activity page.", pointer=f"/{name}") from None


def _span(month: str) -> tuple[datetime, datetime]:
    try:
        first = datetime.strptime(month, "%Y-%m").replace(tzinfo=ZONE)
        return first, _following(first)
    except ValueError:
        raise InvalidError("Choose a month from the list on the Activity page.", pointer="/month") from None


def _following(month: datetime) -> datetime:
    return month.replace(year=month.year + month.month // 12, month=month.month % 12 + 1)

"""Where a list goes on: the moment and id of the last row shown, in the query's `before` or, oldest first, `after`."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar
from uuid import UUID

from flask import request

from portal.errors import InvalidError
from portal.web.dates import ZONE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Row = TypeVar("Row")


class Part(NamedTuple, Generic[Row]):
    """The rows of one page, and the cursor behind the last of them; None where no more follow."""

    rows: Sequence[Row]
    last: str | None


def part(found: Sequence[Row], size: int, key: Callable[[Row], tuple[datetime, UUID]]) -> Part[Row]:
    """Return the first `size` rows of what was looked up, which is one more where there are more."""
    rows = found[:size]
    return Part(rows, after(*key(rows[-1])) if len(found) > size else None)


def after(at: datetime, row_id: UUID) -> str:
    """Return the cursor behind this row."""
    return f"{at.isoformat()}~{row_id}"


def before() -> tuple[datetime, UUID] | None:
    """Return the cursor that was asked for; raise `InvalidError` for one that no page of ours gave."""
    return _given("before")


def behind() -> tuple[datetime, UUID] | None:
    """Return the cursor in `after`, for what is read oldest first; raise `InvalidError` as `before` does."""
    return _given("after")


def _given(name: str) -> tuple[datetime, UUID] | None:
    given = request.args.get(name, "")
    if not given:
        return None
    at, _, row_id = given.partition("~")
    try:
        moment = datetime.fromisoformat(at)
        return (moment if moment.tzinfo else moment.replace(tzinfo=ZONE)), UUID(row_id)
    except ValueError:
        raise InvalidError("Start again from the first page of this list.", pointer=f"/{name}") from None

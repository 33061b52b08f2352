"""Where a list of the log goes on: the moment and id of the last row shown, in the query's `before`."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from flask import request

from portal.errors import InvalidError
from portal.web.dates import ZONE


def after(at: datetime, row_id: UUID) -> str:
    """Return the cursor behind this row."""
    return f"{at.isoformat()}~{row_id}"


def before() -> tuple[datetime, UUID] | None:
    """Return the cursor that was asked for; raise `InvalidError` for one that no page of ours gave."""
    given = request.args.get("before", "")
    if not given:
        return None
    at, _, row_id = given.partition("~")
    try:
        moment = datetime.fromisoformat(at)
        return (moment if moment.tzinfo else moment.replace(tzinfo=ZONE)), UUID(row_id)
    except ValueError:
        raise InvalidError("Start again from the first page of this list.", pointer="/before") from None

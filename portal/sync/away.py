"""Who a person shares with and cannot be told: what such a company has may be out of date, and its people learn so."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import text

from portal.sync.statements import CLIENT

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.orm import Session

# A company that is away for less than a day has mostly come back before anybody reads of it; what it has got already
# is not out of date.  One that is turned off hears of nothing more, whatever it has.
_AWAY = text(f"""
    SELECT g.grant_id, co.trading_name AS company_name, COALESCE(e.failing_since, e.disabled_at) AS since
      FROM "grant" g JOIN stream e ON e.client_id = g.client_id {CLIENT}
      LEFT JOIN delivery d ON d.person_id = g.person_id AND d.grant_id = g.grant_id
     WHERE g.person_id = :person_id AND g.state = 'active' AND g.mode = 'kept-up-to-date'
       AND (g.expires_at IS NULL OR g.expires_at > clock_timestamp())
       AND (e.state = 'disabled' AND e.disabled_at IS NOT NULL
            OR e.state = 'enabled' AND e.failing_since <= clock_timestamp() - interval '24 hours'
               AND d.generation > d.acked_generation)
     ORDER BY lower(co.trading_name), g.grant_id
""")  # noqa: S608 - put together from constants


class Away(NamedTuple):
    """A company that has accepted no update of what is shared by this grant `since` then."""

    grant_id: UUID
    company_name: str
    since: datetime


def of_person(session: Session, *, person_id: UUID) -> list[Away]:
    """Return by name who a person shares with and has not accepted updates for a day, or no longer does."""
    return [Away(*row) for row in session.execute(_AWAY, {"person_id": person_id})]

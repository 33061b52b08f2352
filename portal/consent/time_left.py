"""How much of a consent's time has gone by, and for how long its person chose to share when they last chose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import text

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.orm import Session

_STARTS: Final = text("""
    SELECT g.grant_id, min(v.at) AS at
      FROM "grant" g JOIN grant_version v ON v.person_id = g.person_id AND v.grant_id = g.grant_id
     WHERE g.person_id = :person_id AND g.state IN ('active', 'paused') AND g.expires_at IS NOT NULL
       AND v.expires_at = g.expires_at AND v.state <> 'requested'
     GROUP BY g.grant_id
""")


def starts(session: Session, *, person_id: UUID) -> dict[UUID, datetime]:
    """Return, for each live grant that ends by itself, since when the time runs that its end was set for."""
    return {row.grant_id: row.at for row in session.execute(_STARTS, {"person_id": person_id})}


def gone(start: datetime, end: datetime, *, now: datetime) -> int:
    """Return how much of the time from `start` to `end` has gone by, in whole per cent."""
    whole = (end - start).total_seconds()
    part = (now - start).total_seconds()
    return min(max(int(100 * part / whole), 0), 100) if whole > 0 else 100


def days(start: datetime, end: datetime) -> int:
    """Return for how many days a person chose to share, one at least."""
    return max(round((end - start).total_seconds() / 86_400), 1)

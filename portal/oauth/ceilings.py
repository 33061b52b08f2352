"""How often a company may look at what one consent shares, on one day (UTC): counted where it is logged.

A look that gives details away is a `pull` and has the ceiling that the person read, or the portal's own.  Asking
whether anything has changed, and hearing that nothing has, is a `check`: it gives nothing away, so it leaves the
looks that are left alone and has the portal's ceiling alone.
"""

from __future__ import annotations

import json
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import text

from portal.errors import PortalError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import Row
    from sqlalchemy.orm import Session

PULL: Final = "pull"
CHECK: Final = "check"
# Details that a company was wrong about when it compared its copy, counted for longer than a day (`sync.drift`).
GUESS: Final = "guess"
GUESSES_COUNT_FOR: Final = timedelta(days=30)
REASON: Final = "too-often"
_DAY_SECONDS: Final = 86_400
# Rows of earlier days count for nothing any more, but for guesses; the night still holds them against the log.
KEPT: Final = timedelta(days=2)
_FORGOTTEN_AT_ONCE = 10_000
# Whoever comes second waits for the row and finds what the first has counted, so nobody exceeds it.
COUNTED: Final = """
    counted AS (
        INSERT INTO grant_use AS u (person_id, grant_id, kind, day, used)
        SELECT :person_id, :grant_id, :kind, :day, 1 FROM fresh, unchanged
            ON CONFLICT (person_id, grant_id, kind, day) DO UPDATE SET used = u.used + 1 WHERE u.used < :ceiling
        RETURNING u.used)"""
_COUNT = text("""
    INSERT INTO grant_use AS u (person_id, grant_id, kind, day, used)
    SELECT a.person_id, a.grant_id, CAST(:kind AS text), CAST(:day AS date), 1
      FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS a(person_id uuid, grant_id uuid, ceiling int)
     WHERE a.ceiling > COALESCE((
               SELECT g.used FROM grant_use g
                WHERE g.person_id = a.person_id AND g.grant_id = a.grant_id
                  AND g.kind = CAST(:kind AS text) AND g.day = CAST(:day AS date)), 0)
     ORDER BY a.person_id, a.grant_id
        ON CONFLICT (person_id, grant_id, kind, day) DO UPDATE SET used = u.used + 1
    RETURNING u.grant_id
""")
_FORGET = text(f"""
    DELETE FROM grant_use
     WHERE ctid = ANY(ARRAY(SELECT ctid FROM grant_use
                             WHERE day < CAST(:day AS date) AND (kind <> '{GUESS}' OR day < CAST(:long_ago AS date))
                             LIMIT :most FOR UPDATE SKIP LOCKED))
""")  # noqa: S608 - put together from constants


class Ceiling(NamedTuple):
    """How often in a day: `declared` by the purpose when the person agreed, and never more than the portal's."""

    most: int
    kind: str = PULL

    def parameters(self, now: datetime) -> dict[str, Any]:
        """Return what `COUNTED` is told of it."""
        return {"kind": self.kind, "ceiling": self.most, "day": day(now)}

    def headers(self, used: int, now: datetime) -> dict[str, str]:
        """Return what is left, as draft-ietf-httpapi-ratelimit-headers-10 has it."""
        left = max(self.most - used, 0)
        return {
            "RateLimit-Policy": f'"{self.kind}";q={self.most};w={_DAY_SECONDS}',
            "RateLimit": f'"{self.kind}";r={left};t={seconds_left(now)}',
        }


class TooOftenError(PortalError):
    """The company has looked as often as it may on this day; the log says so."""

    code = REASON
    status = 429
    public = "You have asked for this person's details as often as you may in one day."

    def __init__(self, ceiling: Ceiling, now: datetime) -> None:
        super().__init__()
        self.headers = {"Retry-After": str(seconds_left(now)), **ceiling.headers(ceiling.most, now)}


def of(declared: int | None, most: int, kind: str = PULL) -> Ceiling:
    """Return the ceiling of a consent that says `declared`, where the portal itself allows `most`."""
    return Ceiling(most if declared is None or kind == CHECK else min(declared, most), kind)


def day(now: datetime) -> str:
    """Return the day that a use at this moment counts for."""
    return now.astimezone(UTC).date().isoformat()


def seconds_left(now: datetime) -> int:
    """Return the seconds until the next day begins, at least one."""
    # Unix time has no leap seconds, so each of its days is one of UTC.
    return _DAY_SECONDS - int(now.timestamp()) % _DAY_SECONDS


def count(session: Session, rows: Iterable[Row[Any]], *, most: int, now: datetime) -> set[UUID]:
    """Count a look at each of the grants in `rows`, which the caller holds; return those that may be looked at."""
    asked = [
        {"person_id": str(row.person_id), "grant_id": str(row.grant_id), "ceiling": of(row.pulls_a_day, most).most}
        for row in rows
    ]
    if not asked:
        return set()
    return set(session.scalars(_COUNT, {"rows": json.dumps(asked), "kind": PULL, "day": day(now)}))


def forget(session: Session, *, now: datetime) -> None:
    """Delete what was counted before yesterday and counts no more, at most 10 000 rows."""
    long_ago = day(now - GUESSES_COUNT_FOR)
    session.execute(_FORGET, {"day": day(now - KEPT), "long_ago": long_ago, "most": _FORGOTTEN_AT_ONCE})

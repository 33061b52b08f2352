"""How a company has conducted itself, from what the portal itself has seen: what people read before they agree.

What takes a look at many rows is gathered once a day, a company at a time; what changes by the hour, and what a
partial index counts, is counted when it is read.  Apps that are only tests say nothing about a company that has others.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import text

from portal.disputes import queries as dispute_queries

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy import Row
    from sqlalchemy.orm import Session

GATHER: Final = "portal.sync.jobs.gather_conduct"
# Fewer say more about these people than about the company.
FEWEST_CHANGES: Final = 20
FEWEST_PEOPLE: Final = 5
# More overdue consents than this are not counted one by one.
MOST_COUNTED: Final = 1000
# Of a large company the newest changes say as much as all of them, and take a second to look at.
MOST_CHANGES: Final = 10_000
_LATELY: Final = timedelta(days=30)
_A_YEAR: Final = timedelta(days=365)
_APPS: Final = """
    SELECT c.client_id FROM client c
     WHERE c.company_id = :company_id
       AND (c.environment = 'live' OR NOT EXISTS (
            SELECT 1 FROM client l WHERE l.company_id = c.company_id AND l.environment = 'live'))"""
# A change counts from the moment it was saved, whatever it waited for, for those who shared already then.
_GATHERED = text(f"""
    WITH app AS MATERIALIZED ({_APPS}),
    said AS MATERIALIZED (
        SELECT r.person_id, r.grant_id, r.sequence, r.applied_at FROM app JOIN receipt r USING (client_id)
         WHERE r.status = 'applied' AND r.generation > 0 AND r.received_at > :lately
         ORDER BY r.received_at DESC LIMIT {MOST_CHANGES}),
    took AS (
        SELECT r.person_id, GREATEST(EXTRACT(EPOCH FROM min(r.applied_at) - saved.at), 0) AS seconds
          FROM said r
          JOIN "grant" g ON g.person_id = r.person_id AND g.grant_id = r.grant_id
         CROSS JOIN LATERAL (
               SELECT min(v.changed_at) AS at FROM value v
                WHERE v.person_id = r.person_id AND v.sequence = r.sequence) saved
         WHERE saved.at >= g.given_at AND saved.at > :lately
         GROUP BY r.person_id, r.grant_id, r.sequence, saved.at),
    look AS (
        SELECT COALESCE(sum(u.used), 0) AS looks, COALESCE(sum(g.pulls_a_day), 0) AS allowed, count(*) AS consents
          FROM app JOIN "grant" g USING (client_id)
          LEFT JOIN grant_use u ON u.person_id = g.person_id AND u.grant_id = g.grant_id AND u.kind = 'pull'
               AND u.day = CAST(:yesterday AS date)
         WHERE g.state = 'active' AND g.pulls_a_day IS NOT NULL AND g.given_at < :midnight)
    INSERT INTO conduct AS k (company_id, gathered_at, changes, people, median_seconds, sends_receipts,
                              asked_to_delete, looks, looks_allowed, looked_at, looks_on)
    SELECT :company_id, :now, t.changes, t.people, t.median,
           EXISTS (SELECT 1 FROM app JOIN stream n USING (client_id) WHERE n.receipts_at > :lately),
           (SELECT count(*) FROM (SELECT DISTINCT d.person_id, d.grant_id FROM app JOIN deletion d USING (client_id)
                                   WHERE d.asked_at > :a_year_ago) asked),
           look.looks, look.allowed, look.consents, CAST(:yesterday AS date)
      FROM look, (SELECT count(*) AS changes, count(DISTINCT person_id) AS people,
                         percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) AS median FROM took) t
        ON CONFLICT (company_id) DO UPDATE
       SET gathered_at = excluded.gathered_at, changes = excluded.changes, people = excluded.people,
           median_seconds = excluded.median_seconds, sends_receipts = excluded.sends_receipts,
           asked_to_delete = excluded.asked_to_delete, looks = excluded.looks,
           looks_allowed = excluded.looks_allowed, looked_at = excluded.looked_at, looks_on = excluded.looks_on
""")  # noqa: S608 - put together from constants
_DUE = text("""
    SELECT co.company_id FROM company co LEFT JOIN conduct k USING (company_id)
     WHERE k.gathered_at IS NULL OR k.gathered_at < :midnight ORDER BY co.company_id LIMIT 1
""")
READ = text(f"""
    SELECT k.*, late.overdue
      FROM (SELECT count(*) AS overdue
              FROM (SELECT DISTINCT d.person_id, d.grant_id FROM ({_APPS}) app JOIN deletion d USING (client_id)
                     WHERE d.state IN ('asked', 'held') AND d.due_at <= :now LIMIT {MOST_COUNTED + 1}) open) late
      LEFT JOIN conduct k ON k.company_id = :company_id
""")  # noqa: S608 - put together from constants


class Changes(NamedTuple):
    """How soon changes are used: half of `number` within `median`, None where there are too few to say.

    `told` says whether the company tells at all what it does with them.
    """

    number: int
    median: timedelta | None
    told: bool


class Looks(NamedTuple):
    """How often the company looked yesterday, of how often the people who set a limit allow it; both None: too few."""

    used: int | None
    allowed: int | None


class Conduct(NamedTuple):
    """What can be said of a company: `overdue` consents of which details should be deleted by now, `asked` in a year.

    `asked` is None where too few asked to say that nobody waits; `looks` is None where no limit was agreed on.
    """

    changes: Changes
    disputes: int
    overdue: int
    asked: int | None
    looks: Looks | None


def of_company(session: Session, *, company_id: UUID, now: datetime) -> Conduct:
    """Return what people are told of a company: one row, and two counts by index."""
    row = session.execute(READ, {"company_id": company_id, "now": now}).one()
    asked = row.asked_to_delete or 0
    return Conduct(
        changes=_changes(row),
        disputes=dispute_queries.open_disputes(session, company_id),
        overdue=row.overdue,
        asked=asked if asked >= FEWEST_PEOPLE else None,
        looks=_looks(row, now),
    )


def due(session: Session, *, now: datetime) -> UUID | None:
    """Return a company whose figures are not of today (UTC); None when all are."""
    found: UUID | None = session.scalar(_DUE, {"midnight": _midnight(now)})
    return found


def gather(session: Session, *, company_id: UUID, now: datetime) -> None:
    """Gather a company's figures anew, of yesterday and the days before it."""
    midnight = _midnight(now)
    session.execute(
        _GATHERED,
        {
            "company_id": company_id, "now": now, "midnight": midnight, "lately": now - _LATELY,
            "a_year_ago": now - _A_YEAR, "yesterday": (midnight - timedelta(days=1)).date(),
        },
    )  # fmt: skip


def _midnight(now: datetime) -> datetime:
    return datetime.combine(now.astimezone(UTC).date(), datetime.min.time(), tzinfo=UTC)


def _changes(row: Row[Any]) -> Changes:
    number, people = row.changes or 0, row.people or 0
    enough = number >= FEWEST_CHANGES and people >= FEWEST_PEOPLE and row.median_seconds is not None
    return Changes(number, timedelta(seconds=row.median_seconds) if enough else None, told=bool(row.sends_receipts))


def _looks(row: Row[Any], now: datetime) -> Looks | None:
    # What was not gathered today is not of yesterday.
    if not row.looked_at or row.looks_on != (_midnight(now) - timedelta(days=1)).date():
        return None
    return Looks(row.looks, row.looks_allowed) if row.looked_at >= FEWEST_PEOPLE else Looks(None, None)

"""Which version of each detail every company was given, by the log: what it holds, as far as anybody here can know."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.orm import Session

# A version that was given may have been sent often: it is held since the first time.  What failed did not arrive, nor
# did what was held back, and what nobody has answered for may have.
_GIVEN = text("""
    SELECT DISTINCT ON (grant_id, attribute, arrived) grant_id, attribute, arrived, version, at
      FROM (SELECT d.grant_id, e.key AS attribute, CAST(e.value AS int) AS version, d.at,
                   d.outcome = 'completed' OR COALESCE(o.completed, false) AS arrived,
                   COALESCE(o.failed, false) AS failed
              FROM disclosure d
              LEFT JOIN LATERAL (
                   SELECT bool_or(outcome = 'completed') AS completed,
                          bool_or(outcome IN ('failed', 'suppressed')) AS failed
                     FROM disclosure_outcome o
                    WHERE o.person_id = d.person_id AND o.at = d.at AND o.disclosure_id = d.disclosure_id) o ON true
             CROSS JOIN jsonb_each_text(d.given) AS e(key, value)
             WHERE d.person_id = :person_id AND d.grant_id IS NOT NULL AND d.given <> '{}'
               AND d.outcome NOT IN ('denied', 'suppressed')) told
     WHERE arrived OR NOT failed
     ORDER BY grant_id, attribute, arrived, version DESC, at
""")
# What a company asked or was sent, and also what it only checked: it uses what it has.  Refusals are no use.
_LAST_ASKED = text("""
    SELECT asked.person_id, asked.grant_id, last.at
      FROM unnest(CAST(:person_ids AS uuid[]), CAST(:grant_ids AS uuid[])) AS asked(person_id, grant_id)
     CROSS JOIN LATERAL (
           SELECT max(d.at) AS at FROM disclosure d
            WHERE d.person_id = asked.person_id AND d.grant_id = asked.grant_id
              AND d.channel NOT IN ('consent', 'notice') AND d.outcome <> 'denied') last
     WHERE last.at IS NOT NULL
""")


class Given(NamedTuple):
    """The newest version of a detail that was given under a grant, and when that was given first.

    `arrived` says that the company has it; else it was sent, and nobody knows whether it came.
    """

    grant_id: UUID
    attribute: str
    version: int
    at: datetime
    arrived: bool


def of_person(session: Session, *, person_id: UUID) -> list[Given]:
    """Return what was given of a person: for each grant and detail the newest version that arrived, and that may have.

    A version that may have arrived counts only where it is newer than the one that has.
    """
    rows = session.execute(_GIVEN, {"person_id": person_id}).all()
    known = {(row.grant_id, row.attribute): row.version for row in rows if row.arrived}
    return [
        Given(row.grant_id, row.attribute, row.version, row.at, row.arrived)
        for row in rows
        if row.arrived or row.version > known.get((row.grant_id, row.attribute), 0)
    ]


def last_asked(session: Session, *, grants: Sequence[tuple[UUID, UUID]]) -> dict[tuple[UUID, UUID], datetime]:
    """Return when something was sent or asked last under each of `grants`, (person_id, grant_id), if ever."""
    if not grants:
        return {}
    values = {"person_ids": [person_id for person_id, _ in grants], "grant_ids": [grant_id for _, grant_id in grants]}
    return {(row.person_id, row.grant_id): row.at for row in session.execute(_LAST_ASKED, values)}

"""What was on its way to a company when somebody paused or stopped sharing, and what became of it.

Nothing is noted for it at that moment: the disclosure log says it.  Whatever sends has logged and committed before
it sends, under the consent as it was, and holds that still while it logs; so when the stop is committed, all that
could still leave stands in the log without an outcome, and nothing is added to it afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.orm import Session

# Nothing waits longer for its outcome than the result of a batch pull, which is kept for a day.
_UNDER_WAY = text("""
    SELECT d.at, d.channel, o.outcome, o.reported_at
      FROM disclosure d
      LEFT JOIN LATERAL (
          SELECT o.outcome, o.reported_at FROM disclosure_outcome o
           WHERE o.person_id = d.person_id AND o.at = d.at AND o.disclosure_id = d.disclosure_id
           ORDER BY o.outcome = 'completed' DESC, o.reported_at DESC LIMIT 1) o ON true
     WHERE d.person_id = :person_id AND d.grant_id = :grant_id
       AND d.at > CAST(:halted_at AS timestamptz) - interval '2 days'
       AND d.outcome = 'sending' AND d.given <> '{}'
       AND NOT EXISTS (
          SELECT 1 FROM disclosure_outcome e
           WHERE e.person_id = d.person_id AND e.at = d.at AND e.disclosure_id = d.disclosure_id
             AND e.reported_at <= :halted_at)
     ORDER BY d.at, d.disclosure_id
""")


@dataclass(frozen=True, kw_only=True)
class UnderWay:
    """One message with details that was under way; `outcome` is empty until it is known, `at` when it was logged.

    One by `batch` lay ready to be fetched, and whoever fetches it now gets a refusal instead.
    """

    at: datetime
    channel: str
    outcome: str
    reported_at: datetime | None

    @property
    def open(self) -> bool:
        """Whether more may be known of it later."""
        return not self.outcome and self.channel != "batch"


def at_halt(session: Session, *, person_id: UUID, grant_id: UUID, halted_at: datetime) -> Sequence[UnderWay]:
    """Return what was under way when a person paused or stopped at `halted_at`, oldest first.

    Ask only while it is paused or over: what set out after sharing was resumed is no part of it.
    """
    values = {"person_id": person_id, "grant_id": grant_id, "halted_at": halted_at}
    rows = session.execute(_UNDER_WAY, values)
    return [
        UnderWay(at=row.at, channel=row.channel, outcome=row.outcome or "", reported_at=row.reported_at) for row in rows
    ]

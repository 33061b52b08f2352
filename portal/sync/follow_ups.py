"""What followed a message that was not received: tried again, overtaken by a newer one, stopped first, or still owed.

A row of the log says of one try what became of it, and that stays true.  What followed changes with time, so nothing
is kept of it: it follows from the later rows of the same sharing, and from the outbox where there are none.
"""

from __future__ import annotations

import json
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text

if TYPE_CHECKING:
    from collections.abc import Collection
    from uuid import UUID

    from sqlalchemy import Row
    from sqlalchemy.orm import Session

    from portal.ledger.queries import Entry

_LEFT_OPEN: Final = frozenset({"failed", "unknown", "suppressed"})
_TOLD: Final = frozenset({"push", "poll", "notice"})
# A sharing's later rows: what it was told next, and whatever put an end to its being told.
_NEXT: Final = text("""
    WITH shown AS (
        SELECT * FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS s(disclosure_id uuid, grant_id uuid, at timestamptz)),
    later AS (
        SELECT disclosure_id, grant_id, message_id,
               lead(channel) OVER following AS channel, lead(reason) OVER following AS reason,
               lead(message_id) OVER following AS next_message
          FROM disclosure
         WHERE person_id = :person_id AND grant_id IN (SELECT grant_id FROM shown)
           AND at >= (SELECT min(at) FROM shown)
           AND (channel IN ('push', 'poll', 'notice')
                OR (channel = 'consent'
                    AND reason IN ('paused', 'frozen', 'unused', 'withdrawn', 'ended', 'taken-down', 'expired')))
        WINDOW following AS (PARTITION BY grant_id ORDER BY at, disclosure_id))
    SELECT l.disclosure_id, EXISTS (
               SELECT FROM receipt r WHERE r.person_id = :person_id AND r.grant_id = l.grant_id
                  AND r.jti = l.message_id) AS arrived,
           l.channel, l.reason, l.next_message = l.message_id AS same,
           d.generation > d.acked_generation AS owed, d.held, s.method,
           s.state = 'enabled' AND c.state = 'active' AND co.state <> 'suspended' AS on
      FROM later l JOIN shown USING (disclosure_id)
      LEFT JOIN delivery d ON d.person_id = :person_id AND d.grant_id = l.grant_id
      LEFT JOIN client c ON c.client_id = d.client_id
      LEFT JOIN company co ON co.company_id = c.company_id
      LEFT JOIN stream s ON s.client_id = d.client_id
""")


class FollowUp(Enum):
    """What followed, in words for the person whose details the message was about."""

    ARRIVED = "They have said since that it arrived."
    TRIED_AGAIN = "Tried again later."
    NEWER = "A newer message took its place."
    PAUSED = "You paused sharing, so it was not tried again."
    FROZEN = "You froze all sharing, so it was not tried again."
    UNUSED = "Nobody had used it for a year and it was paused, so it was not tried again."
    WITHDRAWN = "You stopped sharing, so it was not tried again."
    ENDED = "They ended it, so it was not tried again."
    TAKEN_DOWN = "We ended it, so it was not tried again."
    EXPIRED = "The time you agreed to was over, so it was not tried again."
    TRYING = "We try again."
    HELD = "They refused it. We try again in about a day, or as soon as there is something newer."
    COLLECTED = "It waits until they collect it."
    OFF = "Nothing is sent to them now. They get your newest details when they accept updates again."
    NOTHING_LEFT = "Not tried again: there was nothing left to tell them."


_STEPS: Final = {
    "paused": FollowUp.PAUSED, "frozen": FollowUp.FROZEN, "unused": FollowUp.UNUSED,
    "withdrawn": FollowUp.WITHDRAWN, "ended": FollowUp.ENDED, "taken-down": FollowUp.TAKEN_DOWN,
    "expired": FollowUp.EXPIRED,
}  # fmt: skip


def of_entries(session: Session, *, person_id: UUID, entries: Collection[Entry]) -> dict[UUID, FollowUp]:
    """Return, by its `disclosure_id`, what followed each of a person's `entries` that was sent and not received."""
    rows = [
        {"disclosure_id": str(entry.disclosure_id), "grant_id": str(entry.grant_id), "at": entry.at.isoformat()}
        for entry in entries
        if entry.grant_id and entry.channel in _TOLD and entry.outcome in _LEFT_OPEN
    ]
    found = session.execute(_NEXT, {"person_id": person_id, "rows": json.dumps(rows)}) if rows else ()
    return {row.disclosure_id: _follow_up(row) for row in found}


def _follow_up(row: Row[Any]) -> FollowUp:
    if row.arrived:
        return FollowUp.ARRIVED
    if row.channel == "consent":
        return _STEPS[row.reason]
    if row.channel is not None:
        return FollowUp.TRIED_AGAIN if row.same else FollowUp.NEWER
    return _by_the_outbox(row) if row.owed else FollowUp.NOTHING_LEFT


def _by_the_outbox(row: Row[Any]) -> FollowUp:
    if not row.on:
        return FollowUp.OFF
    if row.method == "poll":
        return FollowUp.COLLECTED
    return FollowUp.HELD if row.held else FollowUp.TRYING

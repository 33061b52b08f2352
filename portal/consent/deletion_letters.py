"""Letters to companies about what they are to delete: a week before it is due, and when the day has passed.

They name an app and numbers, and nobody: who it is about stands on the company's own page (`/org/deletions`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text

from portal.companies import letters
from portal.companies import queries as companies
from portal.companies.letters import Words
from portal.consent import deletion_rules as rules
from portal.consent import deletions
from portal.db import now as clock

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Row
    from sqlalchemy.orm import Session

    from portal.config import Settings

DUE, OVERDUE = "deletion_due", "deletion_overdue"
KINDS: Final = (DUE, OVERDUE)
_AT_ONCE: Final = 1000
_WARNED = {DUE: 1, OVERDUE: 2}
# Each detail is noted once for each of the two letters, so that looking again finds only what is new.
_NOTE = text("""
    WITH found AS (
        SELECT person_id, grant_id, attribute FROM deletion
         WHERE state IN ('asked', 'held') AND warned < 2 AND warned < :warned AND due_at <= :before
         ORDER BY due_at LIMIT :most FOR UPDATE SKIP LOCKED)
    UPDATE deletion d SET warned = :warned FROM found f
     WHERE d.person_id = f.person_id AND d.grant_id = f.grant_id AND d.attribute = f.attribute
    RETURNING d.client_id
""")


def write_due(session: Session, *, now: datetime) -> None:
    """Write to each company whose day is a week off, or has passed; one letter of a kind about an app in a day."""
    for kind, before in ((OVERDUE, now), (DUE, now + rules.WARNED_BEFORE)):
        noted = session.scalars(_NOTE, {"warned": _WARNED[kind], "before": before, "most": _AT_ONCE})
        for client_id in sorted(set(noted)):
            once = f"{client_id} {kind} {now.date().isoformat()}"
            letters.write_once(session, client_id=client_id, kind=kind, about={}, once=once, most=1)


def words(session: Session, row: Row[Any], settings: Settings) -> Words | None:
    """Word a letter as things stand when it is sent; None when there is nothing left to say."""
    client, now = companies.client(session, row.client_id), clock()
    if client is None:
        return None
    counted = deletions.counts(session, client_ids=[client.client_id], now=now, soon=now + rules.WARNED_BEFORE)
    number = counted[deletions.OVERDUE] if row.kind == OVERDUE else counted[deletions.SOON]
    if not number:
        return None
    page = f"{settings.url}/org/deletions?state={deletions.OVERDUE if row.kind == OVERDUE else deletions.OPEN}"
    return Words(row.kind, {"app": client.name, "number": number, "page": page})

"""Keeping what was handed to companies, for their staff: each try as it was signed, without a value in it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import orjson
from sqlalchemy import text

from portal.db import Prepared
from portal.ledger import services as ledger

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.orm import Session

KEPT = timedelta(days=30)
_TRIED: Final = """
        SELECT * FROM json_to_recordset(CAST(:rows AS json)) AS row(
           client_id text, at timestamptz, attempt_id uuid, jti text, person_id uuid, grant_id uuid, generation int,
           sequence int, grant_version int, channel text, kinds jsonb, outcome text, status int, milliseconds int,
           detail text, payload text)"""
_KEEP: Final = """
    INSERT INTO attempt (client_id, at, attempt_id, jti, person_id, grant_id, generation, sequence, grant_version,
                         channel, kinds, outcome, status, milliseconds, detail, payload)
    SELECT client_id, at, attempt_id, jti, person_id, grant_id, generation, sequence, grant_version,
           channel, kinds, outcome, status, milliseconds, detail, payload
      FROM tried ON CONFLICT DO NOTHING"""
_RECORD = Prepared("record_attempts", f"WITH tried AS ({_TRIED}) {_KEEP}")
_REPORTED: Final = ledger.REPORT.format(disclosure_id="attempt_id", rows="tried")
_REPORT = Prepared("report_attempts", f"WITH tried AS MATERIALIZED ({_TRIED}), reported AS ({_REPORTED}) {_KEEP}")
# More than are sent between two sweeps, so that the table does not grow for ever.
_FORGET = text("""
    DELETE FROM attempt WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM attempt WHERE at < :before LIMIT 100000))
""")


# Not frozen, as that takes twice as long to make and there is one for each message; so are the rows of the log.
@dataclass(kw_only=True, slots=True)
class NewAttempt:
    """One try of one message; `attempt_id` and `at` are those of its row in the disclosure log, where it has one."""

    client_id: str
    at: datetime
    attempt_id: UUID
    jti: str
    channel: str
    kinds: Sequence[str]
    outcome: str
    detail: str = ""
    milliseconds: int = 0
    status: int | None = None
    payload: str = ""
    person_id: UUID | None = None
    grant_id: UUID | None = None
    generation: int | None = None
    sequence: int | None = None
    grant_version: int | None = None


def record(session: Session, *rows: NewAttempt) -> None:
    """Keep `rows` in one statement; the same try said twice is kept once."""
    if rows:
        _RECORD.within(session, {"rows": orjson.dumps(rows).decode()})


def report(session: Session, *rows: NewAttempt, now: datetime) -> None:
    """Keep tries that are over as `record` does, and say in the log what became of those that are about a person."""
    if rows:
        _REPORT.within(session, {"rows": orjson.dumps(rows).decode(), "now": now})


def forget(session: Session, *, now: datetime) -> None:
    """Delete what is older than thirty days, some of it each time."""
    session.execute(_FORGET, {"before": now - KEPT})

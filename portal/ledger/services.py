"""Writing to the disclosure log: rows before the bytes leave, outcomes after."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import orjson
from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert

from portal.db import Prepared, new_id
from portal.ledger.models import DisclosureContext
from portal.ledger.refusals import ROOM

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlalchemy.orm import Session

MONTHS_AHEAD = 3

# One statement with one parameter, however many rows: the driver neither loops nor builds long SQL.
# A refusal by the person is a step of theirs, and never one too many.
_RECORD = Prepared("record_disclosures", f"""
    INSERT INTO disclosure (person_id, at, disclosure_id, context_id, grant_id, grant_version,
                            channel, outcome, reason, asked, given, message_id, sealed_to)
    SELECT person_id, at, disclosure_id, context_id, grant_id, grant_version,
           channel, outcome, reason, asked, given, message_id, NULLIF(sealed_to, '[]')
      FROM json_to_recordset(CAST(:rows AS json)) AS n(
           person_id uuid, at timestamptz, disclosure_id uuid, context_id uuid, grant_id uuid, grant_version int,
           channel text, outcome text, reason text, asked jsonb, given jsonb, message_id text,
           sealed_to jsonb)
     WHERE outcome <> 'denied' OR channel = 'consent' OR
           {ROOM.format(person_id="n.person_id", context_id="n.context_id", at="n.at")}
""")  # fmt: skip  # noqa: S608 - put together from constants
# What became of those of `rows` that are about a person, for whoever writes more of them in the same statement.
REPORT: Final = """
    INSERT INTO disclosure_outcome (person_id, at, disclosure_id, outcome, reported_at, detail, milliseconds)
    SELECT person_id, at, {disclosure_id}, outcome, CAST(:now AS timestamptz), detail, milliseconds
      FROM {rows} WHERE person_id IS NOT NULL ON CONFLICT DO NOTHING"""
_OUTCOMES = """json_to_recordset(CAST(:rows AS json)) AS row(
           person_id uuid, at timestamptz, disclosure_id uuid, outcome text, detail text, milliseconds int)"""
_REPORT = Prepared("report_outcomes", REPORT.format(disclosure_id="disclosure_id", rows=_OUTCOMES))


@dataclass(kw_only=True)
class NewDisclosure:
    """One row to log; `asked` names attributes, `given` maps each disclosed one to its version.

    `channel` is as `Disclosure` says.  `outcome` is `sending` when a
    `NewOutcome` follows, else `completed`, `denied` or `suppressed`.  `at` and `disclosure_id` together
    find the row again.  `sealed_to` names the keys that what is given is sealed to.
    """

    person_id: UUID
    at: datetime
    context_id: UUID
    channel: str
    outcome: str
    asked: Sequence[str]
    given: Mapping[str, int]
    grant_id: UUID | None = None
    grant_version: int | None = None
    reason: str | None = None
    message_id: str | None = None
    sealed_to: Sequence[str] = ()
    disclosure_id: UUID = field(default_factory=new_id)


@dataclass(kw_only=True)
class NewOutcome:
    """What became of a row that was `sending`: `completed`, `failed` or `unknown`.

    `detail` is for the company's staff (a status, an error's name), never a value; `milliseconds` is how
    long the exchange took.
    """

    person_id: UUID
    at: datetime
    disclosure_id: UUID
    outcome: str
    detail: str
    milliseconds: int


def context(session: Session, *, company_id: UUID, client_id: str, company_name: str, purpose: str) -> UUID:
    """Keep the words a disclosure is explained with, once; return their id, a function of the words.

    `purpose` is the sentence the person read, verb first: "send bills to the right address".
    """
    words = {"company_id": company_id, "client_id": client_id, "company_name": company_name, "purpose": purpose}
    digest = sha256(_json({name: str(word) for name, word in words.items()}).encode()).digest()
    context_id = _custom_uuid(digest)
    session.execute(insert(DisclosureContext).values(context_id=context_id, **words).on_conflict_do_nothing())
    return context_id


def record(session: Session, *rows: NewDisclosure) -> None:
    """Log `rows` in one statement; the caller commits before the first byte leaves."""
    if rows:
        _RECORD.within(session, {"rows": _rows(rows)})


def report(session: Session, *rows: NewOutcome, now: datetime) -> None:
    """Add what became of disclosures, in one statement; the same outcome said twice is kept once."""
    if rows:
        _REPORT.within(session, {"rows": _rows(rows), "now": now})


def open_months(session: Session, *, now: datetime) -> None:
    """Make the log's parts for this month and the next three; those that exist are left alone."""
    statement = text("SELECT open_ledger_month(CAST(:now AS timestamptz) + make_interval(months => :ahead))")
    for ahead in range(MONTHS_AHEAD + 1):
        session.execute(statement, {"now": now, "ahead": ahead})


def _custom_uuid(digest: bytes) -> UUID:
    # RFC 9562 section 5.8: version 8 is for identifiers made in a way of one's own.
    number = int.from_bytes(digest[:16])
    return UUID(int=number & ~(0xF << 76) & ~(0x3 << 62) | 8 << 76 | 2 << 62)


def _rows(rows: Sequence[NewDisclosure | NewOutcome]) -> str:
    return orjson.dumps(rows, default=_collection).decode()


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True, default=_collection)


def _collection(value: Any) -> object:  # noqa: ANN401 - json hands over whatever it does not know
    # Sequences and mappings that are no list or dict: tuples inside views, read-only mappings.
    return dict(value) if hasattr(value, "keys") else list(value)

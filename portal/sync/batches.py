"""Answering a pull of many people: a job works through the subjects, some in each transaction.

The job prepares and logs; nothing has left until the company fetches, and the ledger says so.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from sqlalchemy import func, update

from portal import faults
from portal.consent import rules as consent
from portal.consent.rules import Channel, Refusal
from portal.db import new_id
from portal.ledger import services as ledger
from portal.oauth import ceilings
from portal.oauth.statements import standing
from portal.sync import messages, pull_statements, pulls, rules
from portal.sync.models import BatchPull
from portal.vault.keyring import SealBrokenError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import Row
    from sqlalchemy.orm import Session

    from portal.sync.messages import Addressee
    from portal.sync.pulls import Desk

_AT_ONCE = 50
_LEASE_SECONDS = 60.0
_UNKNOWN = "not-found"
_CHANGED = "consent-changed"
# Nobody learns of a question about nobody, nor of one that no key answers.
_UNLOGGED: Final = frozenset({_UNKNOWN, messages.NoKeyError.code})
# A page of results is about as long as this, however long each answer is; memory bears a few times as much.
_PAGE_CHARACTERS = 3_000_000


class Taken(NamedTuple):
    """A batch pull under lease; `epk` is the one-time key that its answers are sealed to as well, if any."""

    pull_id: UUID
    client_id: str
    requested: Sequence[str] | None
    epk: Mapping[str, Any] | None


class Page(NamedTuple):
    """Results in the order they were asked in; `following` is the position after which the next ones are."""

    results: list[dict[str, str]]
    following: int | None


class Counts(NamedTuple):
    """How many subjects of a batch are done, and how."""

    answered: int
    refused: int


class _Answer(NamedTuple):
    """What one subject comes to: the item's new columns, and its ledger row unless the subject is nobody's."""

    item: dict[str, Any]
    row: ledger.NewDisclosure | None


class _Handed(NamedTuple):
    """What a fetch comes to for one subject: the message when there is no `problem`."""

    row: Row[Any]
    problem: str | None

    @property
    def taken_back(self) -> bool:
        return self.problem is not None and self.row.message is not None

    @property
    def result(self) -> dict[str, str]:
        return {"sub": self.row.sub, **({"problem": self.problem} if self.problem else {"message": self.row.message})}


def take(session: Session, *, pull_id: UUID) -> Taken | None:
    """Lease a batch pull by the database's clock; None when it is finished, gone, or somebody else's."""
    values = {"pull_id": pull_id, "lease_seconds": _LEASE_SECONDS}
    row = session.execute(pull_statements.LEASE_PULL, values).one_or_none()
    return Taken(row.pull_id, row.client_id, row.attributes or None, row.epk) if row else None


def following(session: Session, *, waiting: float = 0.0) -> UUID | None:
    """Return the batch pull whose turn it is, of those nobody works at that were asked for `waiting` seconds ago."""
    found: UUID | None = session.scalar(pull_statements.NEXT_PULL, {"seconds": waiting})
    return found


def answer_some(session: Session, taken: Taken, desk: Desk, *, most: int) -> bool:
    """Answer the next subjects; False when none is left.  Each counts as a look, of `most` a day at the most.

    A subject whose consent changed between reading and holding it is left for the next round.
    """
    values = {"pull_id": taken.pull_id, "client_id": taken.client_id, "grant_id": None, "limit": _AT_ONCE}
    rows = session.execute(pull_statements.BATCH, values).all()
    held = _hold(session, rows)
    steady = [row for row in rows if row.grant_id is None or held.get(row.grant_id) == row.grant_version]
    cases = [_case(session, row, taken, desk) for row in steady]
    counted = ceilings.count(session, [case.row for case in cases if case.problem is None], most=most, now=desk.now)
    answers = [_answer(session, case, desk, within=case.row.grant_id in counted) for case in cases]
    ledger.record(session, *(answer.row for answer in answers if answer.row))
    items = json.dumps([answer.item for answer in answers])
    session.execute(pull_statements.ANSWER_ITEMS, {"pull_id": taken.pull_id, "rows": items})
    faults.reach("batch.answered")
    return bool(rows)


def counts(session: Session, *, pull_id: UUID) -> Counts:
    """Return how far a batch pull is."""
    row = session.execute(pull_statements.COUNT_ITEMS, {"pull_id": pull_id}).one()
    return Counts(row.answered, row.refused)


def results(session: Session, *, pull: BatchPull, after: int, now: datetime) -> Page:
    """Return `{"sub", "message"}` or `{"sub", "problem"}` for each subject after a position, as many as fit a page.

    Consent is looked at again: what was prepared for somebody who has stopped since is refused for good, and its
    message forgotten.  With its last page it is fetched, and kept for another hour only.  The caller commits what the
    ledger is told here before it sends.
    """
    values: dict[str, Any] = {"pull_id": pull.pull_id, "after": after, "most": _PAGE_CHARACTERS}
    last = session.scalars(pull_statements.PAGE, values).one()
    values["upto"] = after if last is None else last
    session.execute(pull_statements.HOLD_PREPARED, values)
    handed = [_handed(row, now) for row in session.execute(pull_statements.PREPARED, values)]
    refused = [{"position": each.row.position, "problem": each.problem} for each in handed if each.taken_back]
    if refused:
        session.execute(pull_statements.REFUSE_ITEMS, values | {"rows": json.dumps(refused)})
    ledger.report(session, *(_outcome(each, now) for each in handed if each.row.message), now=now)
    more = values["upto"] < pull.total - 1
    if not more:
        session.execute(pull_statements.FETCHED, {"pull_id": pull.pull_id, "until": now + rules.FETCHED_KEPT})
    return Page([each.result for each in handed], values["upto"] if more else None)


def expire(session: Session, *, now: datetime) -> None:
    """Forget the results whose time is over, and say of each answer nobody fetched that it did not arrive."""
    session.execute(pull_statements.FORGET_OLD_PULLS, {"now": now})
    old = {"pull_ids": list(session.scalars(pull_statements.OLD_PULLS, {"now": now}))}
    if not old["pull_ids"]:
        return
    unfetched = session.execute(pull_statements.UNFETCHED, old).all()
    ledger.report(session, *(_never_fetched(row) for row in unfetched), now=now)
    session.execute(pull_statements.FORGET_PULLS, old)


def _hold(session: Session, rows: Sequence[Row[Any]]) -> dict[UUID, int]:
    granted = [row for row in rows if row.grant_id is not None]
    values = {"person_ids": [row.person_id for row in granted], "grant_ids": [row.grant_id for row in granted]}
    return (
        {row.grant_id: row.version for row in session.execute(pull_statements.HOLD_GRANTS, values)} if granted else {}
    )


class _Case(NamedTuple):
    """One subject of a batch before anything is sealed: what may be told to whom, or the `problem` with it."""

    row: Row[Any]
    asked: Sequence[str]
    names: Sequence[str]
    to: Addressee
    problem: str | None


def _case(session: Session, row: Row[Any], taken: Taken, desk: Desk) -> _Case:
    to = pulls.addressee(row, row.sub, taken.epk)
    if row.grant_id is None:
        problem = _UNKNOWN if row.subject_person is None else Refusal.NO_CONSENT
        return _Case(row, sorted(taken.requested or ()), (), to, problem)
    decision = pulls.decide(session, row, requested=taken.requested, channel=Channel.BATCH, now=desk.now)
    names = pulls.held(row, decision)
    return _Case(row, pulls.asked(row, taken.requested), names, to, decision.refusal or _unsealable(to, names))


def _unsealable(to: Addressee, names: Sequence[str]) -> str | None:
    return None if to.keys and pulls.sealable(to, names) else messages.NoKeyError.code


def _answer(session: Session, case: _Case, desk: Desk, *, within: bool) -> _Answer:
    problem = case.problem or (None if within else ceilings.REASON)
    if problem in _UNLOGGED:
        return _Answer(_item(case.row, problem=problem), None)
    logged = _row(case.row, _context(session, case.row), case.asked, desk.now, problem)
    if problem:
        return _Answer(_item(case.row, problem=problem), logged)
    return _sealed(case, logged, desk)


def _sealed(case: _Case, logged: ledger.NewDisclosure, desk: Desk) -> _Answer:
    row = case.row
    try:
        message = pulls.message(row, case.names, desk, to=case.to, jti=logged.disclosure_id.hex)
    except SealBrokenError as error:
        return _Answer(_item(row, problem=error.code), None)
    given = {name: row.entries[name]["version"] for name in case.names}
    logged = replace(logged, given=given, sealed_to=messages.sealed_to(case.to, case.names))
    return _Answer(_item(row, message=message) | _place(logged), logged)


def _context(session: Session, row: Row[Any]) -> UUID:
    if row.grant_id is not None:
        return cast("UUID", row.context_id)
    return ledger.context(
        session, company_id=row.company_id, client_id=row.asking_client, company_name=row.trading_name, purpose=""
    )


def _item(row: Row[Any], *, problem: str | None = None, message: str | None = None) -> dict[str, Any]:
    state = "answered" if message else "refused"
    return {"position": row.position, "state": state, "problem": problem, "message": message}


def _place(logged: ledger.NewDisclosure) -> dict[str, str]:
    """Where the ledger's row of an answer is found again."""
    return {
        "person_id": str(logged.person_id), "disclosed_at": logged.at.isoformat(),
        "disclosure_id": str(logged.disclosure_id),
    }  # fmt: skip


def _row(
    row: Row[Any], context_id: UUID, asked: Sequence[str], now: datetime, refusal: str | None
) -> ledger.NewDisclosure:
    disclosure_id = new_id()
    return ledger.NewDisclosure(
        person_id=row.subject_person,
        at=now,
        disclosure_id=disclosure_id,
        context_id=context_id,
        grant_id=row.grant_id,
        grant_version=row.grant_version,
        channel="batch",
        outcome="denied" if refusal else "sending",
        reason=refusal,
        asked=asked,
        given={},
        message_id=disclosure_id.hex,
    )


def _handed(row: Row[Any], now: datetime) -> _Handed:
    if row.message is None:
        return _Handed(row, row.problem or _UNKNOWN)
    # Not `used`: what is handed out here is the one use that such a grant allows.
    decision = consent.decide(
        standing(row), client_id=row.client_id or "", channel=Channel.BATCH, requested=None, now=now
    )
    if decision.refusal:
        return _Handed(row, decision.refusal)
    return _Handed(row, None if set(row.given) <= set(decision.attributes) else _CHANGED)


def _outcome(handed: _Handed, now: datetime) -> ledger.NewOutcome:
    row, suppressed = handed.row, handed.problem is not None
    return ledger.NewOutcome(
        person_id=row.prepared_for,
        at=row.disclosed_at,
        disclosure_id=row.disclosure_id,
        outcome="suppressed" if suppressed else "completed",
        detail="Not handed out: the person changed what is shared." if suppressed else "Fetched.",
        milliseconds=round((now - row.disclosed_at).total_seconds() * 1000),
    )


def _never_fetched(row: Row[Any]) -> ledger.NewOutcome:
    return ledger.NewOutcome(
        person_id=row.person_id,
        at=row.disclosed_at,
        disclosure_id=row.disclosure_id,
        outcome="failed",
        detail="The company did not fetch the result in time.",
        milliseconds=0,
    )


def release(session: Session, taken: Taken, *, finished: bool, now: datetime) -> None:
    """Give the lease back; a finished batch pull can be fetched from now on."""
    # When it was last worked at: others come first now.
    values: dict[str, Any] = {"leased_until": func.clock_timestamp()}
    if finished:
        values |= {"state": "done", "finished_at": now}
    session.execute(update(BatchPull).where(BatchPull.pull_id == taken.pull_id).values(values))
    faults.reach("batch.released")

"""Whether a company's copy is up to date, by keyed digests: it learns yes or no, and nothing leaves (RFC 2104, 8785).

A digest says nothing to whoever does not know the value already, and the answer nothing but `same`, `stale` or
`unknown`.  So that no value can be found by trying, only what the client was given before is compared, only details
that are hard to guess, a few times a day, and seldom for who was wrong often.
"""

from __future__ import annotations

import hmac
import json
from dataclasses import dataclass, field
from datetime import UTC, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from portal.consent import rules as consent
from portal.consent.rules import Channel
from portal.consumer import queries as consumer
from portal.ledger import services as ledger
from portal.oauth import ceilings
from portal.oauth.statements import standing
from portal.sync import drift_statements
from portal.vault import base64url, persons
from portal.vault.keyring import SealBrokenError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from datetime import date, datetime
    from uuid import UUID

    from sqlalchemy import Row
    from sqlalchemy.orm import Session

    from portal.consumer.queries import OpenedEntry
    from portal.vault.keyring import Keyring
    from portal.vault.persons import PersonVault

    # Which versions of each detail a client was given.
    _Told = dict[str, set[int]]

MOST: Final = 100
CHECKS_A_DAY: Final = 4
# Who has been wrong about so many details within `ceilings.GUESSES_COUNT_FOR` waits until some of it is over.
MOST_GUESSES: Final = 10
TOO_OFTEN: Final = ceilings.REASON
_KIND: Final = "drift"
_LABEL: Final = b"ucm-drift-v1"
_UNKNOWN_SUBJECT: Final = "not-found"
_CHANGED: Final = "consent-changed"
# What a company could still hold of a detail: no more of its former values are opened.
_MOST_VERSIONS: Final = 20
_NEXT: Final = timedelta(days=1)


class Answer(StrEnum):
    """How a copy stands: as the master, as it was once told to this client, or otherwise."""

    SAME = "same"
    STALE = "stale"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One subject and the digests of what the company holds, by attribute."""

    sub: str
    digests: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Compared:
    """What one subject comes to: answers by attribute, or a `problem`; `wait` in seconds where it is too often."""

    sub: str
    answers: Mapping[str, Answer]
    problem: str = ""
    wait: int = 0


@dataclass(frozen=True, kw_only=True)
class _Desk:
    """Who asks, when, and what everything is compared with."""

    session: Session
    keyring: Keyring = field(repr=False)
    client_id: str
    key: bytes = field(repr=False)
    now: datetime


class _Subject(NamedTuple):
    """A subject whose digests may be compared: those of `names`, with the versions that the client was `told`."""

    row: Row[Any]
    asked: Asked
    names: Sequence[str]
    told: _Told


class _Copy(NamedTuple):
    """A company's digest of one detail, the master, and the versions it was told."""

    name: str
    digest: str
    current: OpenedEntry
    told: Collection[int]


class _Budget(NamedTuple):
    """What is left of one grant's checks: `wait` 0 when it may be compared; `first` refusals of a day are logged."""

    wait: int
    first: bool


def digest(key: bytes, attribute: str, json_text: str) -> str:
    """Return base64url(HMAC-SHA-256(key, "ucm-drift-v1" 0x00 attribute 0x00 the value's RFC 8785 form)).

    Values are strings, objects of strings, or null: for these Python's compact JSON with sorted, ASCII names is that
    form.
    """
    canonical = json.dumps(json.loads(json_text), ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    told = b"\0".join((_LABEL, attribute.encode(), canonical.encode()))
    return base64url.encode(hmac.digest(key, told, "sha256"))


def check(
    session: Session, *, keyring: Keyring, client_id: str, key: bytes, subjects: Sequence[Asked], now: datetime
) -> list[Compared]:
    """Compare what a client holds with the master, and log it; the caller commits before it answers.

    In the order asked.  `key` is the client's for this request alone.
    """
    desk = _Desk(session=session, keyring=keyring, client_id=client_id, key=key, now=now)
    rows = _rows(desk, subjects)
    held = _hold(session, rows.values())
    told = _told(desk, subjects, rows.values())
    found: dict[str, Compared] = {}
    comparable: list[_Subject] = []
    for asked in subjects:
        row = rows[asked.sub]
        if problem := _problem(row, held):
            found[asked.sub] = _refused(asked, problem)
            continue
        judged = _judge(desk, row, asked, told.get(row.subject_person, {}))
        if isinstance(judged, Compared):
            found[asked.sub] = judged
        else:
            comparable.append(judged)
    found |= {each.sub: each for each in _compare(desk, comparable)}
    return [found[each.sub] for each in subjects]


def _rows(desk: _Desk, subjects: Sequence[Asked]) -> dict[str, Row[Any]]:
    values = {"client_id": desk.client_id, "subs": [each.sub for each in subjects], "grant_id": None}
    return {row.sub: row for row in desk.session.execute(drift_statements.SUBJECTS, values)}


def _hold(session: Session, rows: Iterable[Row[Any]]) -> dict[UUID, int]:
    granted = [row for row in rows if row.grant_id is not None]
    values = {"person_ids": [row.person_id for row in granted], "grant_ids": [row.grant_id for row in granted]}
    held = session.execute(drift_statements.HOLD, values) if granted else ()
    return {row.grant_id: row.version for row in held}


def _told(desk: _Desk, subjects: Iterable[Asked], rows: Iterable[Row[Any]]) -> dict[UUID, _Told]:
    values = {
        "client_id": desk.client_id,
        "person_ids": [row.person_id for row in rows if row.grant_id is not None],
        "names": sorted({name for each in subjects for name in each.digests}),
    }
    told: dict[UUID, _Told] = {}
    for row in desk.session.execute(drift_statements.TOLD, values) if values["person_ids"] else ():
        told.setdefault(row.person_id, {}).setdefault(row.attribute, set()).add(row.version)
    return told


def _problem(row: Row[Any], held: Mapping[UUID, int]) -> str:
    if row.subject_person is None:
        return _UNKNOWN_SUBJECT
    return _CHANGED if row.grant_id is not None and held.get(row.grant_id) != row.grant_version else ""


def _judge(desk: _Desk, row: Row[Any], asked: Asked, told: _Told) -> Compared | _Subject:
    mine = {name: told[name] for name in asked.digests if name in told}
    # A consent to one look is used up by it; before it, nothing was given that could be compared.
    decision = consent.decide(
        standing(row, used=bool(mine)),
        client_id=row.asking_client,
        channel=Channel.DRIFT,
        requested=list(asked.digests),
        now=desk.now,
    )
    if decision.refusal:
        ledger.record(desk.session, _log(desk, row, asked.digests, decision.refusal))
        return _refused(asked, decision.refusal)
    return _Subject(row, asked, decision.attributes, mine)


def _compare(desk: _Desk, subjects: Sequence[_Subject]) -> list[Compared]:
    budgets = _spend(desk, [each.row for each in subjects])
    logged, found, guesses = [], [], []
    for each in subjects:
        budget = budgets[each.row.grant_id]
        if budget.wait:
            found.append(_refused(each.asked, TOO_OFTEN, budget.wait))
            logged += [_log(desk, each.row, each.names, TOO_OFTEN)] if budget.first else []
            continue
        compared = _answered(desk, each)
        found.append(compared)
        logged += [] if compared.problem else [_log(desk, each.row, each.names, None)]
        guesses += [_use(each.row, wrong)] if (wrong := _wrong(each, compared)) else []
    ledger.record(desk.session, *logged)
    _count(desk, ceilings.GUESS, guesses)
    return found


def _wrong(subject: _Subject, compared: Compared) -> int:
    # Where nothing was compared, nothing was guessed.
    return sum(name in subject.told and answer is Answer.UNKNOWN for name, answer in compared.answers.items())


def _answered(desk: _Desk, subject: _Subject) -> Compared:
    answers = dict.fromkeys(subject.names, Answer.UNKNOWN)
    told = [name for name in subject.names if name in subject.told]
    try:
        answers |= _compared(desk, subject, told) if told else {}
    except SealBrokenError as error:
        return _refused(subject.asked, error.code)
    return Compared(sub=subject.asked.sub, answers=answers)


def _compared(desk: _Desk, subject: _Subject, names: Sequence[str]) -> dict[str, Answer]:
    row = subject.row
    vault = persons.unlock_row(desk.keyring, row.person_id, row.keyring_version, row.wrapped_root, row.commitment)
    current = consumer.open_entries(vault, row.entries or {}, names)
    return {
        name: _answer(desk, vault, _Copy(name, subject.asked.digests[name], entry, subject.told[name]))
        for name, entry in current.items()
    }


def _answer(desk: _Desk, vault: PersonVault, copy: _Copy) -> Answer:
    if hmac.compare_digest(digest(desk.key, copy.name, copy.current.json_text), copy.digest):
        return Answer.SAME
    former = sorted(set(copy.told) - {copy.current.version}, reverse=True)[:_MOST_VERSIONS]
    texts = consumer.told(desk.session, vault, attribute=copy.name, versions=former) if former else ()
    # Each of them is looked at, so that how long it takes says nothing of which it was.
    alike = [hmac.compare_digest(digest(desk.key, copy.name, text), copy.digest) for text in texts]
    return Answer.STALE if any(alike) else Answer.UNKNOWN


def _spend(desk: _Desk, rows: Sequence[Row[Any]]) -> dict[UUID, _Budget]:
    used = _count(desk, _KIND, [_use(row, 1) for row in rows])
    waits = _waits(desk, rows)
    return {grant_id: _budget(count, waits.get(grant_id, 0), desk.now) for grant_id, count in used.items()}


def _budget(used: int, guessing: int, now: datetime) -> _Budget:
    if guessing:
        return _Budget(guessing, used == 1)
    if used > CHECKS_A_DAY:
        return _Budget(ceilings.seconds_left(now), used == CHECKS_A_DAY + 1)
    return _Budget(0, first=False)


def _waits(desk: _Desk, rows: Sequence[Row[Any]]) -> dict[UUID, int]:
    """Return how long each grant whose company was wrong too often must wait, in seconds."""
    values = {
        "person_ids": [row.person_id for row in rows],
        "grant_ids": [row.grant_id for row in rows],
        "kind": ceilings.GUESS,
        "since": ceilings.day(desk.now - ceilings.GUESSES_COUNT_FOR),
    }
    counted: dict[UUID, list[tuple[date, int]]] = {}
    for row in desk.session.execute(drift_statements.GUESSES, values) if rows else ():
        counted.setdefault(row.grant_id, []).append((row.day, row.used))
    return {grant_id: _wait(days, desk.now) for grant_id, days in counted.items()}


def _wait(days: Sequence[tuple[date, int]], now: datetime) -> int:
    left = sum(used for _day, used in days)
    if left < MOST_GUESSES:
        return 0
    for day, used in days:
        left -= used
        if left < MOST_GUESSES:
            return ceilings.seconds_left(now) + (day + ceilings.GUESSES_COUNT_FOR - _NEXT - _today(now)).days * 86_400
    return 0


def _today(now: datetime) -> date:
    return now.astimezone(UTC).date()


def _use(row: Row[Any], used: int) -> dict[str, Any]:
    return {"person_id": str(row.person_id), "grant_id": str(row.grant_id), "used": used}


def _count(desk: _Desk, kind: str, uses: Sequence[dict[str, Any]]) -> dict[UUID, int]:
    values = {"kind": kind, "day": ceilings.day(desk.now), "rows": json.dumps(uses)}
    rows = desk.session.execute(drift_statements.SPEND, values) if uses else ()
    return {row.grant_id: row.used for row in rows}


def _refused(asked: Asked, problem: str, wait: int = 0) -> Compared:
    return Compared(sub=asked.sub, answers={}, problem=str(problem), wait=wait)


def _log(desk: _Desk, row: Row[Any], names: Iterable[str], refusal: str | None) -> ledger.NewDisclosure:
    # Whoever has no consent here is known to the company by another of its apps: the person gets to see that it asked.
    context_id = row.context_id or ledger.context(
        desk.session,
        company_id=row.company_id, client_id=row.asking_client, company_name=row.trading_name, purpose="",
    )  # fmt: skip
    return ledger.NewDisclosure(
        person_id=row.subject_person, at=desk.now, context_id=context_id, channel=Channel.DRIFT,
        outcome="denied" if refusal else "completed", reason=refusal, asked=sorted(names), given={},
        grant_id=row.grant_id, grant_version=row.grant_version,
    )  # fmt: skip

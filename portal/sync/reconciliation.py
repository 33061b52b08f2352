"""The night's look at whether the log says what happened: what was sent, asked and answered, the log, and its tree.

It goes through all of it in steps, each a transaction and a second or so: whoever dies on the way, another goes on.
What is found is kept with its night; nothing is mended, for nobody but people can say what has happened.
"""

from __future__ import annotations

import time as clock
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from psycopg.errors import SerializationFailure
from sqlalchemy import select, text, update
from sqlalchemy.exc import OperationalError

from portal import config, db, queue
from portal.consent import rehash as consents
from portal.ledger import rehash
from portal.sync.models import Reconciliation
from portal.sync.reconciliation_statements import EVIDENCE, LOG, MONTHS, SOME
from portal.vault import signing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from sqlalchemy.orm import Session

    from portal.ledger.rehash import Part
    from portal.sync.reconciliation_statements import Check

RUN: Final = "portal.sync.jobs.reconcile_log"
# Nobody is up, and the day before is over everywhere that its figures are of.
_HOUR: Final = time(2, tzinfo=UTC)
_OTHERS_TURN_SECONDS: Final = 0.2
_LATE: Final = timedelta(hours=26)
_AGAIN: Final = timedelta(seconds=30)
# By then whoever sends has said what came of it, or the reconciler has.
_SETTLED: Final = timedelta(minutes=10)
_ANSWERED: Final = timedelta(hours=26)
_IN_LOG: Final = timedelta(minutes=1)
# Tries are kept for thirty days; what is looked at every night overlaps, for outcomes come late.
_TRIES_KEPT: Final = timedelta(days=29)
_RECEIPTS_OF: Final = timedelta(days=31)
_OVERLAP: Final = timedelta(days=1)
_LOCK = text("SELECT pg_advisory_xact_lock(1430473987)")
_LOGGED_BEFORE = text("SELECT EXISTS (SELECT FROM disclosure WHERE at < :late)")
_LOG_STANDS = text("SELECT log_id, size FROM log ORDER BY log_id DESC LIMIT 1")
WORDS: Final = MappingProxyType(
    {
        "sent-not-logged": "Messages were sent that the log does not have",
        "logged-not-sent": "Messages are in the log that nobody has tried to send",
        "outcome-differs": "Messages have another outcome in the log than what came of them",
        "looks-differ": "Consents were looked at more often, or less often, than the log says",
        "prepared-not-logged": "Answers about many people were prepared that the log does not have",
        "receipt-not-logged": "Receipts are about messages that the log does not have",
        "never-settled": "Disclosures are without an outcome after more than a day",
        consents.DIFFERS: "Consents are not what was agreed to last",
        consents.CHANGED: "Steps of consents were changed, removed or moved",
        consents.UNLOGGED: "Steps of consents are not in the log",
        "beyond-consent": "Details were given that the version of the consent they name did not allow",
        "not-in-log": "Disclosures are not in the tree",
        "outcome-not-in-log": "Outcomes are not in the tree",
        "outcome-of-nothing": "Outcomes are of disclosures that are gone",
        rehash.GONE: "Entries of the tree are of rows that are gone",
        rehash.CHANGED: "Entries of the tree are of rows that were changed",
        rehash.MISPLACED: "Entries of the tree are not in their person's order",
        rehash.HEAD: "People's newest entries are not the newest of the tree",
        rehash.TILE: "Tiles of the tree have hashes that are not those of what is below",
        rehash.SIZE: "The tree does not have as many entries as it says",
        rehash.ROOT: "What was signed is not what the tree comes to",
    }
)


@dataclass
class _Found:
    """What a step came to; `following` is where its phase goes on, None when it is over."""

    following: str | None
    counts: dict[str, int] = field(default_factory=dict)
    wrong: dict[str, tuple[int, list[str]]] = field(default_factory=dict)


def newest(session: Session, *, finished: bool = False) -> Reconciliation | None:
    """Return the night that was begun last, or of those that are `finished`."""
    of = select(Reconciliation).order_by(Reconciliation.began_at.desc()).limit(1)
    return session.scalar(of.where(Reconciliation.finished_at.is_not(None)) if finished else of)


def nights(session: Session, *, most: int) -> list[Reconciliation]:
    """Return the last nights, the newest first."""
    return list(session.scalars(select(Reconciliation).order_by(Reconciliation.began_at.desc()).limit(most)))


def is_missed(session: Session, *, now: datetime) -> bool:
    """Say whether there was something to look at for longer than a day, and no look since that was finished."""
    seen, late = newest(session, finished=True), now - _LATE
    # A portal that was set up today has missed nothing, however old the rows are that it was given.
    if (seen is not None and seen.began_at >= late) or all(key.signs_from > late for key in signing.keys(session)):
        return False
    return bool(session.scalar(_LOGGED_BEFORE, {"late": late}))


def due(session: Session, *, now: datetime) -> bool:
    """Begin the night's look when it is time; say whether there is one that nobody goes on with."""
    last = newest(session)
    if last is None or last.finished_at is not None:
        hour = datetime.combine(now.astimezone(UTC).date(), _HOUR)
        fresh = now >= hour and (last is None or last.began_at < hour) and begin(session, now=now) is not None
        return fresh or untold(session) is not None
    return last.stepped_at < now - _AGAIN


def begin(session: Session, *, now: datetime) -> Reconciliation | None:
    """Keep a new look for the job that works through it; None while there is another one that is not over."""
    session.execute(_LOCK)
    last = newest(session)
    if last is not None and last.finished_at is None:
        return None
    seen = newest(session, finished=True)
    since = seen.until - _OVERLAP if seen else now - _TRIES_KEPT
    night = Reconciliation(
        began_at=now, stepped_at=now, since=_midnight(since), until=now - _SETTLED, phase=next(iter(PHASES)), after="",
        counts={}, wrong={},
    )  # fmt: skip
    session.add(night)
    session.flush()
    return night


def run(url: str) -> Reconciliation:
    """Begin a look, or go on with the one that is under way, and return it when it is over."""
    with db.transaction(url) as session:
        begin(session, now=db.now())
    while True:
        went_on = _stepped(url)
        with db.transaction(url) as session:
            last = newest(session)
        if last is not None and last.finished_at is not None:
            return last
        if not went_on:
            clock.sleep(_OTHERS_TURN_SECONDS)


def _stepped(url: str) -> bool:
    try:
        with db.transaction(url) as session:
            return step(session, now=db.now())
    except OperationalError as error:
        # A worker has made the step at this very moment.
        if isinstance(error.orig, SerializationFailure):
            return False
        raise


def step(session: Session, *, now: datetime) -> bool:
    """Go on with the look that is under way; False when there is none, it is over, or somebody else is at it.

    The transaction has to be a new one.
    """
    session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
    under_way = select(Reconciliation).where(Reconciliation.finished_at.is_(None)).limit(1)
    night = session.scalar(under_way.with_for_update(skip_locked=True))
    return night is not None and advance(session, night, now=now)


def advance(session: Session, night: Reconciliation, *, now: datetime) -> bool:
    """Make the next step of a look that the caller holds; False when it was the last one."""
    found = PHASES[night.phase](session, night)
    _add(night, found)
    night.stepped_at = now
    if found.following is not None:
        night.after = found.following
        return True
    phases = list(PHASES)
    following = phases.index(night.phase) + 1
    if following == len(phases):
        night.finished_at = now
        return False
    night.phase, night.after = phases[following], ""
    return True


def untold(session: Session) -> Reconciliation | None:
    """Return the last night that found something, while operators have not been told."""
    last = newest(session, finished=True)
    return last if last is not None and last.wrong and last.told_at is None else None


def told(session: Session, *, began_at: datetime, now: datetime) -> None:
    """Note that operators have been told of a night."""
    session.execute(update(Reconciliation).where(Reconciliation.began_at == began_at).values(told_at=now))


def ring() -> None:
    """Have somebody go on with it."""
    queue.ring_once(config.current().redis_url, queue.WORK, RUN, within=10)


def said(night: Reconciliation) -> list[str]:
    """Return what is wrong, one sentence each, with some of the rows that it is about; none when all agrees."""
    return [
        f"{WORDS[what]}: {found['count']} ({', '.join(found['some'])}{' ...' if found['count'] > SOME else ''})"
        for what, found in night.wrong.items()
    ]


def _midnight(at: datetime) -> datetime:
    return datetime.combine(at.astimezone(UTC).date(), time(tzinfo=UTC))


def _add(night: Reconciliation, found: _Found) -> None:
    counts, wrong = dict(night.counts), dict(night.wrong)
    for name, count in found.counts.items():
        counts[name] = counts.get(name, 0) + count
    for what, (count, some) in found.wrong.items():
        before = wrong.get(what, {"count": 0, "some": []})
        wrong[what] = {"count": before["count"] + count, "some": [*before["some"], *some][:SOME]}
    night.counts, night.wrong = counts, wrong


def _evidence(session: Session, night: Reconciliation) -> _Found:
    day = date.fromisoformat(night.after) if night.after else night.since.date()
    begins, following = datetime.combine(day, time(tzinfo=UTC)), day + timedelta(days=1)
    # Looks are counted for three days and then forgotten.
    counted = day >= night.until.date() - timedelta(days=1)
    values = {
        "since": begins,
        "until": min(begins + timedelta(days=1), night.until),
        "first_day": day if counted else following,
        "last_day": day,
        "tries_kept": night.until - _TRIES_KEPT,
        "receipts_of": begins - _RECEIPTS_OF,
        "settled": night.until - _ANSWERED,
    }
    over = begins + timedelta(days=1) >= night.until
    return _asked(session, EVIDENCE, values, None if over else following.isoformat())


def _log(session: Session, night: Reconciliation) -> _Found:
    months: list[datetime] = list(session.scalars(MONTHS))
    left = [month for month in months if month.isoformat() > night.after]
    if not left:
        return _Found(None)
    log = session.execute(_LOG_STANDS).one_or_none()
    values = {
        "since": left[0],
        "until": _midnight(left[0] + timedelta(days=31, hours=1)).replace(day=1),
        "in_log_by": night.began_at - _IN_LOG,
        "log_id": log.log_id if log else 0,
    }
    return _asked(session, LOG, values, left[0].isoformat())


def _asked(session: Session, checks: Mapping[str, Check], values: Mapping[str, Any], following: str | None) -> _Found:
    found = _Found(following)
    for what, check in checks.items():
        found.counts[check.counter] = session.scalar(check.looked_at, values) or 0
        row = session.execute(check.wrong, values).one()
        if row.number:
            found.wrong[what] = row.number, list(row.some)
    return found


def _consents(session: Session, night: Reconciliation) -> _Found:
    return _rehashed("consents", consents.some_consents(session, after=night.after))


def _entries(session: Session, night: Reconciliation) -> _Found:
    log = session.execute(_LOG_STANDS).one_or_none()
    if log is None:
        return _Found(None)
    return _rehashed("entries", rehash.some_entries(session, log_id=log.log_id, after=night.after))


def _tiles(session: Session, night: Reconciliation) -> _Found:
    log = session.execute(_LOG_STANDS).one_or_none()
    if log is None:
        return _Found(None)
    return _rehashed("tiles", rehash.complete_tiles(session, log_id=log.log_id, after=night.after))


def _whole(session: Session, _night: Reconciliation) -> _Found:
    log = session.execute(_LOG_STANDS).one_or_none()
    return _Found(None, wrong=_by_kind(rehash.whole(session, log_id=log.log_id, size=log.size)) if log else {})


def _rehashed(counter: str, part: Part) -> _Found:
    return _Found(part.following, {counter: part.looked_at}, _by_kind(part.wrong))


def _by_kind(wrong: Iterable[rehash.Wrong]) -> dict[str, tuple[int, list[str]]]:
    found: dict[str, tuple[int, list[str]]] = {}
    for each in wrong:
        count, some = found.get(each.what, (0, []))
        found[each.what] = count + 1, [*some, each.where][:SOME]
    return found


PHASES: Final[Mapping[str, Callable[[Session, Reconciliation], _Found]]] = MappingProxyType(
    {"evidence": _evidence, "consents": _consents, "log": _log, "entries": _entries, "tiles": _tiles, "whole": _whole}
)

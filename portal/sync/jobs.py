"""What workers run: each job looks for work in PostgreSQL, so a job that is lost or repeated changes nothing."""

from __future__ import annotations

import logging
import math
import time
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy.exc import SQLAlchemyError

from portal import config, db, faults, queue
from portal.companies import key_source, letters, proofs
from portal.companies import registration as initial_tokens
from portal.consent import approvals, counters, deletion_letters, deletion_news, deletions, reminders, withdrawn
from portal.consent import letters as consent_letters
from portal.consent import services as consent
from portal.db import after_commit
from portal.disputes import letters as dispute_letters
from portal.disputes import operator_letters
from portal.disputes import services as disputes
from portal.identity import services as identity
from portal.ledger import first_uses, witnessing
from portal.ledger import services as ledger
from portal.oauth import ceilings, housekeeping, ping, registration
from portal.sync import (
    attempts,
    away_letters,
    batch_requests,
    batches,
    conduct,
    courier,
    first_use_letters,
    health,
    idempotency,
    outbox,
    polling,
    pulls,
    push_statements,
    receipts,
    reconciliation,
    reconciliation_letters,
    replays,
    services,
    statements,
    stream_events,
)
from portal.vault import keyring as keyrings
from portal.vault import record_keys, signing

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.orm import Session

    from portal.config import Settings

log = logging.getLogger(__name__)

_LONGEST_SECONDS = 40.0
# What companies ask for is done a second at a time: letters to people are in the same queue.
_TURN_SECONDS = 1.0
# Longer than any lease and its request: what is still `sending` then has no worker behind it.
STALE = timedelta(seconds=90)
# Further back is looked from the last time that anything was settled, and by a process that begins: for as long as
# everything may have stood still.
_LOOKED_BACK, _STOOD_STILL = timedelta(hours=2), timedelta(days=31)
_TIDY_SECONDS = 30.0
_RUNG_LATE_SECONDS = 2
# Far longer than any step takes to be committed, and than the reconciler is ever away.
_CAUGHT_UP_AFTER = timedelta(days=1)
_tidied = 0.0
_settled: datetime | None = None


def warm() -> None:
    """Load what the first job would wait for: keys, a connection, certificates."""
    courier.of(config.current()).warm()


def drain() -> None:
    """Send everything that is due, until nothing is; what it leaves is the next one's."""
    settings = config.current()
    queue.answer(settings.redis_url, services.DRAIN)
    faults.reach("drain.answered")
    if courier.drain(settings):
        queue.ring_once(settings.redis_url, queue.PUSH, services.DRAIN)


def run_pulls() -> None:
    """Answer batch pulls, companies by turns, for a second; then ring for the rest, behind whatever waits meanwhile."""
    settings, ends = config.current(), time.monotonic() + _TURN_SECONDS
    try:
        while time.monotonic() < ends and (pull_id := _following_pull(settings)):
            run_pull(pull_id, ends=ends)
    finally:
        # Rung for while it ran, or not: whoever asked has been seen by now, or rings a bell that is answered.
        queue.answer(settings.redis_url, batch_requests.RUN_PULLS)
        if _following_pull(settings):
            batch_requests.ring(settings)


def _following_pull(settings: Settings) -> str | None:
    with db.transaction(settings.database_url) as session:
        found = batches.following(session)
    return str(found) if found else None


def run_pull(pull_id: str, *, ends: float = math.inf) -> None:
    """Answer a batch pull to its end, or until `ends` (monotonic)."""
    settings = config.current()
    keyring = keyrings.load(settings.keyring_file)
    with db.transaction(settings.database_url) as session:
        taken = batches.take(session, pull_id=UUID(pull_id))
        signer = signing.current(session, keyring=keyring)
    faults.reach("batch.leased")
    if taken is None:
        return
    more = True
    while more:
        with db.transaction(settings.database_url) as session:
            desk = pulls.Desk(keyring=keyring, signer=signer, issuer=settings.issuer, now=db.now())
            more = batches.answer_some(session, taken, desk, most=settings.grant_pulls)
        if time.monotonic() >= ends:
            break
    with db.transaction(settings.database_url) as session:
        batches.release(session, taken, finished=not more, now=db.now())


def run_replay(replay_id: str) -> None:
    """Work through a replay step by step for a second, and ring for the rest."""
    settings = config.current()
    with db.transaction(settings.database_url) as session:
        taken = replays.take(session, replay_id=UUID(replay_id))
    if taken is None:
        return
    more = db.repeat(settings.database_url, lambda session: replays.step(session, taken), seconds=_TURN_SECONDS)
    with db.transaction(settings.database_url) as session:
        replays.release(session, taken, finished=not more)
    if more:
        queue.ring(settings.redis_url, queue.WORK, replays.RUN_REPLAY, replay_id)


def reconcile_log() -> None:
    """Go on with the night's look at the log for a second, and ring for the rest; tell operators what it has found."""
    settings = config.current()
    if db.repeat(
        settings.database_url, lambda session: reconciliation.step(session, now=db.now()), seconds=_TURN_SECONDS
    ):
        queue.ring(settings.redis_url, queue.WORK, reconciliation.RUN)
    else:
        reconciliation_letters.tell(settings)


def gather_conduct() -> None:
    """Gather how companies conduct themselves, one after the other for a second, and ring for the rest."""
    settings = config.current()
    if db.repeat(settings.database_url, _gather_next, seconds=_TURN_SECONDS):
        queue.ring(settings.redis_url, queue.WORK, conduct.GATHER)


def _gather_next(session: Session) -> bool:
    now = db.now()
    company_id = conduct.due(session, now=now)
    if company_id is not None:
        conduct.gather(session, company_id=company_id, now=now)
    return company_id is not None


def tell_people() -> None:
    """Write to people whose details an organisation no longer takes."""
    settings = config.current()
    if settings.smtp_url:
        db.repeat(settings.database_url, away_letters.spread, seconds=_LONGEST_SECONDS)
    away_letters.TRAY.run()


def tell_of_first_uses() -> None:
    """Write to people whose details an organisation has got for the first time."""
    first_use_letters.TRAY.run()


def _take_turns(settings: Settings) -> None:
    # Whoever reads at this moment sees a key come into use by the clock; this tells those who have to know.
    with db.transaction(settings.database_url) as session:
        proofs.announce_due(session, now=db.now())
        letters.TRAY.see_to(session)


def reconcile() -> None:
    """Find what a lost job left behind; called every second, and useful with Valkey down: rings are retried."""
    settings = config.current()
    try:
        _ring_again(settings)
        _take_turns(settings)
        _tidy_in_turn(settings)
        # Last, for what is wrong with the log or its witnesses keeps nobody's news.
        _ring_for_witnesses(settings)
    except SQLAlchemyError as error:
        log.warning("reconciler: the database did not answer: %s", type(error).__name__)


def _ring_again(settings: Settings) -> None:
    with db.transaction(settings.database_url) as session:
        due = session.scalar(push_statements.DUE) or stream_events.due(session)
        pings = ping.due(session, now=db.now())
        unanswered = batches.following(session, waiting=_RUNG_LATE_SECONDS)
        replaying = replays.unfinished(session)
    faults.reach("reconcile.found")
    if due:
        queue.ring_once(settings.redis_url, queue.PUSH, services.DRAIN)
    for request_id in pings:
        # The first try was made at once; who did not answer it is asked again where patience costs nobody else.
        queue.ring_once(settings.redis_url, queue.CALLS, ping.PING, str(request_id), within=10)
    if unanswered:
        batch_requests.ring(settings)
    for replay_id in replaying:
        queue.ring_once(settings.redis_url, queue.WORK, replays.RUN_REPLAY, str(replay_id), within=10)


def _ring_for_witnesses(settings: Settings) -> None:
    named = witnessing.read(settings.log_witnesses)
    with db.transaction(settings.database_url) as session:
        due = witnessing.due(session, named, now=db.now())
    for each in due:
        queue.ring_once(settings.redis_url, queue.CALLS, witnessing.ASK, str(each.verifier), within=10)


def _tidy_in_turn(settings: Settings) -> None:
    global _tidied  # noqa: PLW0603 - the reconciler is one loop in one process, and this is its clock
    if _tidied and time.monotonic() - _tidied < _TIDY_SECONDS:
        return
    _tidied = time.monotonic()
    tidy(settings, now=db.now())


def tidy(settings: Settings, *, now: datetime) -> None:
    """Do the slower half of the reconciler's work, each part in a transaction of its own."""
    for part in (
        settle_stale,
        _catch_up,
        _see_to_letters,
        _expire_grants,
        _expire_approvals,
        _see_to_deletions,
        _see_to_questions,
        _look_at_consents,
        _expire_pulls,
        _forget_uses,
        _forget_tries,
        _open_months,
        _forget_oauth,
        _forget_people,
        _end_with_clients,
        _ring_for_keys,
        _renew_keys,
        _look_at_log,
    ):
        with db.transaction(settings.database_url) as session:
            part(session, now)


def settle_stale(session: Session, now: datetime) -> None:
    """Say `unknown` of every message whose worker is gone, or that was fetched and not acknowledged."""
    global _settled  # noqa: PLW0603 - how far this process has looked
    after = now - _STOOD_STILL if _settled is None else min(now, _settled) - _LOOKED_BACK
    while outbox.settle(session, before=now - STALE, after=after, now=now):
        pass
    _settled = now
    polling.settle_unanswered(session, now=now)


def _forget_tries(session: Session, now: datetime) -> None:
    attempts.forget(session, now=now)
    receipts.forget(session, now=now)
    stream_events.forget(session, now=now)
    session.execute(push_statements.FORGET_FLIGHTS)


def _catch_up(session: Session, now: datetime) -> None:
    # Nobody rings: the reconciler itself looks for what is due every second.
    session.execute(statements.CATCH_UP, {"since": now - _CAUGHT_UP_AFTER})


def _see_to_letters(session: Session, now: datetime) -> None:  # noqa: ARG001 - the database's clock decides
    health.warn_of_silence(session)
    letters.forget(session)
    consent_letters.forget(session)
    first_uses.look(session)
    for tray in (consent_letters.TRAY, away_letters.TRAY, first_use_letters.TRAY):
        tray.see_to(session)


def _expire_grants(session: Session, now: datetime) -> None:
    consent.expire_due(session, now=now)
    withdrawn.end_due(session, now=now)
    counters.lapse_due(session, now=now)


def _look_at_consents(session: Session, now: datetime) -> None:
    reminders.look(session, now=now)
    reminders.TRAY.see_to(session)


def _expire_approvals(session: Session, now: datetime) -> None:
    approvals.expire_due(session, now=now)
    approvals.forget(session, now=now)
    ping.forget_unanswered(session, now=now)


def _see_to_deletions(session: Session, now: datetime) -> None:
    deletions.call_due(session, now=now)
    deletion_letters.write_due(session, now=now)
    deletion_news.TRAY.see_to(session)
    if conduct.due(session, now=now):
        queue.ring_once(config.current().redis_url, queue.WORK, conduct.GATHER, within=60)


def _see_to_questions(session: Session, now: datetime) -> None:
    disputes.see_to(session, now=now)
    dispute_letters.TRAY.see_to(session)
    operator_letters.TRAY.see_to(session)


def _expire_pulls(session: Session, now: datetime) -> None:
    batches.expire(session, now=now)
    idempotency.forget(session, now=now)


def _forget_uses(session: Session, now: datetime) -> None:
    ceilings.forget(session, now=now)


def _open_months(session: Session, now: datetime) -> None:
    ledger.open_months(session, now=now)


def _forget_people(session: Session, now: datetime) -> None:
    identity.forget_unproved(session, now=now)


def _end_with_clients(session: Session, now: datetime) -> None:
    registration.end_grants(session, now=now)
    initial_tokens.forget(session, now=now)


def _ring_for_keys(session: Session, now: datetime) -> None:
    # A stranger's server takes its time, and codes to sign in must not wait for it.
    for client_id in key_source.due(session, now=now):
        queue.ring_once(config.current().redis_url, queue.CALLS, key_source.FETCH_KEYS, client_id, within=60)


def _forget_oauth(session: Session, now: datetime) -> None:
    housekeeping.forget(session, now=now)


def _look_at_log(session: Session, now: datetime) -> None:
    if reconciliation.due(session, now=now):
        after_commit(session, reconciliation.ring)


def _renew_keys(session: Session, now: datetime) -> None:
    keyring = keyrings.load(config.current().keyring_file)
    signing.renew(session, keyring=keyring, now=now)
    record_keys.renew(session, keyring=keyring, now=now)

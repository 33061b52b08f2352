"""Strict purposes: whoever stops sharing waits for what is on its way, and nothing arrives afterwards."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select, text, update

from portal import db
from portal.consent.models import Grant
from portal.sync import courier, jobs, rules
from portal.sync.models import Stream
from tests.sync.outbox_steps import entries

if TYPE_CHECKING:
    from tests.sync.cast import Firm, Shared, World

ROUNDS = 12


def strict_firm(world: World) -> Firm:
    firm = world.firm()
    world.make_strict(firm)
    return firm


def race(world: World, firm: Firm, shared: Shared, *, after: float) -> tuple[float, int]:
    """Stop while a message is being sent; return when the stop was over and how many requests came after it."""
    draining = threading.Thread(target=jobs.drain)
    draining.start()
    time.sleep(after)
    world.step("withdraw", shared)
    over = time.monotonic()
    draining.join()
    told = [message for message in firm.receiver.journal if message.at > over and message.profile is not None]
    return over, len(told)


@pytest.mark.parametrize("turn", range(ROUNDS))
def test_nothing_arrives_after_a_stop(world: World, turn: int) -> None:
    firm = strict_firm(world)
    shared = world.share(world.person(), firm)
    firm.receiver.behave = lambda _number: 0.05
    _over, after = race(world, firm, shared, after=turn * 0.008)
    assert after == 0


def test_a_stop_waits_for_the_answer(world: World) -> None:
    firm = strict_firm(world)
    shared = world.share(world.person(), firm)
    firm.receiver.behave = lambda _number: 0.6
    over, after = race(world, firm, shared, after=0.3)
    assert after == 0
    assert firm.receiver.journal[0].at < over
    assert entries(world, shared.person_id)[0].outcome == "completed"


def test_a_stop_waits_no_longer_than_the_deadline(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "STRICT_SECONDS", 0.5)
    firm = strict_firm(world)
    shared = world.share(world.person(), firm)
    firm.receiver.behave = lambda _number: 2.0
    began = time.monotonic()
    over, _after = race(world, firm, shared, after=0.2)
    assert over - began < 1.2
    assert entries(world, shared.person_id)[0].outcome == "unknown"


def test_without_strict_a_stop_waits_for_nobody(world: World) -> None:
    firm = world.firm()
    shared = world.share(world.person(), firm)
    firm.receiver.behave = lambda _number: 0.6
    began = time.monotonic()
    over, after = race(world, firm, shared, after=0.3)
    assert over - began < 0.55
    # What had set out, and nothing more.
    assert after <= 1


def test_others_do_not_wait_for_strict_ones_that_hang(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courier, "_STRICT", 2)
    firm, quick = strict_firm(world), world.firm()
    for _ in range(4):
        world.share(world.person(), firm)
    firm.receiver.behave = lambda _number: 0.7
    shared = world.share(world.person(), quick)
    began = time.monotonic()
    jobs.drain()
    assert quick.receiver.journal[0].at - began < 0.6
    assert quick.receiver.newest(shared.sub)
    # Two at a time, and each is told in the end.
    assert len(firm.receiver.journal) == 4


def test_a_company_that_takes_its_time_does_not_keep_other_strict_ones_waiting(world: World) -> None:
    """It answers in time, so no circuit opens: it could else have all the room there is, answer after answer."""
    slow, honest = strict_firm(world), strict_firm(world)
    room = update(Stream).where(Stream.client_id == slow.client_id).values(in_flight=16)
    world.transact(lambda session: session.execute(room))
    slow.receiver.behave = lambda _number: 0.8
    for _ in range(32):
        world.share(world.person(), slow)
    draining = threading.Thread(target=jobs.drain)
    draining.start()
    time.sleep(0.4)
    world.share(world.person(), honest)
    began = time.monotonic()
    while not honest.receiver.journal and time.monotonic() - began < 8:
        time.sleep(0.01)
    waited = time.monotonic() - began
    slow.receiver.behave = None
    draining.join()
    assert waited < 1.2


def test_a_consent_somebody_is_changing_is_not_waited_for(world: World) -> None:
    firm = strict_firm(world)
    shared = world.share(world.person(), firm)
    with db.sessions(world.settings.database_url)() as stopping:
        mine = select(Grant).where(Grant.grant_id == shared.grant_id).with_for_update()
        stopping.execute(mine)
        began = time.monotonic()
        jobs.drain()
        assert time.monotonic() - began < 1
        assert firm.receiver.requests == 0
        stopping.rollback()
    jobs.drain()
    assert firm.receiver.requests == 1


def test_no_lock_is_left_behind(world: World) -> None:
    firm = strict_firm(world)
    world.share(world.person(), firm)
    jobs.drain()
    open_ones = text("SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'")
    assert world.transact(lambda session: session.scalar(open_ones)) == 0

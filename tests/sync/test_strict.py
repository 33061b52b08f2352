"""Strict purposes: whoever stops sharing waits for what is on its way, and nothing arrives afterwards."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select, text

from portal import config, db
from portal.consent.models import Grant
from portal.sync import courier, jobs, rules
from tests.sync.outbox_steps import entries
from tests.sync.receiver import Held
from tests.timing import somebody_waits, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.sync.cast import Firm, World

ROUNDS = 12


def strict_firm(world: World) -> Firm:
    firm = world.firm()
    world.make_strict(firm)
    return firm


def told_since(firm: Firm, moment: float) -> int:
    """Return how many messages with details came after a moment (monotonic)."""
    return sum(message.at > moment and message.profile is not None for message in firm.receiver.journal)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a receiver have all the time that the test takes."""
    monkeypatch.setattr(rules, "STRICT_SECONDS", 60.0)
    monkeypatch.setattr(courier, "LEASE_SECONDS", 120.0)


@contextmanager
def sending(firm: Firm, requests: int = 1) -> Iterator[Held]:
    """Drain meanwhile: `firm` holds what it is sent, and has so much at the beginning of the block."""
    held = firm.receiver.behave = Held()
    draining = threading.Thread(target=jobs.drain)
    draining.start()
    try:
        until(lambda: held.holding == requests)
        yield held
    finally:
        held.let_go()
        draining.join()


@pytest.mark.parametrize("turn", range(ROUNDS))
def test_nothing_arrives_after_a_stop(world: World, turn: int) -> None:
    firm = strict_firm(world)
    shared = world.share(world.person(), firm)
    firm.receiver.behave = lambda _number: 0.05
    draining = threading.Thread(target=jobs.drain)
    draining.start()
    # Each turn meets another moment of a message's way.
    time.sleep(turn * 0.008)
    world.step("withdraw", shared)
    over = time.monotonic()
    draining.join()
    assert told_since(firm, over) == 0


@pytest.mark.usefixtures("patient")
def test_a_stop_waits_for_the_answer(world: World) -> None:
    firm = strict_firm(world)
    shared = world.share(world.person(), firm)
    with ThreadPoolExecutor(1) as pool, sending(firm) as held:
        stopping = pool.submit(world.step, "withdraw", shared)
        until(lambda: world.transact(somebody_waits))
        assert not stopping.done()
        held.let_go()
        stopping.result(30)
        over = time.monotonic()
    assert [message.at < over for message in firm.receiver.journal if message.profile] == [True]
    assert entries(world, shared.person_id)[0].outcome == "completed"


def test_a_stop_waits_no_longer_than_the_deadline(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "STRICT_SECONDS", 0.5)
    firm = strict_firm(world)
    shared = world.share(world.person(), firm)
    with sending(firm) as held:
        world.step("withdraw", shared)
        assert held.holding == 1, "it waited until the receiver gave up"
    assert entries(world, shared.person_id)[0].outcome == "unknown"


def test_without_strict_a_stop_waits_for_nobody(world: World) -> None:
    firm = world.firm()
    shared = world.share(world.person(), firm)
    with sending(firm) as held:
        world.step("withdraw", shared)
        over = time.monotonic()
        assert held.holding == 1
    # What had set out, and nothing more.
    assert told_since(firm, over) <= 1


@pytest.mark.usefixtures("patient")
def test_others_do_not_wait_for_strict_ones_that_hang(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courier, "_STRICT", 2)
    firm, quick = strict_firm(world), world.firm()
    for _ in range(4):
        world.share(world.person(), firm)
    shared = world.share(world.person(), quick)
    # Two at a time, and each is told in the end.
    with sending(firm, requests=2) as held:
        until(lambda: quick.receiver.newest(shared.sub))
        assert held.holding == 2
    assert len(firm.receiver.journal) == 4


@pytest.mark.usefixtures("patient")
def test_a_company_that_takes_its_time_does_not_keep_other_strict_ones_waiting(world: World) -> None:
    """It answers in time, so no circuit opens: it could else have all the room there is, answer after answer."""
    slow, honest = strict_firm(world), strict_firm(world)
    world.set_stream(slow, in_flight=16)
    for _ in range(32):
        world.share(world.person(), slow)
    with sending(slow, requests=8) as held:
        shared = world.share(world.person(), honest)
        until(lambda: entries(world, shared.person_id))
        while not honest.receiver.journal:
            sent = slow.receiver.requests
            held.let_go(1)
            until(lambda: slow.receiver.requests > sent or honest.receiver.journal)  # noqa: B023 - at once
        # It has its turn before those eight are through, not after all that wait.
        assert slow.receiver.requests <= 16


def test_a_consent_somebody_is_changing_is_not_waited_for(world: World) -> None:
    firm = strict_firm(world)
    shared = world.share(world.person(), firm)
    with db.sessions(world.settings.database_url)() as stopping:
        mine = select(Grant).where(Grant.grant_id == shared.grant_id).with_for_update()
        stopping.execute(mine)
        # Were it waited for, this would never end.
        jobs.drain()
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


def test_what_waited_too_long_for_its_turn_is_not_on_its_way_twice(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courier, "_STRICT", 1)
    monkeypatch.setattr(courier, "LEASE_SECONDS", 2.0)
    monkeypatch.setattr(rules, "STRICT_SECONDS", 1.5)
    firm = strict_firm(world)
    for _ in range(2):
        world.share(world.person(), firm)
    # The second has its turn when its lease would end before its answer.
    firm.receiver.behave = lambda _number: 1.2
    jobs.drain()
    assert len(firm.receiver.journal) == firm.receiver.requests == 2


def test_a_sender_that_is_heard_of_no_more_holds_nobody(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "STRICT_SECONDS", 0.2)
    firm = strict_firm(world)
    shared = world.share(world.person(), firm)
    held = firm.receiver.behave = Held()
    sender = courier.Courier(config.current())
    sender.warm()
    sender.drain(time.monotonic() + 0.05)
    until(lambda: held.holding == 1)
    # Nobody looks after that courier now, as when its process is stopped.
    world.step("withdraw", shared)
    held.let_go()
    sender.drain(time.monotonic() + 1)
    sender.close()
    assert entries(world, shared.person_id)[0].outcome in {"unknown", "completed"}

"""What a drain costs, in round trips and commands: counts have no noise."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import update

from portal import config, db, queue
from portal.sync import courier, jobs, push_statements
from portal.sync.models import Delivery, StreamEvent
from tests import counting

if TYPE_CHECKING:
    from sqlalchemy import Executable
    from sqlalchemy.orm import Session

    from tests.sync.cast import Firm, Shared, World


def subscribers(world: World, firm: Firm, count: int) -> list[Shared]:
    world.set_stream(firm, in_flight=100)
    return [world.share(world.person(), firm) for _ in range(count)]


@pytest.fixture
def one_look(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a drain look once, and note everything once: how often it does is a matter of time, and of the machine.

    Nor is anything due meanwhile that other tests have left to be tried again.
    """
    for kind in (Delivery, StreamEvent):
        later = update(kind).values(due_at=db.now() + timedelta(days=1))
        world.transact(partial(_put_off, later))
    monkeypatch.setattr(courier, "_SOONEST_LOOK", 60.0)
    monkeypatch.setattr(courier, "_LATEST_LOOK", 60.0)
    monkeypatch.setattr(courier, "_STAY_SECONDS", 0.0)
    monkeypatch.setattr(courier, "_NOTED_SECONDS", 60.0)
    monkeypatch.setattr(courier, "_SIGNER_SECONDS", 60.0)
    # Another test's courier may find in between that its key has been looked at long ago.
    courier.of(config.current()).close()


def _put_off(later: Executable, session: Session) -> None:
    session.execute(later)


def round_trips(world: World, firm: Firm, count: int) -> tuple[int, list[str]]:
    """Return how often a drain of so many messages asked the consents again, and the other statements it sent."""
    subscribers(world, firm, count)
    before = len(firm.receiver.journal)
    with counting.statements(world.settings) as plain, counting.prepared() as ready:
        jobs.drain()
    assert len(firm.receiver.journal) - before == count
    checks = ready.count(push_statements.STILL_ALLOWED)
    return checks, sorted([*plain, *(each.name for each in ready if each is not push_statements.STILL_ALLOWED)])


@pytest.mark.usefixtures("one_look")
def test_round_trips_do_not_grow_with_messages(world: World) -> None:
    firm = world.firm()
    # What is sent first finds the keys, the portal's and the receiver's.
    round_trips(world, firm, 1)
    (_, few), (checks, many) = (round_trips(world, firm, count) for count in (1, 40))
    assert few == many
    assert len(few) <= 12
    # Asked for all that has a line: one by one only where lines come one by one.
    assert 1 <= checks <= 40


def test_valkey_hears_of_many_edits_once(world: World) -> None:
    firm = world.firm()
    everyone = subscribers(world, firm, 30)
    jobs.drain()
    valkey = queue.connection(config.current().redis_url)
    before = valkey.info("stats")["total_commands_processed"]
    for shared in everyone:
        world.save(shared.person_id, email__main="new@example.org")
    jobs.drain()
    spent = valkey.info("stats")["total_commands_processed"] - before
    assert len(firm.receiver.journal) == 60
    # One bell for all of them, and a question for each whether it has been rung.
    assert spent < 30 + 70


def test_a_look_that_finds_nothing_is_three_statements(world: World) -> None:
    jobs.drain()
    with counting.statements(world.settings) as plain, counting.prepared() as ready:
        jobs.drain()
    assert db.now()
    assert len(plain) + len(ready) <= 3

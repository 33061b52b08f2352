"""What left and was not acknowledged may have arrived: whoever may believe it is told again what is true."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from portal import db, events
from portal.sync import jobs, key_turns, services, streams
from tests.sync.cast import endpoint
from tests.sync.outbox_steps import die_sending
from tests.sync.receiver import Held
from tests.timing import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.orm import Session

    from tests.sync.cast import Firm, World
    from tests.sync.receiver import Reply


def settle(world: World, *, minutes: int = 30) -> None:
    world.transact(lambda session: jobs.settle_stale(session, db.now() + timedelta(minutes=minutes)))


def test_a_pause_is_told_to_whoever_may_have_heard_of_the_end_of_the_one_before(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    firm = world.firm()
    shared = world.share(world.person(), firm)
    jobs.drain()
    world.step("pause", shared)
    jobs.drain()
    receive = firm.receiver._receive  # noqa: SLF001 - it takes a message, and then says that it did not

    def take_and_fail(body: bytes) -> Reply:
        receive(body)
        return 500, {}, b""

    monkeypatch.setattr(firm.receiver, "_receive", take_and_fail)
    world.step("resume", shared)
    jobs.drain()
    world.step("pause", shared)
    for _ in range(2):
        world.due_now()
        jobs.drain()
    monkeypatch.undo()
    world.due_now()
    jobs.drain()
    told = [(message.consent["state"], message.jti) for message in firm.receiver.journal if message.consent]
    assert [state for state, _ in told] == ["active", "paused", "active", "paused", "paused", "paused"]
    assert len({jti for _, jti in told}) == 4


def test_who_acknowledged_a_later_word_is_not_told_it_again(world: World) -> None:
    firm = world.firm()
    shared = world.share(world.person(), firm)
    jobs.drain()
    world.step("pause", shared)
    die_sending(world)
    world.step("withdraw", shared)
    jobs.drain()
    settle(world)
    jobs.drain()
    told = [message.consent["state"] for message in firm.receiver.journal if message.consent]
    assert told == ["active", "paused", "withdrawn"]


def test_what_is_told_for_a_doubt_is_told_until_it_is_heard(world: World) -> None:
    firm = world.firm()
    shared = world.share(world.person(), firm)
    jobs.drain()
    world.step("pause", shared)
    die_sending(world)
    world.step("resume", shared)
    jobs.drain()
    settle(world)
    firm.receiver.forgets = True
    jobs.drain()
    firm.receiver.forgets = False
    world.due_now()
    jobs.drain()
    told = [(message.jti, message.consent["state"]) for message in firm.receiver.journal if message.consent]
    assert [state for _, state in told] == ["active", "paused", "active", "active"]
    assert told[2] == told[3]


def test_a_second_doubt_changes_nothing_while_the_first_is_being_told(world: World) -> None:
    firm = world.firm()
    shared = world.share(world.person(), firm)
    jobs.drain()
    world.step("pause", shared)
    die_sending(world)
    settle(world)
    world.step("resume", shared)
    # What is told of the first doubt is not heard either, and then another sender dies.
    firm.receiver.forgets = True
    jobs.drain()
    world.due_now()
    die_sending(world)
    settle(world, minutes=60)
    firm.receiver.forgets = False
    world.due_now()
    jobs.drain()
    told = [(message.consent["state"], message.jti) for message in firm.receiver.journal if message.consent]
    assert [state for state, _ in told] == ["active", "paused", "active", "active", "active"]
    assert told[2] == told[3] == told[4]


def ended(session: Session, firm: Firm) -> None:
    streams.end(session, client_id=firm.client_id)


def stopped(session: Session, firm: Firm) -> None:
    key_turns.on_key_stopped(session, events.EncryptionKeyStopped(client_id=firm.client_id, kid="enc-1", at=db.now()))


def owed_again(session: Session, firm: Firm) -> None:
    fact = events.ToldInFull(client_id=firm.client_id, purpose_id=firm.purpose_id, at=db.now())
    services.on_told_in_full(session, fact)


@pytest.mark.parametrize("let_go", [ended, stopped, owed_again])
def test_whoever_may_have_heard_of_a_pause_that_was_let_go_is_told_that_it_is_over(
    world: World, let_go: Callable[[Session, Firm], None]
) -> None:
    firm = world.firm()
    shared = world.share(world.person(), firm)
    jobs.drain()
    world.step("pause", shared)
    held = firm.receiver.behave = Held()
    with ThreadPoolExecutor(1) as pool:
        draining = pool.submit(jobs.drain)
        until(lambda: held.holding == 1)
        world.transact(lambda session: let_go(session, firm))
        world.step("resume", shared)
        held.let_go()
        draining.result(30)
    if let_go is ended:
        world.transact(lambda session: endpoint(session, firm))
    world.due_now()
    jobs.drain()
    told = [message.consent["state"] for message in firm.receiver.journal if message.consent]
    # The pause may have been told once more before it was over.
    assert told[:2] == ["active", "paused"]
    assert told[-1] == "active"

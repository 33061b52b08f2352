"""What left and was not acknowledged may have arrived: whoever may believe it is told again what is true."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from portal import db
from portal.sync import jobs
from tests.sync.outbox_steps import claim

if TYPE_CHECKING:
    import pytest

    from tests.sync.cast import World
    from tests.sync.receiver import Reply


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
    monkeypatch.undo()
    world.step("pause", shared)
    world.due_now()
    jobs.drain()
    told = [message.consent["state"] for message in firm.receiver.journal if message.consent]
    assert told == ["active", "paused", "active", "paused"]


def test_who_acknowledged_a_later_word_is_not_told_it_again(world: World) -> None:
    firm = world.firm()
    shared = world.share(world.person(), firm)
    jobs.drain()
    world.step("pause", shared)
    # Its sender dies and says nothing of it.
    claim(world)
    world.end_leases()
    world.step("withdraw", shared)
    jobs.drain()
    world.transact(lambda session: jobs.settle_stale(session, db.now() + timedelta(minutes=30)))
    jobs.drain()
    told = [message.consent["state"] for message in firm.receiver.journal if message.consent]
    assert told == ["active", "withdrawn"]

"""What a drain costs, in round trips and commands: counts have no noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import update

from portal import config, db, queue
from portal.sync import jobs
from portal.sync.models import Stream
from tests import counting

if TYPE_CHECKING:
    from tests.sync.cast import Firm, Shared, World


def subscribers(world: World, firm: Firm, count: int) -> list[Shared]:
    wide = update(Stream).where(Stream.client_id == firm.client_id).values(in_flight=100)
    world.transact(lambda session: session.execute(wide))
    return [world.share(world.person(), firm) for _ in range(count)]


def round_trips(world: World, firm: Firm, count: int) -> int:
    subscribers(world, firm, count)
    before = len(firm.receiver.journal)
    with counting.statements(world.settings) as plain, counting.prepared() as ready:
        jobs.drain()
    assert len(firm.receiver.journal) - before == count
    return len(plain) + len(ready)


def test_round_trips_do_not_grow_with_messages(world: World) -> None:
    jobs.drain()
    few, many = (round_trips(world, world.firm(), count) for count in (1, 40))
    # A drain stays a moment after its last message and looks a few times more; a slow machine fits in more looks.
    assert few <= 32
    # Answers come in over a longer time, and are noted together with whatever is there.
    assert many <= few + 40


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

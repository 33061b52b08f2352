"""How much an endpoint bears: requests at once and a second, also of several workers, and one to try a circuit."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import delete, func, select, text

from portal import db
from portal.sync import jobs, outbox, push_statements
from portal.sync.models import Delivery, Flight
from tests.sync.outbox_steps import claim

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.sync.cast import Firm, Shared, World


def crowd(world: World, firm: Firm, count: int) -> list[Shared]:
    return [world.share(world.person(), firm) for _ in range(count)]


def busy(firm: Firm, seconds: float) -> list[int]:
    """Make the receiver take `seconds`, and return what will hold how many requests it had at once."""
    running, seen, lock = [0], [0], threading.Lock()

    def count(_number: int) -> None:
        with lock:
            running[0] += 1
            seen[0] = max(seen[0], running[0])
        # Long enough that others come meanwhile.
        time.sleep(seconds)
        with lock:
            running[0] -= 1

    firm.receiver.behave = count
    return seen


def side_by_side(workers: int) -> None:
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(lambda _number: jobs.drain(), range(workers)))


def test_several_workers_share_one_limit_of_requests_at_once(world: World, firm: Firm) -> None:
    world.set_stream(firm, in_flight=3)
    everyone = crowd(world, firm, 24)
    most = busy(firm, 0.03)
    side_by_side(3)
    assert most == [3]
    assert len(firm.receiver.journal) == len(everyone)


def test_several_workers_share_one_limit_a_second(world: World, firm: Firm) -> None:
    world.set_stream(firm, in_flight=50, per_second=10)
    crowd(world, firm, 40)
    began = time.monotonic()
    while time.monotonic() - began < 1.0:
        side_by_side(2)
        # As bells come: not at every moment.
        time.sleep(0.02)
    spent = time.monotonic() - began
    assert 10 <= firm.receiver.requests <= 10 + 10 * spent + 1


def test_an_endpoint_tried_after_a_pause_gets_one_message(world: World, firm: Firm) -> None:
    world.set_stream(firm, circuit_step=1, circuit_until=db.now() - timedelta(seconds=1))
    crowd(world, firm, 5)
    assert len(claim(world)) == 1
    assert claim(world) == []


def test_a_probe_that_arrives_lets_the_rest_follow(world: World, firm: Firm) -> None:
    world.set_stream(firm, circuit_step=1, circuit_until=db.now() - timedelta(seconds=1), batch=50)
    crowd(world, firm, 5)
    jobs.drain()
    assert firm.receiver.sizes[0] == 1
    assert sum(firm.receiver.sizes) == 5
    assert world.endpoint(firm).circuit_step == 0


@pytest.mark.parametrize(
    "state",
    [{"state": "paused"}, {"state": "disabled"}, {"method": "poll"}, {"circuit_until": timedelta(minutes=1)}],
    ids=lambda state: "".join(map(str, state.values())),
)
def test_nothing_is_claimed_for_a_stream_that_is_not_pushed_to(
    world: World, firm: Firm, state: dict[str, object]
) -> None:
    until = {name: db.now() + wait if isinstance(wait, timedelta) else wait for name, wait in state.items()}
    world.set_stream(firm, **until)
    crowd(world, firm, 2)
    assert claim(world) == []
    assert not world.transact(lambda session: session.scalar(push_statements.DUE))


def test_requests_that_ended_leave_room(world: World, firm: Firm) -> None:
    crowd(world, firm, 9)
    jobs.drain()
    left = select(func.count()).select_from(Flight).where(Flight.stream_id == world.endpoint(firm).stream_id)
    assert world.transact(lambda session: session.scalar(left)) == 0


def test_a_worker_that_died_takes_room_until_its_lease_ends(world: World, firm: Firm) -> None:
    crowd(world, firm, 8)
    assert len(claim(world)) == 4
    assert claim(world) == []
    world.end_leases()
    assert len(claim(world)) == 4


def owe(world: World, shared: Shared, rows: int) -> None:
    """Give the client of `shared` so many rows that are due, of people who are not there."""
    many = text("""
        INSERT INTO delivery (person_id, grant_id, client_id, generation, acked_generation, acked_sequence,
            told_version, told_state, told_erasure, due_at, attempts, held, last_problem, positioned, applied_state,
            applied_generation, applied_sequence)
        SELECT gen_random_uuid(), gen_random_uuid(), d.client_id, 1, 0, 0, 0, '', false,
               clock_timestamp() - interval '1 hour', 0, false, '', 0, '', 0, 0
          FROM delivery d, generate_series(1, :rows) WHERE d.grant_id = :grant_id""")
    world.transact(lambda session: session.execute(many, {"rows": rows, "grant_id": shared.grant_id}))


@pytest.fixture
def flooded(world: World) -> Iterator[Sequence[Firm]]:
    """A company that is owed ten thousand messages and can take none, and one that is owed one."""
    slow, quick = world.firm(), world.firm()
    owe(world, world.share(world.person(), slow), 10_000)
    world.set_stream(slow, tokens=0.0, tokens_at=db.now() + timedelta(minutes=5))
    world.share(world.person(), quick)
    yield slow, quick
    gone = Delivery.client_id == slow.client_id
    world.transact(lambda session: session.execute(delete(Delivery).where(gone)))


def test_a_long_backlog_hides_nobody(world: World, flooded: Sequence[Firm]) -> None:
    _slow, quick = flooded
    assert [parcel.place.client_id for parcel in claim(world)] == [quick.client_id]


def test_a_long_backlog_is_one_step_of_the_search(world: World, flooded: Sequence[Firm]) -> None:
    assert flooded
    asked = push_statements.LOOK.sql
    for number, value in enumerate(("''", "500", "ARRAY[]", "200"), start=1):
        asked = asked.replace(f"${number}", value)
    plan = world.transact(
        lambda session: session.execute(text(f"EXPLAIN (ANALYZE, FORMAT JSON) {asked}".replace(":", "\\:"))).scalar()
    )
    assert most_rows(plan[0]["Plan"]) < 500


def most_rows(plan: dict[str, object]) -> float:
    here = float(str(plan["Actual Rows"])) * float(str(plan["Actual Loops"]))
    plans = plan.get("Plans", [])
    assert isinstance(plans, list)
    return max([here, *(most_rows(each) for each in plans)])


def test_endpoints_take_turns(world: World) -> None:
    firms = [world.firm() for _ in range(3)]
    for firm in firms:
        world.set_stream(firm, in_flight=10)
        crowd(world, firm, 4)
    taken = [parcel.place.client_id for parcel in claim(world, limit=6)]
    assert sorted(taken.count(firm.client_id) for firm in firms) == [2, 2, 2]


def test_a_round_of_many_looks_ends_with_everybody_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "_CLIENTS", 2)
    firms = [world.firm() for _ in range(5)]
    person_id = world.person()
    for firm in firms:
        world.share(person_id, firm)
    jobs.drain()
    assert [len(firm.receiver.journal) for firm in firms] == [1] * 5

"""From what is due to every receiver that may have it, through a real database and real HTTP on loopback."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest

from portal import config, db
from portal.sync import consignments, copies, courier, jobs
from tests.sync.outbox_steps import carry, claim, entries
from tests.sync.receiver import Held
from tests.timing import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.sync.cast import Firm, Shared, World


@pytest.fixture
def shared(world: World, firm: Firm) -> Shared:
    """A person who shares, whose first message has arrived."""
    made = world.share(world.person(), firm)
    jobs.drain()
    return made


def test_row_is_committed_before_a_byte_leaves(world: World, shared: Shared, firm: Firm) -> None:
    outcomes: list[str] = []

    def look(_number: int) -> None:
        outcomes.append(entries(world, shared.person_id)[0].outcome)

    firm.receiver.behave = look
    world.save(shared.person_id, email__main="x@example.org")
    jobs.drain()
    assert outcomes == ["sending"]
    assert entries(world, shared.person_id)[0].outcome == "completed"


def test_failure_is_retried_with_the_same_id(world: World, firm: Firm, shared: Shared) -> None:
    tokens: list[str] = []

    def refuse(_number: int) -> tuple[int, dict[str, str], bytes]:
        parcels = world.delivery(shared)
        tokens.append(f"{parcels.generation}")
        return 500, {}, b""

    firm.receiver.behave = refuse
    world.save(shared.person_id, email__main="x@example.org")
    jobs.drain()
    waits = world.delivery(shared)
    assert waits.attempts == 1
    assert waits.last_problem == "It answered 500."
    assert 3 < (waits.due_at - db.now()).total_seconds() < 6.1
    failed = entries(world, shared.person_id)[0]
    firm.receiver.behave = None
    world.due_now()
    jobs.drain()
    assert firm.receiver.journal[-1].jti == failed.message_id
    assert failed.outcome == "failed"
    assert world.endpoint(firm).failures == 0


def test_what_was_cut_without_a_word_is_not_sent_again_at_once(world: World, firm: Firm, shared: Shared) -> None:
    def take_it_and_leave(_number: int) -> None:
        raise ConnectionError

    firm.receiver.behave = take_it_and_leave
    world.save(shared.person_id, email__main="x@example.org")
    jobs.drain()
    assert firm.receiver.requests == 2
    waits = world.delivery(shared)
    assert 3 < (waits.due_at - db.now()).total_seconds() < 6.1
    assert entries(world, shared.person_id)[0].outcome == "unknown"


def test_retry_after_is_obeyed(world: World, firm: Firm, shared: Shared) -> None:
    firm.receiver.behave = lambda _number: (429, {"Retry-After": "120"}, b"")
    world.save(shared.person_id, email__main="x@example.org")
    jobs.drain()
    assert (world.delivery(shared).due_at - db.now()).total_seconds() > 115


def test_410_disables_the_endpoint_and_keeps_the_backlog(world: World, firm: Firm, shared: Shared) -> None:
    firm.receiver.behave = lambda _number: (410, {}, b"")
    world.save(shared.person_id, email__main="x@example.org")
    jobs.drain()
    world.due_now()
    jobs.drain()
    assert firm.receiver.requests == 2
    assert world.endpoint(firm).state == "disabled"
    assert world.delivery(shared).generation > world.delivery(shared).acked_generation
    told = world.transact(
        lambda session: copies.status_of_change(session, person_id=shared.person_id, sequence=2, now=db.now())
    )
    assert [each.state for each in told] == ["asks"]


def test_redirect_is_a_failure_and_not_followed(world: World, firm: Firm, shared: Shared) -> None:
    elsewhere = world.firm()
    firm.receiver.behave = lambda _number: (307, {"Location": elsewhere.receiver.url}, b"")
    world.save(shared.person_id, email__main="x@example.org")
    jobs.drain()
    assert elsewhere.receiver.requests == 0
    assert "redirects are not followed" in world.delivery(shared).last_problem


@contextmanager
def hanging(*firms: Firm) -> Iterator[Held]:
    """Drain meanwhile: `firms` hold what they are sent until the block ends."""
    held = Held()
    for firm in firms:
        firm.receiver.behave = held
    draining = threading.Thread(target=jobs.drain)
    draining.start()
    try:
        until(lambda: held.holding)
        yield held
    finally:
        held.let_go()
        draining.join()


def test_one_hanging_endpoint_does_not_keep_others_waiting(world: World) -> None:
    person_id = world.person()
    firms = [world.firm() for _ in range(6)]
    everyone = [world.share(person_id, firm) for firm in firms]
    jobs.drain()
    world.save(person_id, email__main="x@example.org")
    with hanging(firms[0]) as held:
        for firm, shared in list(zip(firms, everyone, strict=True))[1:]:
            until(partial(knows, firm, shared, "x@example.org"))
        assert held.holding == 1


def knows(firm: Firm, shared: Shared, email: str) -> bool:
    return bool(firm.receiver.newest(shared.sub).get("email.main", (0, ""))[1] == email)


def test_news_sets_out_while_another_endpoint_hangs(world: World, firm: Firm, shared: Shared) -> None:
    slow = world.firm()
    world.share(world.person(), slow)
    with hanging(slow) as held:
        world.save(shared.person_id, email__main="x@example.org")
        until(lambda: knows(firm, shared, "x@example.org"))
        assert held.holding == 1


def test_a_drain_stays_for_news_that_comes_again(
    world: World, firm: Firm, shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courier, "_STAY_SECONDS", 30.0)
    world.save(shared.person_id, email__main="first@example.org")
    draining = threading.Thread(target=jobs.drain)
    draining.start()
    until(lambda: entries(world, shared.person_id)[0].outcome == "completed")
    time.sleep(0.05)
    monkeypatch.undo()
    # No other drain was asked for.
    world.save(shared.person_id, email__main="second@example.org")
    until(lambda: knows(firm, shared, "second@example.org"))
    draining.join()


def test_garbage_counts_by_its_status_only(world: World, firm: Firm, shared: Shared) -> None:
    firm.receiver.behave = lambda _number: (202, {"Content-Type": "text/html"}, b"\xff<html>" * 100)
    world.save(shared.person_id, email__main="x@example.org")
    jobs.drain()
    assert world.delivery(shared).acked_generation == world.delivery(shared).generation


def test_connections_are_kept(world: World, firm: Firm, shared: Shared) -> None:
    before = firm.receiver.connections
    for number in range(4):
        world.save(shared.person_id, email__main=f"{number}@example.org")
        jobs.drain()
    assert firm.receiver.connections - before <= 1


def test_consent_is_decided_again_right_before_the_first_byte(world: World, firm: Firm, shared: Shared) -> None:
    world.save(shared.person_id, email__main="x@example.org")
    parcels = claim(world)
    world.step("withdraw", shared)
    carry(parcels)
    assert len(firm.receiver.journal) == 1
    assert entries(world, shared.person_id)[0].outcome == "suppressed"


def test_no_more_requests_at_once_than_a_stream_bears(world: World, firm: Firm) -> None:
    everyone = [world.share(world.person(), firm) for _ in range(30)]
    running, most, lock = 0, 0, threading.Lock()

    def count(_number: int) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        # Long enough that others come meanwhile.
        time.sleep(0.02)
        with lock:
            running -= 1

    firm.receiver.behave = count
    jobs.drain()
    assert 1 < most <= 4
    assert all(firm.receiver.newest(shared.sub)["email.main"][1] == "ada@example.org" for shared in everyone)


def test_twenty_hanging_endpoints_do_not_keep_another_waiting(world: World) -> None:
    people = [world.person() for _ in range(3)]
    twenty = [world.firm() for _ in range(20)]
    for firm in twenty:
        for person_id in people:
            world.share(person_id, firm)
    healthy = world.firm()
    shared = world.share(people[0], healthy)
    with hanging(*twenty) as held:
        until(lambda: knows(healthy, shared, "ada@example.org"))
        until(lambda: held.holding == 60)
    assert [firm.receiver.requests for firm in twenty] == [3] * 20


def test_a_drain_that_ends_leaves_what_hangs_to_the_next(world: World, firm: Firm, shared: Shared) -> None:
    held = firm.receiver.behave = Held()
    world.save(shared.person_id, email__main="x@example.org")
    assert courier.of(config.current()).drain(time.monotonic() + 0.1)
    until(lambda: held.holding == 1)
    held.let_go()
    jobs.drain()
    assert firm.receiver.requests == 2
    assert entries(world, shared.person_id)[0].outcome == "completed"
    assert world.delivery(shared).acked_generation == world.delivery(shared).generation


def test_a_drain_that_is_disturbed_leaves_what_it_has_heard_to_the_next(
    world: World, firm: Firm, shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = world.firm()
    both = [shared, world.share(shared.person_id, other)]
    jobs.drain()
    held = firm.receiver.behave = other.receiver.behave = Held()
    world.save(shared.person_id, email__main="x@example.org")
    sender = courier.of(config.current())
    assert sender.drain(time.monotonic() + 0.1)
    until(lambda: held.holding == 2)
    # Both answers lie there when the next drain begins; the first of them disturbs it.
    held.let_go()
    time.sleep(0.2)
    monkeypatch.setattr(consignments, "answered", _disturbed)
    with pytest.raises(DisturbedError):
        sender.drain(time.monotonic() + 1)
    monkeypatch.undo()
    began = time.monotonic()
    sender.drain(began + 10)
    assert time.monotonic() - began < 5
    assert [world.delivery(share).lease_id for share in both] == [None, None]
    assert {entry.outcome for entry in entries(world, shared.person_id)[:2]} == {"completed", "unknown"}


class DisturbedError(Exception):
    pass


def _disturbed(*_asked: object) -> None:
    raise DisturbedError


def test_a_closed_one_is_not_used_again(world: World) -> None:
    assert world
    before = courier.of(config.current())
    assert courier.of(config.current()) is before
    before.close()
    assert courier.of(config.current()) is not before
    jobs.drain()

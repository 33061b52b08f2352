"""From what is due to every receiver that may have it, through a real database and real HTTP on loopback."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from portal import config, db
from portal.sync import copies, courier, jobs
from tests.sync.outbox_steps import carry, claim, entries

if TYPE_CHECKING:
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


def test_one_hanging_endpoint_does_not_keep_others_waiting(world: World) -> None:
    person_id = world.person()
    firms = [world.firm() for _ in range(6)]
    everyone = [world.share(person_id, firm) for firm in firms]
    jobs.drain()
    firms[0].receiver.behave = lambda _number: 3.0
    world.save(person_id, email__main="x@example.org")
    jobs.drain()
    times = sorted(firm.receiver.journal[-1].at for firm in firms[1:])
    assert times[-1] - times[0] < 0.9
    assert all(
        firm.receiver.newest(shared.sub)["email.main"][1] == "x@example.org"
        for firm, shared in list(zip(firms, everyone, strict=True))[1:]
    )


def test_news_sets_out_while_another_endpoint_hangs(world: World, firm: Firm, shared: Shared) -> None:
    slow = world.firm()
    world.share(world.person(), slow)
    slow.receiver.behave = lambda _number: 1.5
    drain = threading.Thread(target=jobs.drain)
    drain.start()
    time.sleep(0.3)
    began = time.monotonic()
    world.save(shared.person_id, email__main="x@example.org")
    drain.join()
    assert firm.receiver.journal[-1].at - began < 0.6


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
        time.sleep(0.02)
        with lock:
            running -= 1

    firm.receiver.behave = count
    jobs.drain()
    assert 1 < most <= 4
    assert all(firm.receiver.newest(shared.sub)["email.main"][1] == "ada@example.org" for shared in everyone)


def test_twenty_hanging_endpoints_do_not_keep_another_waiting(world: World) -> None:
    people = [world.person() for _ in range(3)]
    hanging = [world.firm() for _ in range(20)]
    for firm in hanging:
        firm.receiver.behave = lambda _number: 1.5
        for person_id in people:
            world.share(person_id, firm)
    healthy = world.firm()
    shared = world.share(people[0], healthy)
    began = time.monotonic()
    jobs.drain()
    assert healthy.receiver.journal[0].at - began < 1.0
    assert healthy.receiver.newest(shared.sub)["email.main"][1] == "ada@example.org"
    assert [firm.receiver.requests for firm in hanging] == [3] * 20


def test_a_drain_that_ends_leaves_what_hangs_to_the_next(world: World, firm: Firm, shared: Shared) -> None:
    firm.receiver.behave = lambda _number: 1.0
    world.save(shared.person_id, email__main="x@example.org")
    began = time.monotonic()
    assert courier.of(config.current()).drain(began + 0.1)
    assert time.monotonic() - began < 0.8
    jobs.drain()
    assert firm.receiver.requests == 2
    assert entries(world, shared.person_id)[0].outcome == "completed"
    assert world.delivery(shared).acked_generation == world.delivery(shared).generation

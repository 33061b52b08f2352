"""How well a stream does is kept once, whoever sees it and however many at once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select, text, update

from portal import db
from portal.companies.models import CompanyLetter
from portal.sync import health, jobs, polling, services
from portal.sync.health import Heard
from portal.sync.models import Delivery, Stream
from portal.sync.rules import Outcome, Result, judge
from tests.sync.receiver import Held
from tests.timing import until

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Executable
    from sqlalchemy.orm import Session

    from tests.sync.cast import Firm, World
    from tests.sync.receiver import Reply

WORKS, FAILS, GONE = (judge(status, milliseconds=1) for status in (202, 503, 410))
REFUSES = judge(422, milliseconds=1)


def note(world: World, firm: Firm, *results: Result) -> list[Heard]:
    heard = [Heard(world.endpoint(firm).stream_id, firm.receiver.url, result) for result in results]
    left: list[Heard] = world.transact(lambda session: health.note(session, heard))
    return left


def age(world: World, firm: Firm, **ages: timedelta) -> None:
    """Move moments of the stream into the past, by the database's clock."""
    moved = ", ".join(f"{column} = clock_timestamp() - CAST(:{column} AS interval)" for column in ages)
    world.transact(
        lambda session: session.execute(
            text(f"UPDATE stream SET {moved} WHERE client_id = :client_id"),  # noqa: S608 - names of columns
            ages | {"client_id": firm.client_id},
        )
    )


def letters(world: World, firm: Firm) -> list[str]:
    mine = (
        select(CompanyLetter.kind).where(CompanyLetter.client_id == firm.client_id).order_by(CompanyLetter.written_at)
    )
    found: list[str] = world.transact(lambda session: list(session.scalars(mine)))
    return found


def test_failures_add_up_and_one_success_ends_them(world: World) -> None:
    firm = world.firm()
    note(world, firm, FAILS, FAILS)
    note(world, firm, FAILS)
    stream = world.endpoint(firm)
    assert (stream.failures, stream.recent, stream.tries, stream.last_problem) == (3, 0b111, 3, "It answered 503.")
    since = stream.failing_since
    assert since
    note(world, firm, FAILS, FAILS)
    opened = world.endpoint(firm)
    assert (opened.failing_since, opened.circuit_step) == (since, 1)
    assert opened.circuit_until
    assert timedelta(seconds=20) < opened.circuit_until - db.now() < timedelta(seconds=40)
    note(world, firm, WORKS)
    mended = world.endpoint(firm)
    assert (mended.failures, mended.circuit_step, mended.circuit_until, mended.failing_since) == (0, 0, None, None)
    assert mended.last_problem == ""


@pytest.mark.parametrize(
    "result", [Result(outcome=Outcome.SUPPRESSED), Result(outcome=Outcome.FAILED, ours=True, detail="ours")]
)
def test_what_is_not_the_endpoints_fault_is_not_held_against_it(world: World, result: Result) -> None:
    firm = world.firm()
    assert note(world, firm, *[result] * 9) == []
    stream = world.endpoint(firm)
    assert (stream.failures, stream.tries, stream.circuit_step, stream.last_problem) == (0, 0, 0, "")


def test_of_a_stream_that_is_well_a_success_is_not_even_written(world: World) -> None:
    firm = world.firm()
    note(world, firm, *[WORKS] * 20)
    version = text("SELECT xmin::text FROM stream WHERE client_id = :client_id")
    named = {"client_id": firm.client_id}
    before = world.transact(lambda session: session.scalar(version, named))
    note(world, firm, WORKS, WORKS)
    assert world.transact(lambda session: session.scalar(version, named)) == before


def test_a_stream_that_somebody_holds_is_noted_with_the_next(world: World) -> None:
    firm, other = world.firm(), world.firm()
    held = world.endpoint(firm).stream_id
    with db.transaction(world.settings.database_url) as holder:
        holder.execute(select(Stream).where(Stream.stream_id == held).with_for_update())
        heard = [(firm, FAILS), (other, FAILS), (firm, WORKS), (firm, FAILS)]
        said = [Heard(world.endpoint(each).stream_id, each.receiver.url, result) for each, result in heard]
        left = world.transact(lambda session: health.note(session, said))
    assert [each.stream_id for each in left] == [held] * 3
    assert world.endpoint(other).failures == 1
    assert world.transact(lambda session: health.note(session, left)) == []
    assert (world.endpoint(firm).failures, world.endpoint(firm).tries) == (1, 3)


def test_many_workers_that_note_at_once_neither_wait_in_a_ring_nor_lose_anything(world: World) -> None:
    firms = [world.firm() for _ in range(3)]
    streams = [Heard(world.endpoint(firm).stream_id, firm.receiver.url, FAILS) for firm in firms]
    broken: list[BaseException] = []

    def work(order: list[Heard]) -> None:
        try:
            for _ in range(30):
                left = list(order)
                while left:
                    left = world.transact(partial(health.note, heard=left))
        except BaseException as error:  # noqa: BLE001 - what a thread meets is asserted on below
            broken.append(error)

    threads = [threading.Thread(target=work, args=(order,)) for order in (streams, streams[::-1], streams, streams)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert broken == []
    for firm in firms:
        stream = world.endpoint(firm)
        # The circuit opens once, however many failures were on their way.
        assert (stream.failures, stream.circuit_step) == (120, 1)


def test_gone_is_off_at_once_and_one_letter_says_so(world: World) -> None:
    firm = world.firm()
    note(world, firm, GONE, GONE)
    note(world, firm, GONE)
    stream = world.endpoint(firm)
    assert (stream.state, stream.disabled_at is not None) == ("disabled", True)
    assert "410" in stream.reason
    assert letters(world, firm) == ["disabled"]


def test_a_hundred_and_twenty_hours_without_a_success_turn_it_off(world: World) -> None:
    firm = world.firm()
    note(world, firm, *[FAILS] * 6)
    for hours, state in ((119, "enabled"), (121, "disabled")):
        age(world, firm, failing_since=timedelta(hours=hours), circuit_until=timedelta(minutes=1))
        note(world, firm, FAILS)
        assert world.endpoint(firm).state == state
    assert letters(world, firm)[-1] == "disabled"


def test_each_warning_is_written_once(world: World) -> None:
    firm = world.firm()
    note(world, firm, FAILS)
    for hours, kinds in ((0.9, []), (1.1, ["failing-1"]), (25, ["failing-1", "failing-2"]),
                         (97, ["failing-1", "failing-2", "failing-3"])):  # fmt: skip
        age(world, firm, failing_since=timedelta(hours=hours))
        note(world, firm, FAILS)
        note(world, firm, FAILS)
        assert letters(world, firm) == kinds


def test_time_alone_makes_a_warning_due(world: World) -> None:
    firm = world.firm()
    note(world, firm, FAILS)
    age(world, firm, failing_since=timedelta(hours=30))
    for _ in range(2):
        world.transact(health.warn_of_silence)
    assert letters(world, firm) == ["failing-2"]
    assert world.endpoint(firm).warned == 2


def test_an_endpoint_that_comes_and_goes_is_written_about_once_a_day(world: World) -> None:
    firm = world.firm()
    for _ in range(3):
        note(world, firm, FAILS)
        age(world, firm, failing_since=timedelta(hours=2))
        note(world, firm, FAILS)
        note(world, firm, WORKS)
        assert world.endpoint(firm).warned == 0
    assert letters(world, firm) == ["failing-1"]


def test_refused_messages_are_written_about_once_a_day(world: World) -> None:
    firm = world.firm()
    for _ in range(3):
        note(world, firm, REFUSES)
    assert letters(world, firm) == ["held"]
    for hours, kinds in ((23, ["held"]), (25, ["held", "held"])):
        earlier = update(CompanyLetter).where(CompanyLetter.client_id == firm.client_id)
        world.transact(partial(_run, earlier.values(written_at=db.now() - timedelta(hours=hours))))
        note(world, firm, REFUSES)
        assert letters(world, firm) == kinds


def _run(statement: Executable, session: Session) -> None:
    session.execute(statement)


def test_what_returns_begins_anew_and_its_backlog_is_due(world: World) -> None:
    firm = world.firm()
    waiting, held = (world.share(world.person(), firm) for _ in range(2))
    note(world, firm, *[GONE] * 6)
    tomorrow = update(Delivery).where(Delivery.client_id == firm.client_id)
    later = tomorrow.values(due_at=db.now() + timedelta(days=1), attempts=9)
    world.transact(lambda session: session.execute(later))
    refused = update(Delivery).where(Delivery.grant_id == held.grant_id).values(held=True)
    world.transact(lambda session: session.execute(refused))
    values: dict[str, Any] = {"client_id": firm.client_id}

    def turn_on(session: Any) -> None:  # noqa: ANN401 - a session
        stream = session.scalars(select(Stream).filter_by(**values)).one()
        health.returned(session, stream)

    world.transact(turn_on)
    stream = world.endpoint(firm)
    assert (stream.state, stream.failures, stream.circuit_step, stream.disabled_at) == ("enabled", 0, 0, None)
    assert world.delivery(waiting).due_at <= db.now()
    assert world.delivery(waiting).attempts == 0
    # Its receiver refused it: it waits for whoever mends that.
    assert world.delivery(held).due_at > db.now()


def test_the_backlog_is_kept_while_it_is_off_one_row_a_person(world: World) -> None:
    firm = world.firm()
    shared = world.share(world.person(), firm)
    note(world, firm, GONE)
    for name in ("Ada", "Ada B", "Ada L"):
        world.save(shared.person_id, name__full=name)
    mine = select(Delivery).where(Delivery.client_id == firm.client_id)
    (owed,) = world.transact(lambda session: list(session.scalars(mine)))
    assert owed.generation > owed.acked_generation


def past(world: World, firm: Firm) -> None:
    """Let the pause pass, and what was tried be due."""
    age(world, firm, circuit_until=timedelta(seconds=1))
    world.due_now()


def test_a_dead_endpoint_is_left_alone_probed_by_one_and_sent_all_when_it_is_back(world: World) -> None:
    firm = world.firm()
    shared = [world.share(world.person(), firm) for _ in range(20)]
    firm.receiver.behave = lambda _number: (503, {}, b"")
    jobs.drain()
    tried = firm.receiver.requests
    # Five open it; what was on its way by then, at most four at once, comes on top.
    assert 5 <= tried <= 8
    world.due_now()
    jobs.drain()
    assert firm.receiver.requests == tried
    for step in (2, 3):
        past(world, firm)
        jobs.drain()
        assert world.endpoint(firm).circuit_step == step
        tried += 1
        assert firm.receiver.requests == tried
    firm.receiver.behave = None
    past(world, firm)
    jobs.drain()
    assert world.endpoint(firm).circuit_step == 0
    assert all(world.delivery(one).acked_generation == world.delivery(one).generation for one in shared)


def test_retry_after_holds_everybody_at_that_endpoint_back(world: World) -> None:
    firm, other = world.firm(), world.firm()
    for _ in range(6):
        person = world.person()
        world.share(person, firm)
        world.share(person, other)
    firm.receiver.behave = lambda _number: (429, {"Retry-After": "600"}, b"")
    jobs.drain()
    tried = firm.receiver.requests
    assert tried <= 4
    world.due_now()
    jobs.drain()
    assert firm.receiver.requests == tried
    until = world.endpoint(firm).circuit_until
    assert until
    assert timedelta(minutes=9) < until - db.now() < timedelta(minutes=11)
    assert world.endpoint(firm).circuit_step == 0
    assert len(other.receiver.journal) == 6


@pytest.mark.parametrize("answer", [410, 503])
def test_what_the_old_address_says_is_not_held_against_the_new_one(world: World, answer: int) -> None:
    firm, other = world.firm(), world.firm(enabled=False)
    other.receiver.key = firm.receiver.key
    for _ in range(6):
        world.share(world.person(), firm)
    world.set_stream(firm, in_flight=6)
    held = Held()

    def fail(number: int) -> Reply:
        held(number)
        return answer, {}, b""

    firm.receiver.behave = fail
    with ThreadPoolExecutor(1) as pool:
        draining = pool.submit(jobs.drain)
        until(lambda: held.holding == 6)
        move = {"client_id": firm.client_id, "url": other.receiver.url, "now": db.now()}
        world.transact(lambda session: services.enable_endpoint(session, **move))
        held.let_go()
        draining.result(30)
    stream = world.endpoint(firm)
    assert (stream.url, stream.state, stream.failures) == (other.receiver.url, "enabled", 0)
    assert letters(world, firm) == []


def test_whoever_fetches_what_could_not_be_pushed_has_gone_without_no_longer(world: World) -> None:
    firm = world.firm()
    shared = world.share(world.person(), firm)
    firm.receiver.behave = lambda _number: (500, {}, b"")
    jobs.drain()
    assert world.endpoint(firm).failing_since
    sets = fetched(world, firm)
    asked = polling.Asked(most=0, at_once=True, acknowledged=list(sets), errors={})
    polling.poll(world.settings, keyring=world.keyring, client_id=firm.client_id, asked=asked)
    assert world.delivery(shared).acked_generation == world.delivery(shared).generation
    assert world.endpoint(firm).failing_since is None


def fetched(world: World, firm: Firm) -> Mapping[str, str]:
    asked = polling.Asked(most=9, at_once=True, acknowledged=[], errors={})
    return polling.poll(world.settings, keyring=world.keyring, client_id=firm.client_id, asked=asked).sets


def test_gone_is_told_by_letter_keeps_the_backlog_and_returns_whole(world: World) -> None:
    firm = world.firm()
    shared = world.share(world.person(), firm)
    firm.receiver.behave = lambda _number: (410, {}, b"")
    jobs.drain()
    assert world.endpoint(firm).state == "disabled"
    assert letters(world, firm) == ["disabled"]
    for name in ("Ada King", "Ada Lovelace"):
        world.save(shared.person_id, name__full=name)
    firm.receiver.behave = None
    jobs.drain()
    assert firm.receiver.requests == 1
    mine = select(Stream).where(Stream.client_id == firm.client_id)
    world.transact(lambda session: health.returned(session, session.scalars(mine).one()))
    jobs.drain()
    assert firm.receiver.newest(shared.sub)["name.full"][1] == "Ada Lovelace"
    assert sum("sub" in message.claims["sub_id"] for message in firm.receiver.journal) == 1

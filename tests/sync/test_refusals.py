"""What did not arrive: when it is tried again, what waits for somebody, and what is said of it."""

from __future__ import annotations

import contextlib
import socket
import threading
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select

from portal import db
from portal.sync import jobs, outbox, rules, services
from portal.sync.models import Attempt
from portal.sync.rules import Outcome, Result
from tests.sync.cast import allow
from tests.sync.outbox_steps import claim, entries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.sync.cast import Firm, Shared, World


def tries(world: World, firm: Firm) -> list[Attempt]:
    mine = select(Attempt).where(Attempt.client_id == firm.client_id).order_by(Attempt.at)
    found: list[Attempt] = world.transact(lambda session: session.scalars(mine).all())
    return found


@pytest.mark.parametrize("status", sorted(rules.REFUSED))
def test_a_refusal_is_held_for_a_day(world: World, firm: Firm, shared: Shared, status: int) -> None:
    firm.receiver.behave = lambda _number: (status, {}, b"")
    jobs.drain()
    held = world.delivery(shared)
    assert held.held
    hours = (held.due_at - db.now()) / timedelta(hours=1)
    assert 19 < hours < 29
    jobs.drain()
    assert firm.receiver.requests == 1


@pytest.mark.parametrize("lift", ["edit", "send again"])
def test_newer_news_or_staff_lift_what_is_held(world: World, firm: Firm, shared: Shared, lift: str) -> None:
    firm.receiver.behave = lambda number: (422, {}, b"") if number == 1 else None
    jobs.drain()
    if lift == "edit":
        world.save(shared.person_id, email__main="new@example.org")
    else:
        again = {"person_id": shared.person_id, "grant_id": shared.grant_id}
        world.transact(lambda session: services.send_again(session, **again))
    assert not world.delivery(shared).held
    jobs.drain()
    assert len(firm.receiver.journal) == 1
    assert world.delivery(shared).acked_generation == world.delivery(shared).generation


@pytest.mark.parametrize("status", [500, 502, 503, 504, 404, 307])
def test_a_failure_is_tried_again_by_the_table(world: World, firm: Firm, shared: Shared, status: int) -> None:
    firm.receiver.behave = lambda _number: (status, {}, b"")
    jobs.drain()
    waits = world.delivery(shared)
    assert not waits.held
    assert 3.5 < (waits.due_at - db.now()).total_seconds() < 6.1


def test_a_newer_state_begins_the_table_anew(world: World, firm: Firm, shared: Shared) -> None:
    firm.receiver.behave = lambda _number: (500, {}, b"")
    for _ in range(3):
        jobs.drain()
        world.due_now()
    assert world.delivery(shared).attempts == 3
    world.save(shared.person_id, email__main="new@example.org")
    waits = world.delivery(shared)
    assert waits.attempts == 0
    assert waits.due_at <= db.now()


def test_edits_do_not_hammer_an_endpoint_that_is_down(world: World, firm: Firm, shared: Shared) -> None:
    firm.receiver.behave = lambda _number: (500, {}, b"")
    for number in range(20):
        world.save(shared.person_id, email__main=f"{number}@example.org")
        jobs.drain()
    assert firm.receiver.requests == 5
    assert world.endpoint(firm).circuit_step == 1


def test_a_wish_for_time_holds_back_the_whole_stream(world: World, firm: Firm, shared: Shared) -> None:
    firm.receiver.behave = lambda _number: (429, {"Retry-After": "60"}, b"")
    jobs.drain()
    assert shared
    world.share(world.person(), firm)
    jobs.drain()
    assert firm.receiver.requests == 1


def test_an_edit_during_a_failure_is_due_at_once(world: World, firm: Firm, shared: Shared) -> None:
    def refuse(number: int) -> tuple[int, dict[str, str], bytes] | None:
        if number > 1:
            return None
        world.save(shared.person_id, email__main="meanwhile@example.org")
        return 500, {}, b""

    firm.receiver.behave = refuse
    jobs.drain()
    assert firm.receiver.newest(shared.sub)["email.main"][1] == "meanwhile@example.org"


@contextlib.contextmanager
def peer(*, talk: Callable[[socket.socket, int], None]) -> Iterator[str]:
    """Be a server that does with its numbered connections what `talk` says."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            for number in range(1, 10):
                line, _ = listener.accept()
                with line:
                    talk(line, number)

    thread = threading.Thread(target=serve)
    thread.start()
    host, port = listener.getsockname()
    allow(f"{host}:{port}")
    yield f"http://{host}:{port}/events"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def moved(world: World, firm: Firm, url: str) -> None:
    world.set_stream(firm, url=url)


def read_all(line: socket.socket) -> None:
    received = b""
    while b"\r\n\r\n" not in received:
        received += line.recv(65536)
    head, _, body = received.partition(b"\r\n\r\n")
    left = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]) - len(body)
    while left > 0:
        left -= len(line.recv(65536))


def test_an_answer_that_never_comes_is_unknown(world: World, firm: Firm, shared: Shared) -> None:
    with peer(talk=lambda line, _number: read_all(line)) as url:
        moved(world, firm, url)
        jobs.drain()
    assert entries(world, shared.person_id)[0].outcome == "unknown"
    assert [each.outcome for each in tries(world, firm)] == ["unknown"]


def test_where_nobody_listens_nothing_was_sent(world: World, firm: Firm, shared: Shared) -> None:
    allow("127.0.0.1:9")
    moved(world, firm, "http://127.0.0.1:9/events")
    jobs.drain()
    assert entries(world, shared.person_id)[0].outcome == "failed"


def test_a_line_that_was_closed_is_replaced_at_once_and_once(world: World, firm: Firm, shared: Shared) -> None:
    gone = threading.Event()

    def talk(line: socket.socket, number: int) -> None:
        read_all(line)
        line.sendall(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
        if number == 1:
            # It hears the next request and leaves without having read it.
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
            gone.wait(2)

    with peer(talk=talk) as url:
        moved(world, firm, url)
        jobs.drain()
        world.save(shared.person_id, email__main="new@example.org")
        gone.set()
        jobs.drain()
    assert world.delivery(shared).acked_generation == world.delivery(shared).generation
    assert [each.outcome for each in tries(world, firm)] == ["completed", "completed"]


def test_what_its_worker_never_noted_is_a_try_too(world: World, firm: Firm, shared: Shared) -> None:
    [parcel] = claim(world)
    world.transact(lambda session: jobs.settle_stale(session, db.now() + 2 * jobs.STALE))
    [known] = tries(world, firm)
    assert (known.outcome, known.jti, known.person_id) == ("unknown", parcel.jti, shared.person_id)


def test_tries_are_forgotten_after_a_month(world: World, firm: Firm, shared: Shared) -> None:
    assert shared
    jobs.drain()
    jobs.tidy(world.settings, now=db.now() + timedelta(days=29))
    assert len(tries(world, firm)) == 1
    jobs.tidy(world.settings, now=db.now() + timedelta(days=31))
    assert tries(world, firm) == []


def test_following_never_waits_less_than_was_asked_for() -> None:
    asked = Result(outcome=Outcome.FAILED, status=503, retry_after=timedelta(hours=30))
    assert rules.following(asked, attempts=0).delay == timedelta(hours=24)
    soon = Result(outcome=Outcome.FAILED, status=503, retry_after=timedelta(seconds=1))
    assert rules.following(soon, attempts=3).delay > timedelta(minutes=20)


def test_whoever_asked_for_less_does_not_wait_for_hours_when_they_are_back() -> None:
    for attempts in range(40):
        named = Result(outcome=Outcome.FAILED, status=429, retry_after=timedelta(minutes=1))
        assert rules.following(named, attempts=attempts).delay == timedelta(minutes=1)
        unnamed = Result(outcome=Outcome.FAILED, status=429)
        assert timedelta() <= rules.following(unnamed, attempts=attempts).delay <= timedelta(minutes=6)


def test_what_cannot_be_noted_holds_up_nobody_for_long(
    world: World, firm: Firm, shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_session: object, **_rest: object) -> None:
        raise RuntimeError

    with monkeypatch.context() as broken:
        broken.setattr(outbox, "finish", refuse)
        for _ in range(3):
            with pytest.raises(RuntimeError):
                jobs.drain()
    world.due_now()
    jobs.drain()
    assert world.delivery(shared).acked_generation == world.delivery(shared).generation
    assert len({message.jti for message in firm.receiver.journal}) == 1

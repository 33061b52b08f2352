"""From an edit to every receiver that may have it, through a real database and real HTTP on loopback."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import event, text

from portal import db
from portal.ledger import queries as ledger
from portal.sync import copies, courier, jobs, outbox, rules
from portal.vault import signing

if TYPE_CHECKING:
    from uuid import UUID

    from portal.ledger.queries import Entry
    from portal.sync.outbox import Parcel
    from tests.sync.cast import Firm, Shared, World


def entries(world: World, person_id: UUID, channel: str = "push") -> list[Entry]:
    found = world.transact(lambda session: ledger.of_person(session, person_id=person_id))
    return [entry for entry in found if entry.channel == channel]


def claim(world: World, limit: int = 100) -> list[Parcel]:
    parcels: list[Parcel] = world.transact(
        lambda session: outbox.claim(
            session, keyring=world.keyring, now=db.now(), limit=limit, lease_seconds=20, stream_id=None
        )
    )
    return parcels


@pytest.fixture
def firm(world: World) -> Firm:
    return world.firm()


@pytest.fixture
def shared(world: World, firm: Firm) -> Shared:
    """A person who shares, whose first message has arrived."""
    made = world.share(world.person(), firm)
    jobs.drain()
    return made


def test_first_message_is_complete_and_tells_the_consent(world: World, firm: Firm, shared: Shared) -> None:
    message = firm.receiver.journal[0]
    assert message.values == {"name.full": (1, "Ada Byrne"), "email.main": (1, "ada@example.org")}
    assert message.profile is not None
    assert message.consent is not None
    assert message.profile["complete"] is True
    assert message.consent["state"] == "active"
    assert message.claims["sub_id"]["sub"] == shared.sub
    assert message.claims["aud"] == firm.client_id
    assert [entry.outcome for entry in entries(world, shared.person_id)] == ["completed"]


def test_edit_sends_only_what_changed(world: World, firm: Firm, shared: Shared) -> None:
    world.save(shared.person_id, email__main="new@example.org")
    jobs.drain()
    message = firm.receiver.journal[-1]
    assert message.values == {"email.main": (2, "new@example.org")}
    assert message.profile is not None
    assert message.profile["complete"] is False
    assert message.consent is None
    assert entries(world, shared.person_id)[0].given == {"email.main": 2}


def test_edit_of_something_not_shared_tells_nobody(world: World, firm: Firm, shared: Shared) -> None:
    before = world.delivery(shared).generation
    world.save(shared.person_id, birth__date="1984-03-27")
    assert world.delivery(shared).generation == before
    assert len(firm.receiver.journal) == 1


def test_edits_that_pile_up_are_one_message_of_the_newest_state(world: World, firm: Firm, shared: Shared) -> None:
    for number in range(5):
        world.save(shared.person_id, email__main=f"{number}@example.org")
    jobs.drain()
    assert len(firm.receiver.journal) == 2
    assert firm.receiver.newest(shared.sub)["email.main"] == (6, "4@example.org")


def test_fan_out_is_one_statement_for_every_subscription(world: World) -> None:
    person_id = world.person()
    for _ in range(3):
        world.share(person_id, world.firm())
    seen: list[str] = []
    engine = db.engine(world.settings.database_url)

    def count(_conn: object, _cursor: object, statement: str, *_rest: object) -> None:
        if "INSERT INTO delivery" in statement:
            seen.append(statement)

    event.listen(engine, "before_cursor_execute", count)
    world.save(person_id, email__main="x@example.org")
    event.remove(engine, "before_cursor_execute", count)
    assert len(seen) == 1


def test_row_is_committed_before_a_byte_leaves(world: World, shared: Shared, firm: Firm) -> None:
    outcomes: list[str] = []

    def look(_number: int) -> None:
        outcomes.append(entries(world, shared.person_id)[0].outcome)

    firm.receiver.behave = look
    world.save(shared.person_id, email__main="x@example.org")
    jobs.drain()
    assert outcomes == ["sending"]
    assert entries(world, shared.person_id)[0].outcome == "completed"


def test_lease_keeps_a_second_worker_away_until_it_ends(world: World, firm: Firm, shared: Shared) -> None:
    world.save(shared.person_id, email__main="x@example.org")
    assert [parcel.grant_id for parcel in claim(world)] == [shared.grant_id]
    assert claim(world) == []
    jobs.drain()
    assert len(firm.receiver.journal) == 1
    world.due_now()
    jobs.drain()
    assert firm.receiver.newest(shared.sub)["email.main"][1] == "x@example.org"


def test_acknowledgement_under_a_lost_lease_changes_nothing(world: World, shared: Shared) -> None:
    world.save(shared.person_id, email__main="x@example.org")
    (lost,) = claim(world)
    world.due_now()
    (held,) = claim(world)
    good = rules.Result(outcome=rules.Outcome.COMPLETED)
    world.transact(lambda session: outbox.finish(session, [outbox.Sent(lost, good)], now=db.now()))
    assert world.delivery(shared).acked_generation < world.delivery(shared).generation
    world.transact(lambda session: outbox.finish(session, [outbox.Sent(held, good)], now=db.now()))
    assert world.delivery(shared).acked_generation == world.delivery(shared).generation


def test_edit_while_sending_stays_due(world: World, firm: Firm, shared: Shared) -> None:
    def edit(number: int) -> None:
        if number == 2:
            world.save(shared.person_id, email__main="second@example.org")

    firm.receiver.behave = edit
    world.save(shared.person_id, email__main="first@example.org")
    jobs.drain()
    assert firm.receiver.newest(shared.sub)["email.main"][1] == "second@example.org"
    assert len({message.jti for message in firm.receiver.journal}) == 3


def test_consent_is_decided_again_right_before_the_first_byte(world: World, firm: Firm, shared: Shared) -> None:
    world.save(shared.person_id, email__main="x@example.org")
    (parcel,) = claim(world)
    world.step("withdraw", shared)
    signer = world.transact(lambda session: signing.current(session, keyring=world.keyring))
    sent = courier.send(world.settings, signer, parcel, seconds=1)
    world.transact(lambda session: outbox.finish(session, [sent], now=db.now()))
    assert len(firm.receiver.journal) == 1
    assert entries(world, shared.person_id)[0].outcome == "suppressed"


def test_stopping_tells_the_company_once_and_then_nothing(world: World, firm: Firm, shared: Shared) -> None:
    world.step("withdraw", shared)
    jobs.drain()
    last = firm.receiver.journal[-1]
    assert last.consent is not None
    assert last.profile is None
    assert (last.consent["state"], last.consent["attributes"]) == ("withdrawn", [])
    world.save(shared.person_id, email__main="secret@example.org")
    jobs.drain()
    assert len(firm.receiver.journal) == 2
    assert entries(world, shared.person_id, "notice")[0].message_id == last.jti


def test_pause_holds_and_resume_sends_the_whole_state(world: World, firm: Firm, shared: Shared) -> None:
    world.step("pause", shared)
    jobs.drain()
    world.save(shared.person_id, email__main="quiet@example.org")
    jobs.drain()
    assert len(firm.receiver.journal) == 2
    world.step("resume", shared)
    jobs.drain()
    profile = firm.receiver.journal[-1].profile
    assert profile is not None
    assert profile["complete"] is True
    assert firm.receiver.newest(shared.sub)["email.main"][1] == "quiet@example.org"


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


def test_slow_endpoint_is_parked_and_served_by_the_patient_lane(world: World, firm: Firm, shared: Shared) -> None:
    firm.receiver.behave = lambda number: 1.6 if number == 2 else None
    world.save(shared.person_id, email__main="x@example.org")
    jobs.drain()
    endpoint = world.endpoint(firm)
    assert endpoint.slow_until is not None
    assert entries(world, shared.person_id)[0].outcome == "unknown"
    jobs.drain_endpoint(str(endpoint.stream_id))
    assert world.delivery(shared).acked_generation == world.delivery(shared).generation
    assert firm.receiver.newest(shared.sub)["email.main"][1] == "x@example.org"


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
    assert healthy.receiver.journal[0].at - began < 1.5
    assert healthy.receiver.newest(shared.sub)["email.main"][1] == "ada@example.org"
    # One thread each until they have answered: the rest of what they are owed did not set out here.
    assert [firm.receiver.requests for firm in hanging] == [1] * 20
    assert all(world.endpoint(firm).slow_until is not None for firm in hanging)


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


def test_endpoint_that_answers_gets_many_at_once(world: World, firm: Firm) -> None:
    everyone = [world.share(world.person(), firm) for _ in range(30)]
    running, most, lock = 0, 0, threading.Lock()

    def count(_number: int) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.05)
        with lock:
            running -= 1

    firm.receiver.behave = count
    jobs.drain()
    assert 1 < most <= 8
    assert all(firm.receiver.newest(shared.sub)["email.main"][1] == "ada@example.org" for shared in everyone)


def test_drain_of_one_endpoint_ends_with_its_first_timeout(
    world: World, firm: Firm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courier, "SLOW", courier.Lane(seconds=0.3, lease_seconds=20, batch=4))
    for _ in range(3):
        world.share(world.person(), firm)
    firm.receiver.behave = lambda _number: 0.8
    jobs.drain_endpoint(str(world.endpoint(firm).stream_id))
    assert firm.receiver.requests == 1


def test_garbage_counts_by_its_status_only(world: World, firm: Firm, shared: Shared) -> None:
    firm.receiver.behave = lambda _number: (202, {"Content-Type": "text/html"}, b"\xff<html>" * 100)
    world.save(shared.person_id, email__main="x@example.org")
    jobs.drain()
    assert world.delivery(shared).acked_generation == world.delivery(shared).generation


def test_message_without_a_worker_behind_it_becomes_unknown(world: World, shared: Shared) -> None:
    world.save(shared.person_id, email__main="x@example.org")
    claim(world)
    world.transact(lambda session: jobs.settle_stale(session, db.now() + 2 * jobs.STALE))
    assert entries(world, shared.person_id)[0].outcome == "unknown"


def test_status_of_a_change_names_each_company(world: World, firm: Firm, shared: Shared) -> None:
    sequence = world.save(shared.person_id, email__main="x@example.org")

    def status() -> list[tuple[str, str]]:
        told = world.transact(
            lambda session: copies.status_of_change(
                session, person_id=shared.person_id, sequence=sequence, now=db.now()
            )
        )
        return [(each.company_name, each.state) for each in told]

    assert status() == [(firm.name, "waiting")]
    jobs.drain()
    assert status() == [(firm.name, "received")]


def test_reconciler_rings_for_what_is_due_and_nobody_holds(world: World, shared: Shared) -> None:
    world.save(shared.person_id, email__main="x@example.org")
    from portal import config, queue  # noqa: PLC0415 - after the world has set them up

    settings = config.current()
    queue.connection(settings.redis_url).flushall()
    jobs.reconcile()
    assert queue.queue(settings.redis_url, queue.FAST).count == 1
    queue.connection(settings.redis_url).flushall()
    jobs.drain()
    world.transact(lambda session: session.execute(text("SELECT 1")))
    jobs.reconcile()
    assert queue.queue(settings.redis_url, queue.FAST).count == 0
    assert shared.sub


def test_connections_are_kept(world: World, firm: Firm, shared: Shared) -> None:
    before = firm.receiver.connections
    for number in range(4):
        world.save(shared.person_id, email__main=f"{number}@example.org")
        jobs.drain()
    assert firm.receiver.connections - before <= 1

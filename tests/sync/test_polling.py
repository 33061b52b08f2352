"""Fetching instead of being told (RFC 8936), over the API: the same outbox, ledger and messages as push."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select, update

from portal import db
from portal.consumer import services as consumer
from portal.ledger import queries as ledger
from portal.ledger import rules
from portal.sync import jobs, messages, polling, services, streams
from portal.sync.models import Attempt, Delivery, Stream
from tests.sync.caller import Caller
from tests.sync.receiver import read
from tests.timing import somebody_waits, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flask.testing import FlaskClient
    from werkzeug.test import TestResponse

    from tests.sync.cast import Firm, Shared, World
    from tests.sync.receiver import Message

NOW: dict[str, Any] = {"returnImmediately": True}
_A_MOMENT = 0.4


@pytest.fixture
def firm(world: World) -> Firm:
    """A company that polls."""
    made = world.firm(enabled=False)
    world.transact(lambda session: open_stream(session, made))
    return made


def open_stream(session: Any, firm: Firm) -> Stream:  # noqa: ANN401 - a session
    services.make_stream(session, client_id=firm.client_id, stream_id=db.new_id(), now=db.now())
    return services.open_stream(session, client_id=firm.client_id, method="poll", url=None, now=db.now())


def ask(caller: Caller, **body: Any) -> TestResponse:  # noqa: ANN401 - JSON
    return caller.post(streams.EVENTS, json=NOW | body)


def poll(caller: Caller, **body: Any) -> dict[str, str]:  # noqa: ANN401 - JSON
    answer = ask(caller, **body)
    assert answer.status_code == 200, answer.text
    sets: dict[str, str] = answer.get_json()["sets"]
    return sets


def opened(world: World, firm: Firm, sets: dict[str, str]) -> list[Message]:
    keys = world.portal_keys()
    found = [read(token, portal_keys=keys, key=firm.receiver.key) for token in sets.values()]
    assert [message.jti for message in found] == list(sets)
    return found


def log(world: World, shared: Shared) -> list[tuple[str, str]]:
    """What the person's log says of what went out, the newest first."""
    entries = world.transact(lambda session: ledger.of_person(session, person_id=shared.person_id, limit=50))
    return [(entry.channel, entry.outcome) for entry in entries if entry.channel == "poll"]


def attempts_of(world: World, firm: Firm) -> list[Attempt]:
    mine = select(Attempt).where(Attempt.client_id == firm.client_id).order_by(Attempt.at)
    found: list[Attempt] = world.transact(lambda session: session.scalars(mine).all())
    return found


def lapse(world: World, firm: Firm) -> None:
    """Let the leases of what was handed out run out."""
    mine = update(Delivery).where(Delivery.client_id == firm.client_id).values(leased_until=db.now())
    world.transact(lambda session: session.execute(mine))


def test_poll_only(caller: Caller, world: World, firm: Firm) -> None:
    """RFC 8936 section 2.4.1: what waits is handed out, opened with the company's own key, and logged."""
    shared = world.share(world.person(), firm)
    [message] = opened(world, firm, poll(caller))
    assert message.claims["aud"] == firm.client_id
    assert message.claims["sub_id"]["sub"] == shared.sub
    assert message.values["name.full"] == (1, "Ada Byrne")
    assert message.consent is not None
    assert log(world, shared) == [("poll", "sending")]
    [attempt] = attempts_of(world, firm)
    assert (attempt.jti, attempt.channel, attempt.outcome) == (message.jti, "poll", "sending")
    assert "Ada Byrne" not in attempt.payload


def test_acknowledge_only(caller: Caller, world: World, firm: Firm) -> None:
    """RFC 8936 section 2.4.2: with `maxEvents` 0 nothing is handed out."""
    shared = world.share(world.person(), firm)
    world.share(world.person(), firm)
    first, *_ = poll(caller)
    answer = ask(caller, ack=[first], maxEvents=0)
    assert answer.get_json()["sets"] == {}
    assert [each.outcome for each in attempts_of(world, firm) if each.jti == first] == ["completed"]
    assert log(world, shared)[0][0] == "poll"
    [row] = [row for row in rows_of(world, firm) if row.sent_jti == first]
    assert (row.acked_generation, row.lease_id, row.acked_sequence) == (row.generation, None, 1)


def rows_of(world: World, firm: Firm) -> list[Delivery]:
    mine = select(Delivery).where(Delivery.client_id == firm.client_id)
    found: list[Delivery] = world.transact(lambda session: session.scalars(mine).all())
    return found


def test_poll_with_acknowledgement(caller: Caller, world: World, firm: Firm) -> None:
    """RFC 8936 section 2.4.3: acknowledging and asking go together, and what is new is told as a change."""
    shared = world.share(world.person(), firm)
    sets = poll(caller)
    world.save(shared.person_id, email__main="new@example.org")
    [message] = opened(world, firm, poll(caller, ack=list(sets)))
    assert message.values == {"email.main": (2, "new@example.org")}
    assert message.profile is not None
    assert message.profile["complete"] is False
    assert log(world, shared) == [("poll", "sending"), ("poll", "completed")]


def test_poll_with_errors(caller: Caller, world: World, firm: Firm) -> None:
    """RFC 8936 section 2.4.4: what is refused is not handed out again by itself, and never under its old id."""
    shared = world.share(world.person(), firm)
    other = world.share(world.person(), firm)
    sets = poll(caller)
    bad = next(message.jti for message in opened(world, firm, sets) if message.claims["sub_id"]["sub"] == shared.sub)
    good = next(jti for jti in sets if jti != bad)
    told = {bad: {"err": "invalid_key", "description": "Ada Byrne's key is not ours"}}
    assert poll(caller, ack=[good], setErrs=told) == {}
    assert log(world, shared) == [("poll", "failed")]
    assert log(world, other) == [("poll", "completed")]
    [attempt] = [each for each in attempts_of(world, firm) if each.jti == bad]
    assert (attempt.outcome, attempt.detail) == ("failed", "It was refused: invalid_key.")
    assert world.delivery(shared).held
    world.save(shared.person_id, email__main="new@example.org")
    [message] = opened(world, firm, poll(caller))
    assert message.jti != bad
    assert message.values["name.full"] == (1, "Ada Byrne")


def test_what_was_refused_may_be_sent_again_by_staff(caller: Caller, world: World, firm: Firm) -> None:
    shared = world.share(world.person(), firm)
    [bad] = poll(caller)
    assert poll(caller, setErrs={bad: {"err": "invalid_request"}}) == {}
    world.transact(lambda session: services.send_again(session, person_id=shared.person_id, grant_id=shared.grant_id))
    [message] = opened(world, firm, poll(caller))
    assert message.jti != bad


def test_what_is_not_acknowledged_comes_again_under_the_same_id(caller: Caller, world: World, firm: Firm) -> None:
    shared = world.share(world.person(), firm)
    [first] = poll(caller)
    assert poll(caller) == {}
    lapse(world, firm)
    assert list(poll(caller)) == [first]
    assert log(world, shared) == [("poll", "sending"), ("poll", "sending")]
    assert poll(caller, ack=[first]) == {}
    assert log(world, shared) == [("poll", "completed"), ("poll", "sending")]


def test_something_newer_takes_its_place(caller: Caller, world: World, firm: Firm) -> None:
    """And whoever acknowledges the older one has only that."""
    shared = world.share(world.person(), firm)
    [older] = poll(caller)
    world.save(shared.person_id, email__main="new@example.org")
    assert poll(caller) == {}
    lapse(world, firm)
    [newer] = poll(caller)
    assert newer != older
    assert poll(caller, ack=[older]) == {}
    row = world.delivery(shared)
    assert row.acked_generation < row.generation
    lapse(world, firm)
    assert list(poll(caller)) == [newer]
    assert poll(caller, ack=[newer]) == {}
    row = world.delivery(shared)
    assert (row.acked_generation, row.acked_sequence) == (row.generation, 2)


def test_what_may_be_believed_is_put_right_until_it_is_acknowledged(caller: Caller, world: World, firm: Firm) -> None:
    shared = world.share(world.person(), firm)
    poll(caller, ack=list(poll(caller)))
    world.step("pause", shared)
    # Whether it was read nobody knows.
    poll(caller)
    world.step("resume", shared)
    lapse(world, firm)
    [message] = opened(world, firm, first := poll(caller))
    assert message.consent is not None
    assert message.consent["state"] == "active"
    lapse(world, firm)
    assert list(poll(caller)) == list(first)
    assert poll(caller, ack=list(first)) == {}


def test_acknowledging_while_more_happened_keeps_what_happened(caller: Caller, world: World, firm: Firm) -> None:
    shared = world.share(world.person(), firm)
    [first] = poll(caller)
    world.save(shared.person_id, email__main="new@example.org")
    [message] = opened(world, firm, poll(caller, ack=[first]))
    assert message.values == {"email.main": (2, "new@example.org")}


def test_whoever_wants_everything_again_gets_it_though_a_change_is_acknowledged(
    caller: Caller, world: World, firm: Firm
) -> None:
    shared = world.share(world.person(), firm)
    poll(caller, ack=list(poll(caller)))
    world.save(shared.person_id, email__main="new@example.org")
    [change] = poll(caller)
    world.transact(lambda session: services.send_again(session, person_id=shared.person_id, grant_id=shared.grant_id))
    [message] = opened(world, firm, poll(caller, ack=[change]))
    assert message.values.keys() == {"name.full", "email.main"}


@pytest.mark.parametrize("jti", ["unknown", "", "0" * 32, "\u007e"])
def test_an_id_that_nobody_knows_changes_nothing(caller: Caller, world: World, firm: Firm, jti: str) -> None:
    world.share(world.person(), firm)
    assert ask(caller, ack=[jti, jti], setErrs={jti: {"err": "jwtParse"}}, maxEvents=0).status_code == 200
    assert len(poll(caller)) == 1


def test_another_companys_id_changes_nothing(caller: Caller, http: FlaskClient, world: World, firm: Firm) -> None:
    other = world.firm(enabled=False)
    world.transact(lambda session: open_stream(session, other))
    shared = world.share(world.person(), other)
    theirs = Caller(http, world, other)
    [jti] = poll(theirs)
    poll(caller, ack=[jti], setErrs={})
    poll(caller, setErrs={jti: {"err": "invalid_key"}})
    assert world.delivery(shared).acked_generation == 0
    assert log(world, shared) == [("poll", "sending")]
    assert firm.client_id != other.client_id


def test_an_acknowledgement_said_twice_counts_once(caller: Caller, world: World, firm: Firm) -> None:
    shared = world.share(world.person(), firm)
    [jti] = poll(caller)
    for _ in range(2):
        poll(caller, ack=[jti, jti])
    assert log(world, shared) == [("poll", "completed")]
    assert [each.outcome for each in attempts_of(world, firm)] == ["completed"]


def test_no_more_than_asked_for_in_the_order_of_the_stream(caller: Caller, world: World, firm: Firm) -> None:
    subs = [world.share(world.person(), firm).sub for _ in range(5)]
    seen: list[str] = []
    more = True
    while more:
        answer = ask(caller, maxEvents=2).get_json()
        assert len(answer["sets"]) <= 2
        seen += [message.claims["sub_id"]["sub"] for message in opened(world, firm, answer["sets"])]
        more = answer["moreAvailable"]
    assert sorted(seen) == sorted(subs)
    order = {row.person_id: row.position for row in rows_of(world, firm)}
    assert {position or 0 for position in order.values()} == set(range(1, 6))


def test_an_answer_is_bounded_in_bytes(
    caller: Caller, world: World, firm: Firm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polling, "MOST_BYTES", 3000)
    for _ in range(4):
        world.share(world.person(), firm)
    answer = ask(caller).get_json()
    assert 1 <= len(answer["sets"]) < 4
    assert answer["moreAvailable"] is True
    rest = poll(caller, ack=list(answer["sets"]))
    assert rest
    assert rest.keys().isdisjoint(answer["sets"])


def test_whoever_stopped_before_the_poll_is_not_told_of(caller: Caller, world: World, firm: Firm) -> None:
    """The consent of the moment: what was changed before is not handed out after."""
    shared = world.share(world.person(), firm)
    poll(caller, ack=list(poll(caller)))
    world.save(shared.person_id, email__main="secret@example.org")
    world.step("withdraw", shared)
    [message] = opened(world, firm, poll(caller))
    assert message.consent is not None
    assert message.consent["state"] == "withdrawn"
    assert message.values == {}


def test_whoever_is_stopping_at_this_moment_is_left_out(caller: Caller, world: World, firm: Firm) -> None:
    stops, stays = (world.share(world.person(), firm) for _ in range(2))
    with db.sessions(world.settings.database_url)() as session:
        from portal.consent import services as consent  # noqa: PLC0415

        consent.withdraw(session, person_id=stops.person_id, grant_id=stops.grant_id, now=db.now())
        [message] = opened(world, firm, poll(caller))
        assert message.claims["sub_id"]["sub"] == stays.sub
        session.commit()
    [message] = opened(world, firm, poll(caller, ack=[message.jti]))
    assert (message.claims["sub_id"]["sub"], message.values) == (stops.sub, {})


def test_a_stop_waits_for_the_answer_it_met(world: World, firm: Firm) -> None:
    """The consents are held from the look at them until the answer is committed."""
    shared = world.share(world.person(), firm)
    world.transact(lambda session: polling.number(session, client_id=firm.client_id))
    with ThreadPoolExecutor(1) as pool, db.sessions(world.settings.database_url)() as session:
        answer = polling.hand_out(
            session,
            keyring=world.keyring, issuer=world.settings.issuer, client_id=firm.client_id, most=10, now=db.now(),
        )  # fmt: skip
        assert answer.sets
        stopping = pool.submit(world.step, "withdraw", shared)
        until(lambda: world.transact(somebody_waits))
        assert not stopping.done()
        session.commit()
        stopping.result()


def test_two_polls_at_once_hand_out_each_message_once(world: World, firm: Firm) -> None:
    for _ in range(30):
        world.share(world.person(), firm)
    asked = polling.Asked(most=20, at_once=True, acknowledged=[], errors={})
    start = threading.Barrier(3)

    def run() -> list[str]:
        start.wait()
        found = polling.poll(world.settings, keyring=world.keyring, client_id=firm.client_id, asked=asked)
        return list(found.sets)

    with ThreadPoolExecutor(3) as pool:
        handed = [jti for flight in [pool.submit(run) for _ in range(3)] for jti in flight.result()]
    assert len(handed) == len(set(handed))
    rest = polling.poll(world.settings, keyring=world.keyring, client_id=firm.client_id, asked=asked)
    assert len(set(handed) | set(rest.sets)) == 30


def test_what_was_pushed_and_not_received_is_polled_after_a_change_of_method(http: FlaskClient, world: World) -> None:
    firm = world.firm()
    firm.receiver.behave = lambda _number: (500, {}, b"")
    shared = world.share(world.person(), firm)
    jobs.drain()
    world.transact(lambda session: open_stream(session, firm))
    caller = Caller(http, world, firm)
    [message] = opened(world, firm, poll(caller))
    assert message.claims["sub_id"]["sub"] == shared.sub
    poll(caller, ack=[message.jti])
    firm.receiver.behave = None
    world.save(shared.person_id, email__main="new@example.org")
    world.transact(
        lambda session: services.enable_endpoint(session, client_id=firm.client_id, url=firm.receiver.url, now=db.now())
    )
    jobs.drain()
    assert [message.values for message in firm.receiver.journal] == [{"email.main": (2, "new@example.org")}]


def test_a_polled_stream_is_not_pushed(caller: Caller, world: World, firm: Firm) -> None:
    world.share(world.person(), firm)
    jobs.drain()
    assert firm.receiver.requests == 0
    assert poll(caller)


@pytest.mark.parametrize(
    ("values", "handed"),
    [
        ({"state": "paused"}, 0),
        ({"state": "disabled"}, 0),
        ({"state": "disabled", "disabled_at": db.now()}, 1),
        ({"method": "push", "url": "https://example.org/", "circuit_until": db.now() + timedelta(hours=1)}, 1),
    ],
)
def test_an_endpoint_that_failed_is_why_one_polls_and_a_pause_is_a_pause(
    caller: Caller, world: World, firm: Firm, values: dict[str, Any], handed: int
) -> None:
    world.share(world.person(), firm)
    world.set_stream(firm, **values)
    assert len(poll(caller)) == handed
    world.set_stream(firm, state="enabled")
    lapse(world, firm)
    assert len(poll(caller)) == 1


def test_messages_about_the_stream_come_first_and_are_settled(caller: Caller, world: World, firm: Firm) -> None:
    world.share(world.person(), firm)
    world.transact(lambda session: streams.verify(session, client_id=firm.client_id, state="ours", now=db.now()))
    sets = poll(caller)
    first, second = opened(world, firm, sets)
    assert first.claims["events"] == {messages.VERIFICATION: {"state": "ours"}}
    assert second.consent is not None
    assert poll(caller, ack=list(sets)) == {}
    lapse(world, firm)
    assert poll(caller) == {}
    assert {each.outcome for each in attempts_of(world, firm)} == {"completed"}


def test_a_stream_that_is_paused_is_handed_that_it_is(caller: Caller, world: World, firm: Firm) -> None:
    world.share(world.person(), firm)
    world.transact(
        lambda session: streams.set_status(
            session, client_id=firm.client_id, status="paused", reason="we move house", now=db.now()
        )
    )
    [message] = opened(world, firm, poll(caller))
    assert message.claims["events"] == {messages.STREAM_UPDATED: {"status": "paused", "reason": "we move house"}}


def test_a_long_poll_is_answered_when_something_comes(caller: Caller, world: World, firm: Firm) -> None:
    """RFC 8936 section 2.5."""
    person_id = world.person()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(caller.post, streams.EVENTS, json={})
        # It has looked by then, and goes on waiting.
        time.sleep(_A_MOMENT)
        assert not waiting.done()
        world.share(person_id, firm)
        answer = waiting.result(timeout=30)
    assert len(answer.get_json()["sets"]) == 1


def test_a_long_poll_ends_without_anything(world: World, firm: Firm) -> None:
    asked = polling.Asked(most=10, at_once=False, acknowledged=[], errors={})
    started = time.monotonic()
    found = polling.poll(
        world.settings, keyring=world.keyring, client_id=firm.client_id, asked=asked, wait_seconds=_A_MOMENT
    )
    assert (found.sets, found.more) == ({}, False)
    assert _A_MOMENT <= time.monotonic() - started < polling.WAIT_SECONDS


def test_only_a_few_wait_and_one_of_each_client() -> None:
    seats = polling._Seats()  # noqa: SLF001 - how few may wait is this module's own
    with seats.of("a") as first, seats.of("a") as again, seats.of("b") as second, seats.of("c") as third:
        assert (first, again, second, third) == (True, False, True, False)
    with seats.of("c") as later:
        assert later


def test_what_is_never_answered_is_said_to_be_unknown(caller: Caller, world: World, firm: Firm) -> None:
    shared = world.share(world.person(), firm)
    [jti] = poll(caller)
    late = db.now() + timedelta(minutes=11)
    with db.transaction(world.settings.database_url) as session:
        jobs.settle_stale(session, db.now() + timedelta(minutes=5))
    assert log(world, shared) == [("poll", "sending")]
    with db.transaction(world.settings.database_url) as session:
        jobs.settle_stale(session, late)
    assert log(world, shared) == [("poll", "unknown")]
    assert attempts_of(world, firm)[0].detail == "It was fetched and not acknowledged."
    poll(caller, ack=[jti])
    assert log(world, shared) == [("poll", "completed")]
    assert attempts_of(world, firm)[0].outcome == "completed"


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        ("sending", "Collected, not confirmed yet"),
        ("completed", "Received"),
        ("unknown", "Collected, and never confirmed"),
    ],
)
def test_people_read_that_it_was_collected(outcome: str, words: str) -> None:
    assert rules.how("poll", None) == "Kept up to date: they collected it"
    assert rules.outcome("poll", outcome, None) == words


def test_a_company_without_a_key_is_handed_nothing_and_loses_nothing(caller: Caller, world: World, firm: Firm) -> None:
    shared = world.share(world.person(), firm)
    from portal.companies.models import ClientKey  # noqa: PLC0415

    mine = update(ClientKey).where(ClientKey.client_id == firm.client_id, ClientKey.use == "enc")
    world.transact(lambda session: session.execute(mine.values(retired_at=db.now())))
    assert poll(caller) == {}
    assert world.delivery(shared).last_problem
    world.transact(lambda session: session.execute(mine.values(retired_at=None)))
    lapse(world, firm)
    assert len(poll(caller)) == 1


def test_without_a_stream_there_is_nothing_to_poll(http: FlaskClient, world: World) -> None:
    answer = ask(Caller(http, world, world.firm(enabled=False)))
    assert answer.status_code == 404
    assert answer.get_json()["type"].endswith("/no-stream")


@pytest.mark.parametrize(
    "body",
    [
        {"maxEvents": -1}, {"maxEvents": "ten"}, {"returnImmediately": "yes"}, {"ack": "one"}, {"ack": [5]},
        {"setErrs": {"one": "bad"}}, {"setErrs": {"one": {}}}, {"ack": ["a"] * 1001},
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused(caller: Caller, body: dict[str, Any]) -> None:
    assert ask(caller, **body).status_code == 422


def test_what_is_none_of_ours_keeps_nothing_from_being_noted(caller: Caller, world: World, firm: Firm) -> None:
    one, other = (world.share(world.person(), firm) for _ in range(2))
    mine, theirs = poll(caller)
    odd = ["", "x" * 300, "\x00", "\ud800", "“", mine.upper()]
    errors = {theirs: {"err": "é" * 300, "description": "x" * 3000}} | {name: {"err": "\x00"} for name in odd}
    assert ask(caller, ack=[mine, *odd], setErrs=errors).status_code == 200
    assert {world.delivery(each).held for each in (one, other)} == {True, False}
    assert {state for each in (one, other) for state in log(world, each)} == {("poll", "completed"), ("poll", "failed")}


def test_an_answer_is_not_kept_by_anybody(caller: Caller) -> None:
    assert ask(caller).headers["Cache-Control"] == "no-store"


def test_only_who_may_read_people_polls(http: FlaskClient, world: World, firm: Firm) -> None:
    assert ask(Caller(http, world, firm, scope="grant_management_query")).status_code == 403
    assert http.post(streams.EVENTS, json={}).status_code == 401


@pytest.fixture
def under_way(world: World) -> Iterator[Any]:
    """A session whose transaction is open while others work."""
    with db.sessions(world.settings.database_url)() as session:
        yield session
        session.rollback()


def test_a_cursor_skips_nobody_whose_change_was_committed_late(
    caller: Caller,
    world: World,
    firm: Firm,
    under_way: Any,  # noqa: ANN401 - a session
) -> None:
    """A change that began first and is committed last stands behind the cursor that was made in between."""
    early, late = (world.share(world.person(), firm) for _ in range(2))
    begin = caller.get(streams.EVENTS).get_json()["after"]
    consumer.save(
        under_way,
        keyring=world.keyring, person_id=early.person_id, changes={"email.main": "first@example.org"}, now=db.now(),
    )  # fmt: skip
    world.save(late.person_id, email__main="second@example.org")
    seen = caller.get(f"{streams.EVENTS}?after={begin}").get_json()
    assert [change["sub"] for change in seen["changes"]] == [late.sub]
    under_way.commit()
    after = caller.get(f"{streams.EVENTS}?after={seen['after']}").get_json()
    assert [change["sub"] for change in after["changes"]] == [early.sub]
    assert caller.get(f"{streams.EVENTS}?after={after['after']}").get_json()["changes"] == []


def test_a_poll_skips_nobody_whose_change_was_committed_late(
    caller: Caller,
    world: World,
    firm: Firm,
    under_way: Any,  # noqa: ANN401 - a session
) -> None:
    early, late = (world.share(world.person(), firm) for _ in range(2))
    poll(caller, ack=list(poll(caller)))
    consumer.save(
        under_way,
        keyring=world.keyring, person_id=early.person_id, changes={"email.main": "first@example.org"}, now=db.now(),
    )  # fmt: skip
    world.save(late.person_id, email__main="second@example.org")
    [seen] = opened(world, firm, poll(caller))
    assert seen.claims["sub_id"]["sub"] == late.sub
    under_way.commit()
    [after] = opened(world, firm, poll(caller, ack=[seen.jti]))
    assert (after.claims["sub_id"]["sub"], after.values) == (early.sub, {"email.main": (2, "first@example.org")})


def test_whoever_lost_what_it_had_finds_whom_it_was_told_of_since(caller: Caller, world: World, firm: Firm) -> None:
    first, second = (world.share(world.person(), firm) for _ in range(2))
    poll(caller, ack=list(poll(caller)))
    backup = caller.get(streams.EVENTS).get_json()["after"]
    world.save(second.person_id, email__main="new@example.org")
    poll(caller, ack=list(poll(caller)))
    lost = caller.get(f"{streams.EVENTS}?after={backup}").get_json()
    assert lost["changes"] == [{"sub": second.sub, "grant_id": str(second.grant_id)}]
    assert first.sub != second.sub
    assert poll(caller) == {}


@pytest.mark.parametrize("cursor", ["x", "AAAA", "%C3%A4", "A" * 32, "*"])
def test_a_cursor_that_is_not_ours_is_refused(caller: Caller, cursor: str) -> None:
    answer = caller.get(f"{streams.EVENTS}?after={cursor}")
    assert (answer.status_code, answer.get_json()["type"].rpartition("/")[2]) == (422, "cursor-unknown")


def test_a_cursor_of_another_stream_is_refused(caller: Caller, http: FlaskClient, world: World) -> None:
    other = world.firm(enabled=False)
    world.transact(lambda session: open_stream(session, other))
    theirs = Caller(http, world, other).get(streams.EVENTS).get_json()["after"]
    assert caller.get(f"{streams.EVENTS}?after={theirs}").status_code == 422

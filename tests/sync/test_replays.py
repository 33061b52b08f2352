"""Sending many again: counted first, worked through in steps, stopped at will, never lost and never twice."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text, update

from portal import db
from portal.identity.models import BrowserSession
from portal.sync import jobs, replays
from portal.sync.models import Attempt, Delivery, Replay
from tests.companies.browser import Browser

if TYPE_CHECKING:
    from uuid import UUID

    from flask import Flask

    from portal.config import Settings
    from portal.vault.keyring import Keyring
    from tests.sync.cast import Firm, Shared, World

PAST = timedelta(days=3)


@pytest.fixture
def browser(app: Flask, settings: Settings, keys: Keyring) -> Browser:
    return Browser(app, settings, keys)


@pytest.fixture
def firm(world: World, browser: Browser) -> Firm:
    made = world.firm()
    world.employ(browser.person_id, made)
    return made


def many(world: World, firm: Firm, number: int, *, at: timedelta = timedelta(hours=1), outcome: str = "failed") -> None:
    """Give a firm so many deliveries of made-up people that are due tomorrow, with an attempt each."""
    now = db.now()
    rows: list[Any] = []
    for _ in range(number):
        who = {"person_id": db.new_id(), "grant_id": db.new_id(), "client_id": firm.client_id}
        tried = {"attempt_id": db.new_id(), "jti": db.new_id().hex, "channel": "push", "kinds": [], "detail": ""}
        rows.append(Delivery(**who, due_at=now + timedelta(days=1), attempts=7))
        rows.append(Attempt(**who, **tried, at=now - at, outcome=outcome, milliseconds=1, payload=""))
    world.transact(lambda session: session.add_all(rows))


def begin(world: World, firm: Firm, scope: str = "failed", since: timedelta = PAST) -> UUID:
    made: Replay = world.transact(
        lambda session: replays.begin(
            session, client_id=firm.client_id, scope=scope, since=db.now() - since, now=db.now()
        )
    )
    return made.replay_id


def state(world: World, replay_id: UUID) -> Replay:
    found: Replay = world.transact(lambda session: replays.find(session, replay_id=replay_id))
    return found


def due(world: World, firm: Firm) -> int:
    statement = """
        SELECT count(*) FROM delivery
         WHERE client_id = :client_id AND due_at <= clock_timestamp() AND attempts = 0 AND NOT held"""
    number: int = world.transact(lambda session: session.scalar(text(statement), {"client_id": firm.client_id}))
    return number


def test_what_failed_since_then_is_counted_and_made_due(world: World) -> None:
    firm = world.firm()
    many(world, firm, 3)
    many(world, firm, 2, at=timedelta(days=5))
    many(world, firm, 4, outcome="completed")
    replay_id = begin(world, firm)
    assert state(world, replay_id).total == 3
    assert due(world, firm) == 0
    jobs.run_replay(str(replay_id))
    over = state(world, replay_id)
    assert (over.state, over.done, due(world, firm)) == ("done", 3, 3)
    assert over.finished_at


def test_what_arrived_meanwhile_is_not_sent_again(world: World) -> None:
    firm = world.firm()
    many(world, firm, 3)
    arrived = update(Delivery).where(Delivery.client_id == firm.client_id).values(acked_generation=1)
    world.transact(lambda session: session.execute(arrived))
    assert state(world, begin(world, firm)).total == 0


def test_what_is_missing_is_whoever_was_never_told_or_is_behind(world: World) -> None:
    firm = world.firm()
    told, behind, never, paused = (world.share(world.person(), firm) for _ in range(4))
    world.step("pause", paused)

    def set_to(shared: Shared, **values: Any) -> None:  # noqa: ANN401 - columns
        world.transact(
            lambda session: session.execute(
                update(Delivery).where(Delivery.grant_id == shared.grant_id).values(**values)
            )
        )

    set_to(told, acked_generation=1)
    set_to(behind, held=True, due_at=db.now() + timedelta(days=1))
    world.transact(lambda session: session.delete(session.get(Delivery, (never.person_id, never.grant_id))))
    replay_id = begin(world, firm, "missing")
    assert state(world, replay_id).total == 2
    jobs.run_replay(str(replay_id))
    assert not world.delivery(behind).held
    assert world.delivery(behind).due_at <= db.now()
    assert world.delivery(never).generation == 1
    jobs.drain()
    assert state(world, begin(world, firm, "missing")).total == 0


def test_it_goes_on_where_the_last_committed_step_ended(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replays, "STEP", 4)
    firm = world.firm()
    many(world, firm, 10)
    replay_id = begin(world, firm)
    taken = world.transact(lambda session: replays.take(session, replay_id=replay_id))
    assert taken
    assert world.transact(lambda session: replays.step(session, taken))
    assert (state(world, replay_id).done, due(world, firm)) == (4, 4)
    # Its worker dies.  Nobody else has it until the lease is over, and the reconciler then finds it.
    assert world.transact(lambda session: replays.take(session, replay_id=replay_id)) is None
    assert replay_id not in world.transact(replays.unfinished)
    gone = """
        UPDATE replay SET leased_until = clock_timestamp(), asked_at = asked_at - interval '1 hour'
         WHERE replay_id = :replay_id"""
    world.transact(lambda session: session.execute(text(gone), {"replay_id": replay_id}))
    assert replay_id in world.transact(replays.unfinished)
    another = world.transact(lambda session: replays.take(session, replay_id=replay_id))
    # Whoever was only slow finds that it is no longer theirs.
    assert not world.transact(lambda session: replays.step(session, taken))
    world.transact(lambda session: replays.release(session, taken, finished=True))
    assert (state(world, replay_id).done, state(world, replay_id).finished_at) == (4, None)
    assert world.transact(lambda session: replays.step(session, another))
    world.transact(lambda session: replays.release(session, another, finished=False))
    jobs.run_replay(str(replay_id))
    assert (state(world, replay_id).done, due(world, firm)) == (10, 10)


def test_a_stopped_one_makes_nothing_more_due(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replays, "STEP", 4)
    firm = world.firm()
    many(world, firm, 10)
    replay_id = begin(world, firm)
    taken = world.transact(lambda session: replays.take(session, replay_id=replay_id))
    world.transact(lambda session: replays.step(session, taken))
    assert world.transact(lambda session: replays.stop(session, replay_id=replay_id, now=db.now()))
    assert not world.transact(lambda session: replays.step(session, taken))
    world.transact(lambda session: replays.release(session, taken, finished=True))
    assert (state(world, replay_id).state, due(world, firm)) == ("stopped", 4)
    assert not world.transact(lambda session: replays.stop(session, replay_id=replay_id, now=db.now()))


def test_an_app_has_one_at_a_time(world: World) -> None:
    firm, other = world.firm(), world.firm()
    replay_id = begin(world, firm)
    with pytest.raises(replays.ReplayRunningError):
        begin(world, firm)
    begin(world, other)
    jobs.run_replay(str(replay_id))
    begin(world, firm)


def test_staff_see_how_many_before_anything_happens(world: World, browser: Browser, firm: Firm) -> None:
    many(world, firm, 3)
    path = f"/org/deliveries/endpoints/{firm.client_id}/replay"
    assert "would be sent again" not in browser.get(path).text
    since = (db.now() - PAST).date()
    shown = browser.get(f"{path}?scope=failed&since={since}").text
    assert "3 messages would be sent again" in shown
    assert due(world, firm) == 0
    answer = browser.send(path, scope="failed", since=str(since))
    assert answer.status_code == 303
    progress = browser.get(answer.location).text
    assert "0 of 3" in progress
    assert '<progress max="3" value="0"' in progress
    assert browser.send(path, scope="failed", since=str(since)).status_code == 409
    part = browser.get(answer.location, headers={"HX-Request": "true"}).text
    assert part.strip().startswith('<div id="replay"')
    assert 'hx-trigger="load delay:1s, click"' in part
    jobs.run_replay(answer.location.rpartition("/")[2])
    over = browser.get(answer.location).text
    assert re.search(r"Sending\.</strong>\s+3 of 3 were put in line", over)
    assert re.search(r"3 messages</a> of this app still wait to be\s+sent", over)
    arrived(world, firm)
    at_the_end = browser.get(answer.location).text
    assert "Nothing of this app waits any more." in at_the_end
    assert "hx-get" not in at_the_end


def test_progress_moves_without_javascript_until_nothing_does(world: World, browser: Browser, firm: Firm) -> None:
    many(world, firm, 2)
    replay_id = begin(world, firm)
    page = f"/org/deliveries/replays/{replay_id}"
    again = '<noscript><meta http-equiv="refresh"'
    assert again in browser.get(page).text
    jobs.run_replay(str(replay_id))
    assert again in browser.get(page).text
    world.set_stream(firm, state="paused")
    paused = browser.get(page).text
    assert "the stream is paused" in paused
    assert again not in paused
    world.set_stream(firm, state="enabled", circuit_step=1)
    assert "takes no messages at the moment" in browser.get(page).text
    world.set_stream(firm, circuit_step=0)
    arrived(world, firm)
    assert again not in browser.get(page).text


def arrived(world: World, firm: Firm) -> None:
    mine = update(Delivery).where(Delivery.client_id == firm.client_id)
    world.transact(lambda session: session.execute(mine.values(acked_generation=Delivery.generation)))


def test_staff_can_stop_it(world: World, browser: Browser, firm: Firm) -> None:
    many(world, firm, 3)
    replay_id = begin(world, firm)
    answer = browser.send(f"/org/deliveries/replays/{replay_id}/stop")
    assert answer.location == f"/org/deliveries/replays/{replay_id}"
    assert "Stopped." in browser.get(answer.location).text
    jobs.run_replay(str(replay_id))
    assert due(world, firm) == 0


@pytest.mark.parametrize("query", ["scope=x&since=2026-01-01", "scope=failed&since=x", "scope=failed&since=0001-01-01"])
def test_what_cannot_be_counted_is_said(browser: Browser, firm: Firm, query: str) -> None:
    answer = browser.get(f"/org/deliveries/endpoints/{firm.client_id}/replay?{query}")
    assert answer.status_code == 422
    assert "There is a problem" in answer.text


def test_nobody_elses_replay_is_found(world: World, browser: Browser, firm: Firm) -> None:
    other = world.firm()
    assert firm
    many(world, other, 1)
    replay_id = begin(world, other)
    assert browser.get(f"/org/deliveries/replays/{replay_id}").status_code == 404
    assert browser.send(f"/org/deliveries/replays/{replay_id}/stop").status_code == 404
    assert browser.send(f"/org/deliveries/endpoints/{other.client_id}/replay", scope="failed").status_code == 404
    assert browser.send(f"/org/deliveries/endpoints/{other.client_id}/turn-on").status_code == 404
    assert state(world, replay_id).finished_at is None


def test_the_panel_says_how_the_endpoint_does(world: World, browser: Browser, firm: Firm) -> None:
    path = f"/org/deliveries/endpoints/{firm.client_id}"
    assert "Messages go out as they come" in browser.get(path).text
    many(world, firm, 3)
    many(world, firm, 1, outcome="completed")
    world.set_stream(firm, circuit_step=3, circuit_until=db.now() + timedelta(minutes=4), failures=9,
               failing_since=db.now() - timedelta(hours=2), last_problem="It answered 503.")  # fmt: skip
    page = browser.get(path).text
    for words in ("Left alone until the next probe", "9 failures in a row", "It answered 503.", "Next probe",
                  "1 of 4 tries succeeded (25.0%)", "1 ms half of the time"):  # fmt: skip
        assert words in page


@pytest.mark.parametrize("disabled", [True, False])
def test_an_endpoint_that_was_turned_off_can_be_turned_on(
    world: World, browser: Browser, firm: Firm, *, disabled: bool
) -> None:
    many(world, firm, 2)
    if disabled:
        world.set_stream(firm, state="disabled", disabled_at=db.now(), reason="It answered 410.")
    path = f"/org/deliveries/endpoints/{firm.client_id}"
    assert ("Turn it on again" in browser.get(path).text) == disabled
    assert browser.send(f"{path}/turn-on").status_code == (303 if disabled else 404)
    assert due(world, firm) == (2 if disabled else 0)
    assert world.endpoint(firm).state == "enabled"


def test_whoever_changes_something_confirms_who_they_are(world: World, browser: Browser, firm: Firm) -> None:
    world.set_stream(firm, state="disabled", disabled_at=db.now())
    long_ago = update(BrowserSession).where(BrowserSession.person_id == browser.person_id)
    earlier = long_ago.values(authenticated_at=db.now() - timedelta(hours=1))
    world.transact(lambda session: session.execute(earlier))
    for place in ("turn-on", "replay"):
        answer = browser.send(f"/org/deliveries/endpoints/{firm.client_id}/{place}", scope="failed")
        assert answer.location.startswith("/account/sign-in?next=")
    assert world.endpoint(firm).state == "disabled"

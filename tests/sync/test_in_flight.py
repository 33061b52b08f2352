"""What a person reads who stops or pauses: exactly what was under way, and what became of it."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import update

from portal import db
from portal.companies.models import Purpose
from portal.consent.models import Grant
from portal.ledger import queries
from portal.ledger import services as ledger
from portal.ledger.services import NewDisclosure
from portal.sync import in_flight, jobs
from tests.consent.browser import Browser

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from flask import Flask
    from sqlalchemy.orm import Session

    from portal.config import Settings
    from portal.sync.in_flight import UnderWay
    from portal.vault.keyring import Keyring
    from tests.sync.cast import Firm, Shared, World


@pytest.fixture
def browser(app: Flask, settings: Settings, keys: Keyring) -> Browser:
    return Browser(app, settings, keys, {"name.full": "Ada Byrne", "email.main": "ada@example.org"})


@pytest.fixture
def shared(world: World, firm: Firm, browser: Browser) -> Shared:
    """Somebody at a browser whose first message has arrived."""
    made = world.share(browser.person_id, firm)
    jobs.drain()
    assert len(firm.receiver.journal) == 1
    return made


def grant(world: World, shared: Shared) -> Grant:
    found: Grant = world.transact(lambda session: session.get(Grant, (shared.person_id, shared.grant_id)))
    return found


def under_way(world: World, shared: Shared) -> Sequence[UnderWay]:
    held = grant(world, shared)
    found: Sequence[UnderWay] = world.transact(
        lambda session: in_flight.at_halt(
            session, person_id=held.person_id, grant_id=held.grant_id, halted_at=held.changed_at
        )
    )
    return found


def text_of(browser: Browser, shared: Shared) -> str:
    return " ".join(browser.get(f"/updates/sharing/{shared.grant_id}").text.split())


@pytest.mark.parametrize(("verb", "word"), [("stop", "Stopped"), ("pause", "Paused")])
def test_nothing_on_its_way_is_said_to_be_nothing(browser: Browser, shared: Shared, verb: str, word: str) -> None:
    browser.send(f"/sharing/{shared.grant_id}/{verb}")
    page = " ".join(browser.get(f"/sharing/{shared.grant_id}").text.split())
    assert f"{word} on" in page
    assert "None of your details was on its way." in page
    assert "Look again" not in page


@pytest.mark.parametrize("verb", ["stop", "pause"])
@pytest.mark.parametrize(
    ("answer", "outcome", "words"),
    [(None, "completed", "It arrived at"), ((500, {}, b""), "failed", "Their system did not take it")],
)
def test_what_had_left_is_named_and_what_became_of_it(
    world: World, browser: Browser, firm: Firm, shared: Shared, *, verb: str,
    answer: tuple[int, dict[str, str], bytes] | None, outcome: str, words: str,
) -> None:  # fmt: skip
    """The receiver holds a real worker's request while the person stops."""
    reached, go = threading.Event(), threading.Event()

    def slowly(_number: int) -> tuple[int, dict[str, str], bytes] | None:
        reached.set()
        go.wait(30)
        return answer

    firm.receiver.behave = slowly
    world.save(shared.person_id, email__main="late@example.org")
    worker = threading.Thread(target=jobs.drain)
    worker.start()
    assert reached.wait(30)
    browser.send(f"/sharing/{shared.grant_id}/{verb}")
    before = text_of(browser, shared)
    [open_one] = under_way(world, shared)
    firm.receiver.behave = None
    go.set()
    worker.join()
    assert open_one.open
    assert "Whether it left or was held back is not known yet." in before
    assert "Look again" in before
    after = text_of(browser, shared)
    assert words in after
    assert "Look again" not in after
    assert [one.outcome for one in under_way(world, shared)] == [outcome]


def test_stops_at_random_moments_are_told_truly(world: World, firm: Firm, browser: Browser) -> None:
    """Twelve stops, each aimed at a message under way: what is said agrees with the receiver's own journal."""
    told: list[str] = []
    for number in range(12):
        shared = world.share(browser.person_id, firm)
        jobs.drain()
        seen = len(firm.receiver.journal)
        world.save(browser.person_id, email__main=f"{number}@example.org")
        worker = threading.Thread(target=jobs.drain)
        worker.start()
        # Each of them meets another moment of a message's way.
        time.sleep(number * 0.004)
        world.step("withdraw", shared)
        at_once = under_way(world, shared)
        worker.join()
        jobs.drain()
        later = under_way(world, shared)
        arrived = [message for message in firm.receiver.journal[seen:] if message.profile]
        told.append(",".join(one.outcome for one in later) or "nothing")
        assert not any(one.open for one in later), "everything is known in the end"
        assert {one.at for one in at_once} == {one.at for one in later}, "nothing is added after the stop"
        stopped = grant(world, shared).changed_at
        before = world.transact(lambda session: _completed_before(session, shared, stopped))  # noqa: B023 - used at once
        assert len(arrived) == before + sum(one.outcome == "completed" for one in later)
    assert set(told) <= {"nothing", "completed", "suppressed"}, told


def _completed_before(session: Session, shared: Shared, stopped: datetime) -> int:
    rows = queries.of_person(session, person_id=shared.person_id, wanted=queries.Wanted(grant_id=shared.grant_id))
    pushed = [row for row in rows if row.channel == "push" and row.outcome == "completed"]
    return sum(row.reported_at is not None and row.reported_at <= stopped for row in pushed) - 1


@pytest.mark.parametrize(
    ("channel", "outcome", "words"),
    [
        ("batch", None, "They cannot fetch it any more"), ("batch", "suppressed", "They did not get it"),
        ("poll", None, "They have not said yet whether they kept it"),
        ("poll", "completed", "that they have it"), ("push", "unknown", "Nobody knows whether it arrived"),
        ("push", "suppressed", "It was held back: nothing of it left"),
    ],
)  # fmt: skip
def test_every_way_has_its_words(
    world: World, browser: Browser, shared: Shared, *, channel: str, outcome: str | None, words: str
) -> None:
    prepared = log(world, shared, channel)
    browser.send(f"/sharing/{shared.grant_id}/stop")
    if outcome:
        world.transact(lambda session: ledger.report(session, result(prepared, outcome), now=db.now()))
    assert words in text_of(browser, shared)


def test_what_was_settled_before_is_not_named(world: World, browser: Browser, shared: Shared) -> None:
    prepared = log(world, shared, "push")
    world.transact(lambda session: ledger.report(session, result(prepared, "unknown"), now=db.now()))
    browser.send(f"/sharing/{shared.grant_id}/stop")
    assert "None of your details was on its way." in text_of(browser, shared)


def test_a_notice_without_values_is_none_of_your_details(
    world: World, firm: Firm, browser: Browser, shared: Shared
) -> None:
    thin = update(Purpose).where(Purpose.purpose_id == firm.purpose_id).values(thin=True)
    world.transact(lambda session: session.execute(thin))
    world.save(shared.person_id, email__main="late@example.org")
    firm.receiver.behave = lambda _number: browser.send(f"/sharing/{shared.grant_id}/stop") and None
    jobs.drain()
    assert "None of your details was on its way." in text_of(browser, shared)


def test_only_what_is_halted_is_shown_and_only_to_its_person(
    browser: Browser, app: Flask, settings: Settings, keys: Keyring, shared: Shared
) -> None:
    address = f"/updates/sharing/{shared.grant_id}"
    assert "You have not paused or stopped this" in text_of(browser, shared)
    browser.send(f"/sharing/{shared.grant_id}/pause")
    assert browser.get(address).status_code == 200
    assert Browser(app, settings, keys, {}).get(address).status_code == 404


def log(world: World, shared: Shared, channel: str) -> NewDisclosure:
    held = grant(world, shared)
    row = NewDisclosure(
        person_id=shared.person_id, at=db.now(), context_id=held.context_id, channel=channel, outcome="sending",
        asked=["name.full"], given={"name.full": 1}, grant_id=shared.grant_id, grant_version=held.version,
    )  # fmt: skip
    world.transact(lambda session: ledger.record(session, row))
    return row


def result(row: NewDisclosure, outcome: str) -> ledger.NewOutcome:
    return ledger.NewOutcome(
        person_id=row.person_id, at=row.at, disclosure_id=row.disclosure_id, outcome=outcome, detail="", milliseconds=1
    )

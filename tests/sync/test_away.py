"""What a person reads of an organisation that does not accept updates."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import update

from portal import db
from portal.sync.models import Delivery, Stream
from portal.web import dates
from tests.companies.browser import Browser
from tests.counting import statements

if TYPE_CHECKING:
    from flask import Flask

    from portal.config import Settings
    from portal.vault.keyring import Keyring
    from tests.sync.cast import Firm, Shared, World

DAYS = timedelta(days=3)
OFF: dict[str, Any] = {"state": "disabled", "disabled_at": -DAYS}
FAILING: dict[str, Any] = {"failing_since": -DAYS}


@pytest.fixture
def browser(app: Flask, settings: Settings, keys: Keyring) -> Browser:
    return Browser(app, settings, keys)


def share(world: World, browser: Browser, firm: Firm, **terms: Any) -> Shared:  # noqa: ANN401 - arguments of `give`
    world.save(browser.person_id, name__full="Ada Byrne", email__main="ada@example.org")
    return world.share(browser.person_id, firm, **terms)


def received(world: World, shared: Shared) -> None:
    has_all = update(Delivery).where(Delivery.grant_id == shared.grant_id)
    world.transact(lambda session: session.execute(has_all.values(acked_generation=Delivery.generation)))


def make(world: World, firm: Firm, stream: dict[str, Any]) -> None:
    now = db.now()
    world.set_stream(firm, **{key: now + value if isinstance(value, timedelta) else value
                               for key, value in stream.items()})  # fmt: skip


@pytest.mark.parametrize(
    ("stream", "has_newest", "told"),
    [
        (OFF, False, True),
        (OFF, True, True),
        (FAILING, False, True),
        (FAILING, True, False),
        ({"failing_since": timedelta(hours=-2)}, False, False),
        ({"state": "paused"}, False, False),
        ({}, False, False),
    ],
)
def test_who_is_away_is_named_on_home_and_on_its_card(
    world: World, browser: Browser, stream: dict[str, Any], *, has_newest: bool, told: bool
) -> None:
    firm = world.firm()
    shared = share(world, browser, firm)
    if has_newest:
        received(world, shared)
    make(world, firm, {"state": "enabled"} | stream)
    sentence = f"has not accepted updates since {dates.day(db.now() - DAYS)}"
    for path in ("/home", "/sharing", f"/sharing/{shared.grant_id}"):
        page = " ".join(browser.get(path).text.split())
        assert (sentence in page) == told, path
    assert ("Not up to date" in browser.get("/home").text) == told


def test_who_only_asks_or_is_paused_or_stopped_is_not_away(world: World, browser: Browser) -> None:
    asking, paused, stopped = world.firm(mode="asked"), world.firm(), world.firm()
    share(world, browser, asking, mode="asked")
    world.step("pause", share(world, browser, paused))
    world.step("withdraw", share(world, browser, stopped))
    for firm in (asking, paused, stopped):
        make(world, firm, OFF)
    assert "has not accepted updates" not in browser.get("/home").text + browser.get("/sharing").text


def test_nobody_reads_of_what_others_share(world: World, browser: Browser) -> None:
    firm = world.firm()
    world.share(world.person(), firm)
    make(world, firm, OFF)
    assert firm.name not in browser.get("/home").text


def test_many_cards_cost_one_look(world: World, browser: Browser) -> None:
    share(world, browser, world.firm())
    with statements(world.settings) as few:
        browser.get("/sharing")
    for _ in range(3):
        share(world, browser, world.firm())
    with statements(world.settings) as many:
        browser.get("/sharing")
    assert len(many) == len(few)


def test_once_it_is_back_nothing_is_said(world: World, browser: Browser) -> None:
    firm = world.firm()
    share(world, browser, firm)
    make(world, firm, OFF)
    assert "has not accepted updates" in browser.get("/home").text
    back = update(Stream).where(Stream.client_id == firm.client_id)
    world.transact(lambda session: session.execute(back.values(state="enabled", disabled_at=None)))
    assert "has not accepted updates" not in browser.get("/home").text

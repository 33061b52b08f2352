"""A world of companies and people, wired as the program wires itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from portal import events
from portal.app import create_app
from portal.sync import courier, services
from tests.companies.browser import Browser
from tests.sync.caller import Caller
from tests.sync.cast import World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flask import Flask
    from flask.testing import FlaskClient

    from portal.config import Settings
    from portal.vault.keyring import Keyring
    from tests.sync.cast import Firm, Shared


@pytest.fixture(scope="session", autouse=True)
def prompt() -> Iterator[None]:
    """A drain looks once more and ends: what it stays for is news that comes again and again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(courier, "_STAY_SECONDS", 2 * courier._SOONEST_LOOK)  # noqa: SLF001 - what is shortened
        yield


@pytest.fixture
def world(settings: Settings, keys: Keyring) -> Iterator[World]:
    events.listen(events.RecordChanged, services.on_record_changed)
    events.listen(events.RecordConfirmed, services.on_record_changed)
    events.listen(events.GrantChanged, services.on_grant_changed)
    events.listen(events.ToldInFull, services.on_told_in_full)
    made = World(settings, keys)
    yield made
    made.close()


@pytest.fixture(scope="session")
def app(settings: Settings) -> Flask:
    return create_app(settings)


@pytest.fixture
def http(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def firm(world: World) -> Firm:
    return world.firm()


@pytest.fixture
def shared(world: World, firm: Firm) -> Shared:
    return world.share(world.person(), firm)


@pytest.fixture
def caller(http: FlaskClient, world: World, firm: Firm) -> Caller:
    return Caller(http, world, firm)


@pytest.fixture
def browser(app: Flask, settings: Settings, keys: Keyring, world: World, firm: Firm) -> Browser:
    """The browser of somebody who is staff of `firm`."""
    made = Browser(app, settings, keys)
    world.employ(made.person_id, firm)
    return made

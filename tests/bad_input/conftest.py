"""The whole application, its cast, and a way to see that nothing was written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from portal import db, events
from portal.app import create_app
from portal.ledger import services as ledger
from portal.sync import services
from tests.bad_input import cast as casting
from tests.bad_input.unchanged import State

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flask import Flask

    from portal.config import Settings
    from portal.vault.keyring import Keyring
    from tests.bad_input.cast import Cast


@pytest.fixture(scope="session")
def app(settings: Settings) -> Flask:
    with db.transaction(settings.database_url) as session:
        ledger.open_months(session, now=db.now())
    return create_app(settings)


@pytest.fixture(scope="module")
def cast(app: Flask, settings: Settings, keys: Keyring) -> Iterator[Cast]:
    """Shared by the tests of a module: what they send is refused, so nothing changes for the next one."""
    events.listen(events.RecordChanged, services.on_record_changed)
    made = casting.make(app, settings, keys)
    yield made
    made.close()


@pytest.fixture
def fresh(app: Flask, settings: Settings, keys: Keyring) -> Iterator[Cast]:
    """A cast of one's own, for tests that do change something."""
    made = casting.make(app, settings, keys)
    yield made
    made.close()


@pytest.fixture(scope="session")
def state(settings: Settings) -> State:
    return State(settings.database_owner_url)

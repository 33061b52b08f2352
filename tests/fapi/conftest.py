"""One server for all checks of the profile; each check has a company, and where needed a person, of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from portal import db
from portal.ledger import services as ledger
from tests.fapi import cast as casting
from tests.fapi.server import Server
from tests.fapi.wire import Trap

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portal.config import Settings
    from portal.vault.keyring import Keyring
    from tests.fapi.cast import Party, Person
    from tests.fapi.wire import Wire


@pytest.fixture(scope="session")
def server(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The portal; when all is done, its log must not tell of a single unexpected exception."""
    with db.transaction(settings.database_url) as session:
        ledger.open_months(session, now=db.now())
    with Server(tmp_path_factory.mktemp("fapi")) as running:
        yield running
        assert running.troubles() == []


@pytest.fixture(scope="session")
def here(server: Server, settings: Settings) -> Settings:
    """The settings that the running server has."""
    return replace(settings, url=server.url)


@pytest.fixture(scope="session")
def wire(server: Server) -> Wire:
    return server.wire()


@pytest.fixture
def rp(wire: Wire, here: Settings) -> Party:
    return casting.party(wire, here)


@pytest.fixture
def other(wire: Wire, here: Settings) -> Party:
    return casting.party(wire, here)


@pytest.fixture(scope="module")
def asker(wire: Wire, here: Settings) -> Party:
    """A client for the checks of a module that only send what is refused."""
    return casting.party(wire, here)


@pytest.fixture
def person(wire: Wire, here: Settings, keys: Keyring) -> Person:
    return casting.person(wire, here, keys)


@pytest.fixture
def trap() -> Iterator[Trap]:
    made = Trap()
    yield made
    made.close()

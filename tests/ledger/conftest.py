"""A signed-in browser on the whole portal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from portal.app import create_app
from tests.consent.browser import Browser
from tests.ledger.log_place import Place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flask import Flask

    from portal.config import Settings
    from portal.embedded.postgres import Postgres
    from portal.vault.keyring import Keyring


@pytest.fixture(scope="session")
def app(settings: Settings) -> Flask:
    return create_app(settings)


@pytest.fixture
def browser(app: Flask, settings: Settings, keys: Keyring) -> Browser:
    return Browser(app, settings, keys, {"name.full": "Zenobia Quill"})


@pytest.fixture
def place(postgres: Postgres, settings: Settings) -> Iterator[Place]:
    # Whoever signs asks the settings where a test wants it to die.
    assert settings
    made = Place(postgres)
    yield made
    made.give_back()

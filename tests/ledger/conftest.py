"""A signed-in browser on the whole portal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from portal.app import create_app
from tests.consent.browser import Browser

if TYPE_CHECKING:
    from flask import Flask

    from portal.config import Settings
    from portal.vault.keyring import Keyring


@pytest.fixture(scope="session")
def app(settings: Settings) -> Flask:
    return create_app(settings)


@pytest.fixture
def browser(app: Flask, settings: Settings, keys: Keyring) -> Browser:
    return Browser(app, settings, keys, {"name.full": "Zenobia Quill"})

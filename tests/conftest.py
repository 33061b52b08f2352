"""The suite's servers: one real PostgreSQL and one real Valkey for the whole run, thrown away at its end."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import sync_playwright

from portal import config, db, migrating
from portal.embedded.postgres import APP, OWNER, Postgres
from portal.embedded.valkey import Valkey
from portal.vault import keyring
from tests.journeys import browser as browsers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser
    from sqlalchemy.orm import Session

    from portal.config import Settings
    from portal.vault.keyring import Keyring


@pytest.fixture(scope="session")
def data() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ucm-") as folder:
        path = Path(folder)
        path.chmod(0o755)
        yield path


@pytest.fixture(scope="session")
def postgres(data: Path) -> Iterator[Postgres]:
    server = Postgres(data, fast=True)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def valkey(data: Path) -> Iterator[Valkey]:
    server = Valkey(data)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def settings(data: Path, postgres: Postgres, valkey: Valkey) -> Settings:
    """The settings of the program under test; jobs and listeners find them in the environment."""
    keyring.create(data / "keyring.json")
    os.environ |= {
        "DATABASE_URL": postgres.url(APP),
        "DATABASE_OWNER_URL": postgres.url(OWNER),
        "REDIS_URL": valkey.url,
        "KEYRING_FILE": str(data / "keyring.json"),
        "PORTAL_URL": "http://localhost:8000",
        # One address tries everything here; the tests of the limits set their own.
        "LIMIT_MACHINE_FAILURES": "1000000",
        "LIMIT_PEOPLE_TRIES": "1000000",
        "LIMIT_CLIENT_REQUESTS": "1000000",
        "LIMIT_API_REQUESTS": "1000000",
    }
    settings = config.current()
    migrating.migrate(settings)
    return settings


@pytest.fixture(scope="session")
def keys(settings: Settings) -> Keyring:
    return keyring.load(settings.keyring_file)


@pytest.fixture
def session(settings: Settings) -> Iterator[Session]:
    """A session whose work is rolled back when the test ends."""
    with db.sessions(settings.database_url)() as session:
        yield session
        session.rollback()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """One browser for the whole run: Playwright can be started once a process."""
    program_file = browsers.path()
    if program_file is None:
        missing = "chromium-headless-shell is not installed, and CHROMIUM_BIN does not say where another one is"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(missing)
    with sync_playwright() as playwright:
        browser = browsers.launch(playwright, program_file)
        yield browser
        browser.close()

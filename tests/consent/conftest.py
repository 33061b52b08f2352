"""A company with one app and one use of details, and people to share with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from portal import db, events
from portal.app import create_app
from portal.companies import services as companies
from portal.consumer import services as consumer
from portal.vault import persons
from tests.consent.browser import Browser
from tests.consent.offers import NOW, Offer

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from flask import Flask
    from sqlalchemy.orm import Session

    from portal.config import Settings
    from portal.vault.keyring import Keyring


@pytest.fixture
def offer(session: Session) -> Offer:
    return Offer(session)


@pytest.fixture
def lasting(settings: Settings) -> Offer:
    """An offer that other connections see as well."""
    with db.transaction(settings.database_url) as session:
        return Offer(session)


@pytest.fixture
def person(settings: Settings, keys: Keyring) -> Callable[..., UUID]:
    """Make a person who keeps the values given, seen by every connection."""

    def make(**values: str) -> UUID:
        person_id = db.new_id()
        changes = {name.replace("__", "."): value for name, value in values.items()}
        with db.transaction(settings.database_url) as session:
            persons.create(session, keyring=keys, person_id=person_id)
            if changes:
                consumer.save(session, keyring=keys, person_id=person_id, changes=changes, now=NOW)
        return person_id

    return make


@pytest.fixture(scope="session")
def app(settings: Settings) -> Flask:
    return create_app(settings)


@pytest.fixture
def browser(app: Flask, settings: Settings, keys: Keyring) -> Browser:
    """The browser of somebody with a name and an e-mail address, but no phone."""
    return Browser(app, settings, keys, {"name.full": "Zenobia Quill", "email.main": "zenobia@example.org"})


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[events.GrantChanged]:
    """What was announced while the test ran, and to nobody else."""
    heard: list[events.GrantChanged] = []
    monkeypatch.setitem(events._listeners, events.GrantChanged, [lambda _session, fact: heard.append(fact)])  # noqa: SLF001 - the registry has no way to forget
    return heard


@pytest.fixture(scope="session")
def old_months(settings: Settings) -> None:
    """The log's months of a portal that has been there for a year and a half."""
    opened = text("SELECT open_ledger_month(now() - make_interval(months => :ago))")
    with db.transaction(settings.database_url) as session:
        for ago in range(18):
            session.execute(opened, {"ago": ago})


@pytest.fixture
def staff(app: Flask, settings: Settings, keys: Keyring, lasting: Offer) -> Browser:
    """Somebody who works for the company of the lasting offer."""
    made = Browser(app, settings, keys, {})
    with db.transaction(settings.database_url) as session:
        companies.add_staff(session, company_id=lasting.company_id, person_id=made.person_id)
    return made

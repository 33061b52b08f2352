"""People with a vault, and a browser in which they are signed in."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from portal import db
from portal.app import create_app
from portal.identity import services as identity
from portal.vault import persons

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from uuid import UUID

    from apiflask import APIFlask
    from flask.testing import FlaskClient
    from sqlalchemy.orm import Session
    from werkzeug.test import TestResponse

    from portal.config import Settings
    from portal.vault.keyring import Keyring


class Browser:
    """Somebody's browser: it keeps cookies and sends the hidden CSRF field back, as a form does."""

    def __init__(self, client: FlaskClient) -> None:
        self.client = client

    def get(self, path: str, **keywords: Any) -> TestResponse:  # noqa: ANN401 - werkzeug's own arguments
        return self.client.get(path, **keywords)

    def send(
        self, path: str, typed: Mapping[str, str] | None = None, *, htmx: bool = False, **fields: str
    ) -> TestResponse:
        headers = {"HX-Request": "true"} if htmx else {}
        data = {**(typed or {}), **fields, "csrf_token": self.csrf()}
        return self.client.post(path, data=data, headers=headers)

    def csrf(self) -> str:
        found = re.search(r'name="csrf_token" value="([^"]+)"', self.get("/details/name.full/edit").text)
        assert found
        return found.group(1)


@pytest.fixture
def person(settings: Settings, keys: Keyring) -> UUID:
    return new_person(settings, keys)


@pytest.fixture
def somebody_else(settings: Settings, keys: Keyring) -> UUID:
    return new_person(settings, keys)


def new_person(settings: Settings, keys: Keyring) -> UUID:
    """A person whose key is committed, so that other connections see it."""
    with db.transaction(settings.database_url) as session:
        person_id = db.new_id()
        persons.create(session, keyring=keys, person_id=person_id)
    return person_id


@pytest.fixture
def work(settings: Settings) -> Iterator[Session]:
    """A session whose work other connections see: the test commits it."""
    with db.sessions(settings.database_url)() as session:
        yield session
        session.commit()


@pytest.fixture(scope="module")
def app(settings: Settings) -> APIFlask:
    return create_app(settings)


@pytest.fixture
def browser(app: APIFlask, settings: Settings, person: UUID) -> Browser:
    """A browser in which the person has signed in; how they did is the accounts' own test."""
    with db.transaction(settings.database_url) as session:
        token = identity.open_session(
            session, person_id=person, method="password", browser="Firefox on Linux", now=db.now()
        )
    client = app.test_client()
    client.set_cookie("session", token)
    return Browser(client)


@pytest.fixture
def stranger(app: APIFlask) -> FlaskClient:
    return app.test_client()

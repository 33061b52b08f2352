"""People with a vault, and the part of the portal that shows them their details."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from flask import Flask
from flask_login import LoginManager, UserMixin, login_user
from flask_wtf import CSRFProtect

from portal import db
from portal.config import asset_folder
from portal.consumer import web
from portal.consumer.catalogue import label
from portal.vault import persons
from portal.web import context, pages, problems, security
from portal.web.access import public

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from flask.testing import FlaskClient
    from sqlalchemy.orm import Session
    from werkzeug.test import TestResponse

    from portal.config import Settings
    from portal.vault.keyring import Keyring


class Visitor(UserMixin):  # type: ignore[misc]  # flask-login ships no annotations
    def __init__(self, person_id: str) -> None:
        self.id = person_id

    @property
    def person_id(self) -> UUID:
        return UUID(self.id)


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


@pytest.fixture(scope="session")
def app(settings: Settings, keys: Keyring) -> Flask:
    """The pages of this slice on the foundation every slice shares; signing in is another slice's test."""
    app = Flask("portal", template_folder=str(asset_folder("templates")), static_folder=str(asset_folder("static")))
    app.secret_key = "only for tests"
    for part in (problems, security, pages):
        part.init_app(app)
    context.init_app(app, settings, keys)
    app.jinja_env.filters["attribute_label"] = label
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    LoginManager(app).user_loader(Visitor)
    CSRFProtect(app)
    app.register_blueprint(web.pages)
    app.add_url_rule("/enter/<person_id>", view_func=public(_enter))
    return app


def _enter(person_id: str) -> str:
    login_user(Visitor(person_id))
    return ""


@pytest.fixture
def browser(app: Flask, person: UUID) -> Browser:
    client = app.test_client()
    client.get(f"/enter/{person}")
    return Browser(client)


@pytest.fixture
def stranger(app: Flask) -> FlaskClient:
    return app.test_client()

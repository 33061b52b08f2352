"""A company with a client, a person with a record, and a browser that is signed in."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from joserfc.jwk import OKPKey

from portal import db
from portal.app import create_app
from portal.companies import services as companies
from portal.consumer import services as consumer
from portal.consumer.catalogue import CATALOGUE
from portal.identity import services as identity
from portal.ledger import services as ledger
from tests import possession
from tests.oauth.rp import RelyingParty, ec_key, metadata

if TYPE_CHECKING:
    from uuid import UUID

    from apiflask import APIFlask
    from flask.testing import FlaskClient
    from sqlalchemy.orm import Session

    from portal.config import Settings
    from portal.consumer.formats import JsonValue
    from portal.vault.keyring import Keyring

REDIRECT_URI = "https://client.example/callback"
NEEDED = [("name.full", "to address letters to you")]
WISHED = [("address.home", "to send the goods"), ("email.main", "to tell you when they come")]
RECORD: dict[str, JsonValue | None] = {
    "name.full": "Aoife Byrne",
    "email.main": "aoife@example.org",
    "address.home": {"country": "IE", "formatted": "1 Main Street\nDublin"},
}


@dataclass
class Person:
    person_id: UUID
    browser: FlaskClient


@pytest.fixture(scope="session")
def app(settings: Settings) -> APIFlask:
    with db.transaction(settings.database_url) as session:
        ledger.open_months(session, now=db.now())
    return create_app(settings)


@pytest.fixture
def http(app: APIFlask, settings: Settings) -> FlaskClient:
    client = app.test_client(use_cookies=False)
    client.environ_base["HTTP_HOST"] = settings.url.partition("//")[2]
    return client


@pytest.fixture
def rp(http: FlaskClient, settings: Settings) -> RelyingParty:
    return make_rp(http, settings)


@pytest.fixture
def other(http: FlaskClient, settings: Settings) -> RelyingParty:
    return make_rp(http, settings)


@pytest.fixture
def person(app: APIFlask, settings: Settings, keys: Keyring) -> Person:
    return make_person(app, settings, keys)


def make_rp(http: FlaskClient, settings: Settings, **purpose: Any) -> RelyingParty:  # noqa: ANN401 - arguments of a purpose
    key, encryption = ec_key(), OKPKey.generate_key("X25519")
    with db.transaction(settings.database_url) as session:
        client_id = _client(session, metadata(key, [REDIRECT_URI, "http://localhost:9/cb?fixed=1"], encryption))
        possession.prove(session, client_id, encryption)
        declared: dict[str, Any] = {
            "sentence": "send what you ordered to the right address", "dpv": "ServiceProvision",
            "mode": "kept-up-to-date", "required": NEEDED, "optional": WISHED, "retention_days": 30,
        }  # fmt: skip
        facts = companies.declare_purpose(
            session, client_id=client_id, code="orders", catalogue=CATALOGUE, now=db.now(), **(declared | purpose)
        )
    return RelyingParty(http, settings.issuer, client_id, REDIRECT_URI, facts.code, key)


def _client(session: Session, described: dict[str, Any]) -> str:
    company = companies.register_company(
        session, legal_name="Linden Books Limited", trading_name=f"Linden {secrets.token_hex(4)}",
        registration_number="IE 1", country="IE", contact_email="privacy@linden.example",
        privacy_url="https://linden.example/privacy", now=db.now(),
    )  # fmt: skip
    return companies.register_client(session, company_slug=company.slug, metadata=described, now=db.now())


def make_person(app: APIFlask, settings: Settings, keys: Keyring) -> Person:
    now = db.now()
    with db.transaction(settings.database_url) as session:
        email = f"{secrets.token_hex(6)}@example.org"
        made = identity.register(session, keyring=keys, email=email, now=now)
        identity.confirm(session, keyring=keys, person_id=made.person_id)
        consumer.save(session, keyring=keys, person_id=made.person_id, changes=RECORD, now=now)
        token = identity.open_session(
            session, person_id=made.person_id, method="code", browser="a test", now=now, replaces=None
        )
    browser = app.test_client()
    browser.environ_base["HTTP_HOST"] = settings.url.partition("//")[2]
    browser.set_cookie("session", token, domain="localhost")
    return Person(made.person_id, browser)

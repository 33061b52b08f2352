"""Key sets and companies the tests of this folder start from."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import pytest
from joserfc.jwk import ECKey, OKPKey, RSAKey

from portal import db
from portal.app import create_app
from portal.companies import services
from tests import possession
from tests.companies.browser import Browser

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask
    from sqlalchemy.orm import Session

    from portal.companies.queries import CompanyFacts
    from portal.config import Settings
    from portal.vault.keyring import Keyring


@pytest.fixture(scope="session")
def pool() -> dict[str, dict[str, Any]]:
    """One private JWK of each kind, made once: RSA takes its time."""
    made: dict[str, ECKey | OKPKey | RSAKey] = {
        "p256": ECKey.generate_key("P-256"),
        "p256 too": ECKey.generate_key("P-256"),
        "p384": ECKey.generate_key("P-384"),
        "ed25519": OKPKey.generate_key("Ed25519"),
        "x25519": OKPKey.generate_key("X25519"),
        "rsa": RSAKey.generate_key(3072),
        "rsa 2048": RSAKey.generate_key(2048),
    }
    return {name: dict(key.as_dict(private=True)) for name, key in made.items()}


@pytest.fixture(scope="session")
def public(pool: dict[str, dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Return a public JWK of the pool with the members given; None takes one away."""
    private = {"d", "p", "q", "dp", "dq", "qi", "kid"}

    def make(name: str, **members: Any) -> dict[str, Any]:  # noqa: ANN401 - wrong types are the point
        key = {member: value for member, value in pool[name].items() if member not in private}
        return {member: value for member, value in (key | members).items() if value is not None}

    return make


@pytest.fixture
def jwks(public: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    return {"keys": [public("p256", use="sig", kid="s1"), public("x25519", use="enc", kid="e1")]}


@pytest.fixture
def facts() -> Callable[..., dict[str, Any]]:
    """The arguments a company is registered with, with the changes given."""

    def make(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - any argument of the service
        standard = {
            "legal_name": "Fernhill Power Limited",
            "trading_name": f"Brightwell {secrets.token_hex(4)}",
            "registration_number": "IE 512345",
            "country": "IE",
            "contact_email": "privacy@brightwell.example",
            "privacy_url": "https://brightwell.example/privacy",
            "now": db.now(),
        }
        return standard | changes

    return make


@pytest.fixture
def company(session: Session, facts: Callable[..., dict[str, Any]]) -> CompanyFacts:
    return services.register_company(session, **facts())


@pytest.fixture
def encryption(pool: dict[str, dict[str, Any]]) -> OKPKey:
    """The private half of the key to encrypt to in `jwks`."""
    return OKPKey.import_key(pool["x25519"])


@pytest.fixture
def client_id(session: Session, company: CompanyFacts, jwks: dict[str, Any], encryption: OKPKey) -> str:
    metadata = {"client_name": "Bills", "redirect_uris": ["https://brightwell.example/back"], "jwks": jwks}
    made = services.register_client(session, company_slug=company.slug, metadata=metadata, now=db.now())
    possession.prove(session, made, encryption)
    return made


@pytest.fixture(scope="session")
def app(settings: Settings) -> Flask:
    return create_app(settings)


@pytest.fixture
def staff(app: Flask, settings: Settings, keys: Keyring) -> Browser:
    return Browser(app, settings, keys)


@pytest.fixture
def own(settings: Settings, staff: Browser, facts: Callable[..., dict[str, Any]]) -> CompanyFacts:
    """A company the browser's person acts for."""
    with db.transaction(settings.database_url) as session:
        return services.register_company(session, **facts(owner=staff.person_id))

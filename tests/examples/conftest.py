"""A portal made by hand, with another library than the portal's own: the wire format itself is what is tested."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from flask import Flask
from joserfc import jwe, jws
from joserfc.jwk import ECKey, OctKey

import keys
import receiver
from receiver import Receiver
from store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from flask.testing import FlaskClient

ISSUER = "http://localhost:8000"
CLIENT = "test_brightwell"


class HandMadePortal:
    """Signs and seals as the wire protocol says, with joserfc alone."""

    client_id = CLIENT
    issuer = ISSUER

    def __init__(self, company: keys.CompanyKeys) -> None:
        self.key = _signing_key()
        self.published = {str(self.key.kid): self.key}
        self.looked_up: list[str] = []
        self._seal_to = ECKey.import_key(company.public_jwks()["keys"][1])

    def signing_key(self, kid: str) -> ECKey | None:
        self.looked_up.append(kid)
        return self.published.get(kid)

    def claims(self, event: str, content: dict[str, Any], **other: object) -> dict[str, Any]:
        return {
            "iss": ISSUER, "aud": CLIENT, "iat": int(time.time()), "jti": "message-1",
            "logged_by": int(time.time()) + 60, "sub_id": {"format": "iss_sub", "iss": ISSUER, "sub": "person-1"},
            "events": {event: content}, **other,
        }  # fmt: skip

    def sign(self, claims: dict[str, Any], *, key: ECKey | None = None, typ: str = "secevent+jwt") -> str:
        header = {"alg": "ES256", "kid": str(self.key.kid), "typ": typ}
        return jws.serialize_compact(header, json.dumps(claims).encode(), key or self.key)

    def profile(self, values: dict[str, tuple[int, object]], **content: object) -> dict[str, Any]:
        one_time = {name: OctKey.generate_key(256) for name in values}
        attributes = {
            name: {
                "version": version,
                "changed_at": "2026-11-21T14:50:00Z",
                "confirmed_at": None,
                "verification": "self-asserted",
                "value": _seal(name, version, value, one_time[name]),
            }
            for name, (version, value) in values.items()
        }
        return {
            "grant_id": "grant-1", "purpose": "bills", "sequence": 1, "complete": True, "attributes": attributes,
            "keys": self._seal_keys({f"{name}#{values[name][0]}": key for name, key in one_time.items()}), **content,
        }  # fmt: skip

    def message(self, values: dict[str, tuple[int, object]], jti: str = "message-1", **content: object) -> str:
        return self.sign(self.claims(receiver.PROFILE, self.profile(values, **content), jti=jti))

    def consent(self, state: str, version: int, attributes: list[str], **other: object) -> str:
        content = {"grant_id": "grant-1", "state": state, "version": version, "attributes": attributes}
        return self.sign(self.claims(receiver.CONSENT, content, **{"jti": f"consent-{version}", **other}))

    def _seal_keys(self, one_time: dict[str, OctKey]) -> str:
        key_set = {"keys": [{**key.as_dict(private=True), "kid": kid} for kid, key in one_time.items()]}
        header = {"alg": "ECDH-ES+A256KW", "enc": "A256GCM", "kid": str(self._seal_to.kid)}
        return jwe.encrypt_compact(header, json.dumps(key_set).encode(), self._seal_to)


def _signing_key() -> ECKey:
    key = ECKey.generate_key("P-256", auto_kid=True)
    return ECKey.import_key({**key.as_dict(private=True), "kid": key.thumbprint()})


def _seal(name: str, version: int, value: object, key: OctKey) -> str:
    header = {"alg": "dir", "enc": "A256GCM", "kid": f"{name}#{version}"}
    return jwe.encrypt_compact(header, json.dumps(value).encode(), key)


@pytest.fixture
def company(tmp_path: Path) -> keys.CompanyKeys:
    return keys.ensure(tmp_path)


@pytest.fixture
def portal(company: keys.CompanyKeys) -> HandMadePortal:
    return HandMadePortal(company)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@pytest.fixture
def inbox(portal: HandMadePortal, store: Store, company: keys.CompanyKeys) -> Receiver:
    return Receiver(portal, store, company.encryption)


@pytest.fixture
def endpoint(inbox: Receiver) -> FlaskClient:
    app = Flask("endpoint")
    app.register_blueprint(receiver.events(inbox))
    return app.test_client()

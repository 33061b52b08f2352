"""Who meets at the server: companies with clients, and people with a record and a browser that is signed in."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from joserfc.jwk import ECKey, OKPKey, RSAKey

from portal import db
from portal.companies import registration
from portal.companies import services as companies
from portal.companies.models import Client
from portal.consumer import services as consumer
from portal.consumer.catalogue import CATALOGUE
from portal.identity import levels
from portal.identity import services as identity
from tests import possession
from tests.fapi.wire import Wire
from tests.oauth.rp import RelyingParty

if TYPE_CHECKING:
    from uuid import UUID

    from flask.testing import FlaskClient
    from joserfc.jwk import Key
    from sqlalchemy.orm import Session

    from portal.config import Settings
    from portal.consumer.formats import JsonValue
    from portal.vault.keyring import Keyring
    from tests.oauth.rp import Answer

REDIRECT_URI = "https://client.example/callback"
LOOPBACK_URI = "http://localhost:9/cb?fixed=1"
PURPOSE = "orders"
SENTENCE = "send what you ordered to the right address"
NEEDED = [("name.full", "to address letters to you")]
WISHED = [("address.home", "to send the goods"), ("email.main", "to tell you when they come")]
RECORD: dict[str, JsonValue | None] = {
    "name.full": "Aoife Byrne",
    "email.main": "aoife@example.org",
    "birth.date": "1990-02-03",
    "address.home": {"country": "IE", "formatted": "1 Main Street\nDublin"},
}


@cache
def _rsa_key() -> RSAKey:
    # One for all clients: to find the primes of one takes as long as a whole test.
    return RSAKey.generate_key(3072)


@dataclass
class Party(RelyingParty):
    """A relying party over real HTTP, with a key of every kind the profile knows."""

    rsa_key: RSAKey = field(default_factory=_rsa_key, repr=False)
    ed_key: OKPKey = field(default_factory=lambda: OKPKey.generate_key("Ed25519"), repr=False)
    encryption_key: ECKey = field(default_factory=lambda: ECKey.generate_key("P-256"), repr=False)
    company: str = ""

    @property
    def wire(self) -> Wire:
        return cast("Wire", self.http)

    def open(self, person: Person, request_uri: str) -> Answer:
        return person.wire.get(self.address(request_uri))

    def press(self, person: Person, request_uri: str, answer: str = "share", **form: Any) -> Answer:  # noqa: ANN401
        return self.answer(person.browser, request_uri, answer, **form)

    def tokens(self, person: Person, **changes: str | None) -> dict[str, Any]:
        """Walk the whole way; return the token answer's body."""
        answer = self.redeem(self.code(person.browser, **changes))
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json
        return body

    def refresh(self, token: str, *, dpop: str | None = None, **form: str | None) -> Answer:
        return self.token(dpop=dpop, grant_type="refresh_token", refresh_token=token, **form)

    def introspect(self, token: str, **headers: str) -> Answer:
        return self.post("/oauth/introspect", self.identified(token=token), **headers)

    def userinfo(self, token: str) -> Answer:
        return self.call("/oauth/userinfo", token)

    def keys(self) -> list[dict[str, Any]]:
        named: list[tuple[Key, str, str]] = [
            (self.key, "sig", "s1"), (self.rsa_key, "sig", "s2"), (self.ed_key, "sig", "s3"),
            (self.encryption_key, "enc", "e1"),
        ]  # fmt: skip
        return [{**key.as_dict(private=False), "use": use, "kid": kid} for key, use, kid in named]


@dataclass
class Person:
    """Somebody at a browser."""

    person_id: UUID
    wire: Wire = field(repr=False)

    @property
    def browser(self) -> FlaskClient:
        return cast("FlaskClient", self.wire)


def party(
    http: Wire,
    settings: Settings,
    *,
    wished: list[tuple[str, str]] = WISHED,
    **chosen: Any,  # noqa: ANN401 - RFC 7591 metadata
) -> Party:
    """Register a company with one client that has one purpose; `chosen` is what the client says of itself."""
    made = Party(
        cast("FlaskClient", http), settings.issuer, "", REDIRECT_URI, PURPOSE, ECKey.generate_key("P-256")
    )  # fmt: skip
    with db.transaction(settings.database_url) as session:
        made.company, made.client_id = _client(session, made, chosen)
        companies.declare_purpose(
            session, client_id=made.client_id, code=PURPOSE, sentence=SENTENCE, dpv="ServiceProvision",
            mode="kept-up-to-date", required=NEEDED, optional=wished, retention_days=30, catalogue=CATALOGUE,
            now=db.now(),
        )  # fmt: skip
    return made


def _client(session: Session, made: Party, chosen: dict[str, Any]) -> tuple[str, str]:
    company = companies.register_company(
        session, legal_name="Linden Books Limited", trading_name=f"Linden {secrets.token_hex(4)}",
        registration_number="IE 1", country="IE", contact_email="privacy@linden.example",
        privacy_url="https://linden.example/privacy", now=db.now(),
    )  # fmt: skip
    described = {
        "client_name": "Test app", "redirect_uris": [REDIRECT_URI, LOOPBACK_URI], "jwks": {"keys": made.keys()},
        **chosen,
    }  # fmt: skip
    client_id = companies.register_client(session, company_slug=company.slug, metadata=described, now=db.now())
    possession.prove(session, client_id, made.encryption_key)
    return company.trading_name, client_id


def person(http: Wire, settings: Settings, keys: Keyring) -> Person:
    """Make an account with a record, and a browser that is signed in to it."""
    now = db.now()
    with db.transaction(settings.database_url) as session:
        email = f"{secrets.token_hex(6)}@example.org"
        made = identity.register(session, keyring=keys, email=email, now=now)
        identity.confirm(session, keyring=keys, person_id=made.person_id)
        consumer.save(session, keyring=keys, person_id=made.person_id, changes=RECORD, now=now)
    made_up = Person(made.person_id, Wire(http.port, {}))
    sign_in(made_up, settings)
    return made_up


def sign_in(person: Person, settings: Settings, *, level: int = levels.ONE_PROOF) -> None:
    """Sign the person in anew, at this moment, at the browser they have."""
    with db.transaction(settings.database_url) as session:
        token = identity.open_session(
            session, person_id=person.person_id, method="code", browser="a test", now=db.now(), level=level
        )
    person.wire.cookies = {"session": token}


def initial_token(settings: Settings, party: Party, person: Person, *, uses: int = 1) -> str:
    """Return an initial access token that the person, acting for the party's company, made for it."""
    with db.transaction(settings.database_url) as session:
        company_id = session.get_one(Client, party.client_id).company_id
        companies.add_staff(session, company_id=company_id, person_id=person.person_id)
        return registration.make_token(
            session, company_id=company_id, made_by=person.person_id, name="a program", environment=companies.TEST,
            uses=uses, days=1, now=db.now(),
        )  # fmt: skip

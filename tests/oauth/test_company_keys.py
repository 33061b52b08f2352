"""Keys that programs register (RFC 7591, RFC 7592, `jwks_uri`): proved and held like those that staff paste."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from joserfc.jwk import OKPKey
from sqlalchemy import update

from portal import db
from portal.companies import client_keys, key_source, queries
from portal.companies.models import Client, ClientKey
from tests import possession
from tests.oauth.key_server import KeyServer
from tests.oauth.rp import RelyingParty, ec_key, metadata, signed
from tests.oauth.test_registration import REDIRECT_URI, Program, make_program
from tests.sync.cast import allow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flask.testing import FlaskClient

    from portal.config import Settings

SIGNING = ec_key()


def encryption() -> OKPKey:
    return OKPKey.generate_key("X25519")


def key_set(**private: OKPKey) -> dict[str, Any]:
    sealed = [{**key.as_dict(private=False), "use": "enc", "kid": kid} for kid, key in private.items()]
    return {"keys": [{**SIGNING.as_dict(private=False), "use": "sig", "kid": "s1"}, *sealed]}


@pytest.fixture
def program(http: FlaskClient, settings: Settings) -> Program:
    return make_program(http, settings, environment="live")


@pytest.fixture
def server() -> Iterator[KeyServer]:
    made = KeyServer()
    allow(made.pair)
    yield made
    made.close()


class Owned:
    """A client that a program registered, whose first key `e1` is proved."""

    def __init__(self, program: Program, server: KeyServer | None = None) -> None:
        self.program, self.server, self.first = program, server, encryption()
        described = metadata(SIGNING, [REDIRECT_URI]) | {"jwks": key_set(e1=self.first)}
        if server:
            server.jwks = described.pop("jwks")
            described["jwks_uri"] = server.url
        answer = program.post(described)
        assert answer.status_code == 201, answer.text
        self.made: dict[str, Any] = answer.json
        self.prove(self.first)

    def prove(self, *keys: OKPKey) -> None:
        with db.transaction(self.program.settings.database_url) as session:
            possession.prove(session, self.made["client_id"], *keys)

    def give(self, **private: OKPKey) -> None:
        """Make these the encryption keys in the client's set, and have the portal hear of it."""
        if self.server:
            self.server.jwks = key_set(**private)
            self._read_anew()
            return
        document = metadata(SIGNING, [REDIRECT_URI]) | {"jwks": key_set(**private), "client_id": self.made["client_id"]}
        answer = self.program.manage("PUT", self.made, document)
        assert answer.status_code == 200, answer.text

    def states(self) -> dict[str, str]:
        with db.transaction(self.program.settings.database_url) as session:
            facts = queries.key_list(session, self.made["client_id"], now=db.now())
        return {key.kid: str(key.state) for key in facts if key.use == "enc"}

    def sealed_to(self) -> str | None:
        with db.transaction(self.program.settings.database_url) as session:
            found = queries.encryption_key(session, self.made["client_id"])
        return found[0] if found else None

    def _read_anew(self) -> None:
        with db.transaction(self.program.settings.database_url) as session:
            mine = update(Client).where(Client.client_id == self.made["client_id"])
            session.execute(mine.values(keys_fetched_at=db.now() - timedelta(hours=1)))
        assert key_source.refresh(client_id=self.made["client_id"], now=db.now())


@pytest.fixture(params=["by value", "by address"])
def owned(request: pytest.FixtureRequest, program: Program, server: KeyServer) -> Owned:
    return Owned(program, server if request.param == "by address" else None)


def test_an_answer_says_what_is_left_to_do(program: Program) -> None:
    made = program.made()
    assert made["ucm_keys"] == [
        {"kid": "e1", "use": "enc", "state": "unproved"}, {"kid": "s1", "use": "sig", "state": "unused"},
    ]  # fmt: skip
    assert made["ucm_keys_uri"] == f"{program.settings.issuer}/api/v1/keys"


def test_a_first_assertion_proves_the_signing_key(program: Program) -> None:
    key = ec_key()
    made = program.made(key=key)
    rp = RelyingParty(program.http, program.settings.issuer, made["client_id"], REDIRECT_URI, "", key)
    bad = signed({"alg": "ES256", "kid": "s1"}, {"iss": rp.client_id, "sub": rp.client_id}, ec_key())
    assert rp.token(grant_type="client_credentials", client_assertion=bad).status_code == 401
    assert _state(program, made, "s1") == "unused"
    assert rp.token(grant_type="client_credentials").status_code == 200
    assert _state(program, made, "s1") == "active"


def _state(program: Program, made: dict[str, Any], kid: str) -> str:
    told = program.manage("GET", made).json["ucm_keys"]
    return str(next(key["state"] for key in told if key["kid"] == kid))


def test_no_replacement_is_used_within_a_day(owned: Owned) -> None:
    second = encryption()
    owned.give(e2=second)
    assert owned.states() == {"e1": "active", "e2": "unproved"}
    owned.prove(second)
    assert owned.states() == {"e1": "active", "e2": "held"}
    assert owned.sealed_to() == "e1"


def test_a_set_that_flaps_keeps_what_is_in_use(owned: Owned) -> None:
    second = encryption()
    for _ in range(3):
        owned.give(e2=second)
        owned.prove(second)
        assert owned.sealed_to() == "e1"
        owned.give(e1=owned.first)
        assert owned.states() == {"e1": "active", "e2": "retired"}
    owned.give(e2=second)
    assert owned.states() == {"e1": "active", "e2": "held"}


def test_a_stopped_key_does_not_come_back_with_the_set(owned: Owned) -> None:
    with db.transaction(owned.program.settings.database_url) as session:
        client_keys.stop(session, client_id=owned.made["client_id"], kid="e1", now=db.now())
    owned.give(e1=owned.first, e2=encryption())
    assert owned.states() == {"e1": "stopped", "e2": "unproved"}
    assert owned.sealed_to() is None


def test_the_same_key_under_another_kid_changes_nothing(program: Program) -> None:
    owned = Owned(program)
    document = metadata(SIGNING, [REDIRECT_URI]) | {"jwks": key_set(e9=owned.first)}
    answer = program.manage("PUT", owned.made, document | {"client_id": owned.made["client_id"]})
    assert (answer.status_code, answer.json["error"]) == (400, "invalid_client_metadata")
    assert owned.states() == {"e1": "active"}


def test_a_department_is_kept_and_said(program: Program) -> None:
    owned, payroll = Owned(program), encryption()
    keys = key_set(e1=owned.first, p1=payroll)
    keys["keys"][-1]["ucm_group"] = "payroll"
    document = metadata(SIGNING, [REDIRECT_URI]) | {"jwks": keys, "client_id": owned.made["client_id"]}
    told = program.manage("PUT", owned.made, document).json
    assert {key["kid"]: key.get("ucm_group") for key in told["jwks"]["keys"]} == {
        "s1": None, "e1": None, "p1": "payroll",
    }  # fmt: skip
    owned.prove(payroll)
    with db.transaction(program.settings.database_url) as session:
        session.execute(update(ClientKey).where(ClientKey.kid == "p1").values(active_from=db.now()))
    assert owned.sealed_to() == "e1", "what the authorization server seals is no department's"

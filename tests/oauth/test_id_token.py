"""The ID token: OpenID Connect Core sections 2, 3.1.3.6 and 16.14; RFC 8176; as a hint, read again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from joserfc import jwe
from joserfc.jwk import ECKey
from sqlalchemy import update

from portal import db
from portal.companies.models import Client, ClientKey
from portal.oauth import id_token
from portal.vault import signing
from tests.oauth.test_encrypted import give_key
from tests.oauth.test_flow import verified

if TYPE_CHECKING:
    from portal.config import Settings
    from portal.vault.keyring import Keyring
    from tests.oauth.conftest import Person
    from tests.oauth.rp import RelyingParty

ENCRYPTED = {
    "id_token_encrypted_response_alg": "ECDH-ES+A256KW",
    "id_token_encrypted_response_enc": "A256GCM",
    "grant_types": ["authorization_code"],
}


def settle(settings: Settings, rp: RelyingParty, metadata: dict[str, Any]) -> None:
    with db.transaction(settings.database_url) as session:
        session.execute(update(Client).where(Client.client_id == rp.client_id).values(settings=metadata))


def issued(rp: RelyingParty, person: Person) -> str:
    return str(rp.redeem(rp.code(person.browser)).json["id_token"])


def test_every_member(rp: RelyingParty, person: Person) -> None:
    header, claims = verified(rp, issued(rp, person))
    assert set(header) == {"alg", "kid", "typ"}
    assert set(claims) == {"iss", "sub", "aud", "iat", "exp", "auth_time", "acr", "nonce"}


def test_without_nonce_there_is_none(rp: RelyingParty, person: Person) -> None:
    token = rp.redeem(rp.code(person.browser, nonce=None)).json["id_token"]
    assert "nonce" not in verified(rp, token)[1]


def test_sealed_for_a_client_that_asks_for_it(rp: RelyingParty, person: Person, settings: Settings) -> None:
    settle(settings, rp, ENCRYPTED)
    key = ECKey.generate_key("P-256")
    with db.transaction(settings.database_url) as session:
        give_key(session, rp.client_id, key, minutes=0, kid="newest")
    sealed = issued(rp, person)
    opened = jwe.decrypt_compact(sealed, key, algorithms=["ECDH-ES+A256KW", "A256GCM"])
    assert opened.headers()["cty"] == "JWT"
    assert opened.plaintext is not None
    inner = opened.plaintext.decode()
    assert verified(rp, inner)[1]["aud"] == rp.client_id
    # What is inside can be a hint; what is around it can be read by the client alone.
    assert rp.post("/oauth/par", rp.request(id_token_hint=inner)).status_code == 201
    assert rp.post("/oauth/par", rp.request(id_token_hint=sealed)).json["error"] == "invalid_request"


def test_a_client_that_asks_and_has_no_key(rp: RelyingParty, person: Person, settings: Settings) -> None:
    settle(settings, rp, ENCRYPTED)
    with db.transaction(settings.database_url) as session:
        mine = (ClientKey.client_id == rp.client_id, ClientKey.use == "enc")
        session.execute(update(ClientKey).where(*mine).values(retired_at=db.now()))
    answer = rp.redeem(rp.code(person.browser))
    assert answer.status_code == 400
    assert answer.json["error"] == "invalid_request"
    assert "access_token" not in answer.json


def test_no_other_message_is_a_hint(rp: RelyingParty, settings: Settings, keys: Keyring) -> None:
    good = {"iss": rp.issuer, "aud": rp.client_id, "sub": "s", "auth_time": 1}
    with db.transaction(settings.database_url) as session:
        signer = signing.current(session, keyring=keys)
        assert id_token.read(session, signer.sign(good, typ="JWT"), issuer=rp.issuer).sub == "s"
        others = [signer.sign(good, typ=typ) for typ in ("secevent+jwt", "token-introspection+jwt", "at+jwt")]
        others += [signer.sign(good | {"iss": "https://x.example"}, typ="JWT")]
        others += [signer.sign({name: good[name] for name in good if name != left_out}, typ="JWT") for left_out in good]
        for token in others:
            with pytest.raises(id_token.HintUnreadableError):
                id_token.read(session, token, issuer=rp.issuer)


def test_a_spoilt_signature_makes_no_hint(rp: RelyingParty, person: Person) -> None:
    head, claims, signature = issued(rp, person).split(".")
    flipped = signature[:10] + ("A" if signature[10] != "A" else "B") + signature[11:]
    for spoilt in (f"{head}.{claims}.{flipped}", f"{head}.{claims}.", f"{head}.{claims}"):
        answer = rp.post("/oauth/par", rp.request(id_token_hint=spoilt))
        assert answer.json["error"] == "invalid_request"
        assert json.dumps(answer.json).isascii()

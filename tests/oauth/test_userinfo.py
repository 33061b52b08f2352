"""Userinfo: the shape each client asked for, nothing for others, and a lean way there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

import pytest
from joserfc import jwe, jwt
from joserfc.jwk import KeySet, OKPKey
from sqlalchemy import update

from portal import db
from portal.companies.models import Client, ClientKey
from portal.ledger import queries as ledger
from portal.oauth import statements as hot
from tests.counting import prepared, statements
from tests.oauth.rp import query

if TYPE_CHECKING:
    from portal.config import Settings
    from tests.oauth.conftest import Person
    from tests.oauth.rp import Answer, RelyingParty

PATH = "/oauth/userinfo"
SIGNED = {"userinfo_signed_response_alg": "ES256"}
SEALED = {"userinfo_encrypted_response_alg": "ECDH-ES+A256KW", "userinfo_encrypted_response_enc": "A256GCM"}
SCOPE = "openid profile email"


def choose(settings: Settings, rp: RelyingParty, chosen: dict[str, str]) -> OKPKey:
    """Set the client's metadata; return the key that opens what is sealed to it."""
    key = OKPKey.generate_key("X25519")
    jwk = {**key.as_dict(private=False), "use": "enc", "kid": "e1"}
    with db.transaction(settings.database_url) as session:
        session.execute(update(Client).where(Client.client_id == rp.client_id).values(settings=chosen))
        mine = ClientKey.client_id == rp.client_id, ClientKey.use == "enc"
        session.execute(update(ClientKey).where(*mine).values(jwk=jwk))
    return key


def token(rp: RelyingParty, person: Person, scope: str = SCOPE) -> dict[str, Any]:
    shown = rp.answer(person.browser, rp.push(scope=scope), attributes=["email.main"])
    found: dict[str, Any] = rp.redeem(query(shown)["code"]).json
    return found


def sealed_to(settings: Settings, person: Person) -> list[Any]:
    with db.transaction(settings.database_url) as session:
        found = ledger.of_person(session, person_id=person.person_id)
        return [entry.sealed_to for entry in found if entry.channel == "userinfo"]


def call(rp: RelyingParty, access_token: str, *, method: str = "GET", **options: Any) -> Answer:  # noqa: ANN401
    proof = rp.proof(PATH, method=method, token=access_token)
    headers = {"Authorization": f"DPoP {access_token}", "DPoP": proof}
    return cast("Answer", rp.http.open(PATH, method=method, headers=headers, **options))


def logged(settings: Settings, person: Person) -> list[str]:
    with db.transaction(settings.database_url) as session:
        found = ledger.of_person(session, person_id=person.person_id)
    return [entry.outcome for entry in found if entry.channel == "userinfo"]


def verified(rp: RelyingParty, text: str) -> jwt.Token:
    return jwt.decode(text, KeySet.import_key_set(rp.get("/oauth/jwks").json), algorithms=["ES256"])


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_json_by_either_method(rp: RelyingParty, person: Person, method: str) -> None:
    # OpenID Connect Core section 5.3.1.
    given = token(rp, person)
    answer = call(rp, given["access_token"], method=method)
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.json == {"sub": given["sub"], "name": "Aoife Byrne", "email": "aoife@example.org"}


def test_a_token_in_the_body_or_the_address_is_none(rp: RelyingParty, person: Person) -> None:
    # FAPI 2.0 section 5.3.4: the header only.
    given = token(rp, person)["access_token"]
    assert rp.post(PATH, {"access_token": given}, DPoP=rp.proof(PATH, token=given)).status_code == 401
    proof = rp.proof(PATH, method="GET", token=given)
    assert rp.get(f"{PATH}?access_token={given}", DPoP=proof).status_code == 401


def test_signed_for_who_asked_so(rp: RelyingParty, person: Person, settings: Settings) -> None:
    # OpenID Connect Core section 5.3.2.
    choose(settings, rp, SIGNED)
    given = token(rp, person)
    answer = call(rp, given["access_token"])
    assert answer.headers["Content-Type"] == "application/jwt"
    claims = verified(rp, answer.text).claims
    assert claims == {
        "iss": rp.issuer, "aud": rp.client_id, "sub": given["sub"], "name": "Aoife Byrne",
        "email": "aoife@example.org",
    }  # fmt: skip


@pytest.mark.parametrize("chosen", [SIGNED | SEALED, SEALED], ids=["both", "sealed only"])
def test_what_is_sealed_is_signed_first(
    rp: RelyingParty, person: Person, settings: Settings, chosen: dict[str, str]
) -> None:
    key = choose(settings, rp, chosen)
    given = token(rp, person)
    answer = call(rp, given["access_token"])
    assert answer.headers["Content-Type"] == "application/jwt"
    opened = jwe.decrypt_compact(answer.text, key, algorithms=["ECDH-ES+A256KW", "A256GCM"])
    assert opened.headers()["cty"] == "JWT"
    assert opened.plaintext is not None
    assert verified(rp, opened.plaintext.decode()).claims["sub"] == given["sub"]
    assert sealed_to(settings, person) == [[opened.headers()["kid"]]]


def test_what_is_not_sealed_names_no_key(rp: RelyingParty, person: Person, settings: Settings) -> None:
    choose(settings, rp, SIGNED)
    assert call(rp, token(rp, person)["access_token"]).status_code == 200
    assert sealed_to(settings, person) == [None]


def test_without_a_key_nothing_is_told_and_nothing_logged(rp: RelyingParty, person: Person, settings: Settings) -> None:
    choose(settings, rp, SEALED)
    given = token(rp, person)
    with db.transaction(settings.database_url) as session:
        mine = ClientKey.client_id == rp.client_id, ClientKey.use == "enc"
        session.execute(update(ClientKey).where(*mine).values(retired_at=db.now()))
    answer = call(rp, given["access_token"])
    assert (answer.status_code, answer.json["type"].rpartition("/")[2]) == (409, "no-encryption-key")
    assert logged(settings, person) == []


def test_openid_alone_discloses_nothing(rp: RelyingParty, person: Person, settings: Settings) -> None:
    given = token(rp, person, scope="openid")
    assert call(rp, given["access_token"]).json == {"sub": given["sub"]}
    assert logged(settings, person) == []


def test_the_clients_own_token_tells_of_nobody(rp: RelyingParty) -> None:
    answer = call(rp, rp.own_token())
    assert answer.status_code == 403
    assert 'error="insufficient_scope"' in answer.headers["WWW-Authenticate"]


def test_a_suspended_client_is_told_nothing(rp: RelyingParty, person: Person, settings: Settings) -> None:
    given = token(rp, person)["access_token"]
    with db.transaction(settings.database_url) as session:
        session.execute(update(Client).where(Client.client_id == rp.client_id).values(state="suspended"))
    answer = call(rp, given)
    assert answer.status_code == 401
    assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
    assert logged(settings, person) == []


@pytest.mark.parametrize("scope", ["openid", SCOPE])
def test_a_proof_is_good_once(rp: RelyingParty, person: Person, settings: Settings, scope: str) -> None:
    given = token(rp, person, scope)["access_token"]
    proof = rp.proof(PATH, method="GET", token=given)
    assert rp.call(PATH, given, dpop=proof).status_code == 200
    before = logged(settings, person)
    again = rp.call(PATH, given, dpop=proof)
    assert again.status_code == 401
    assert 'error="invalid_dpop_proof"' in again.headers["WWW-Authenticate"]
    assert logged(settings, person) == before


def test_it_costs_two_statements(rp: RelyingParty, person: Person, settings: Settings) -> None:
    given = token(rp, person)["access_token"]
    call(rp, given)
    with statements(settings) as others, prepared() as seen:
        assert call(rp, given).status_code == 200
    assert others == []
    assert seen == [hot.USERINFO, hot.USERINFO_LOG]


def test_no_identifier_but_the_subject_leaves(rp: RelyingParty, person: Person) -> None:
    answer = call(rp, token(rp, person)["access_token"])
    assert str(person.person_id) not in json.dumps(answer.json)

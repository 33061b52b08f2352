"""Checklist rows 37 to 47: a code becomes tokens, once, for the one it was made for."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest
from joserfc import jws
from joserfc.jwk import KeySet
from sqlalchemy import update

from portal import db
from portal.oauth import tokens
from portal.oauth.models import AuthorizationCode
from tests.fapi.cast import LOOPBACK_URI, REDIRECT_URI
from tests.fapi.wire import FORM
from tests.oauth.rp import VERIFIER, ec_key, query

if TYPE_CHECKING:
    from portal.config import Settings
    from tests.fapi.cast import Party, Person
    from tests.oauth.rp import Answer


def refused(answer: Answer, *errors: str) -> None:
    assert answer.status_code in {400, 401}, answer.text
    assert answer.json["error"] in errors, answer.text
    assert answer.headers["Cache-Control"] == "no-store"


def test_row_37_tokens_are_short_bound_and_unguessable__fapi2_5_3_2_1_4(rp: Party, person: Person) -> None:
    answer = rp.redeem(rp.code(person.browser))
    body = answer.json
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert body["token_type"] == "DPoP"
    assert 0 < body["expires_in"] <= 600
    for name in ("access_token", "refresh_token"):
        assert len(body[name].partition("_")[2]) * 6 >= 128
        assert "." not in body[name]


def test_row_38_a_code_twice_ends_its_tokens__rfc6749_4_1_2(rp: Party, person: Person) -> None:
    code = rp.code(person.browser)
    first = rp.redeem(code).json
    assert rp.userinfo(first["access_token"]).status_code == 200
    refused(rp.redeem(code), "invalid_grant")
    assert rp.userinfo(first["access_token"]).status_code == 401
    refused(rp.refresh(first["refresh_token"]), "invalid_grant")


def test_row_38_a_thief_without_verifier_or_key_gets_nothing_either__rfc9700_4_5(rp: Party, person: Person) -> None:
    code = rp.code(person.browser)
    first = rp.redeem(code).json
    refused(rp.redeem(code, code_verifier="w" * 43), "invalid_grant")
    refused(rp.redeem(code, dpop=rp.proof(key=ec_key())), "invalid_grant", "invalid_dpop_proof")
    refused(rp.refresh(first["refresh_token"]), "invalid_grant")


def test_row_39_code_in_parallel__rfc6749_4_1_2(rp: Party, person: Person) -> None:
    code = rp.code(person.browser)
    together = Barrier(12)

    def redeem(_number: int) -> Answer:
        form = rp.identified(
            grant_type="authorization_code", code=code, code_verifier=VERIFIER, redirect_uri=REDIRECT_URI
        )
        proof = rp.proof()
        together.wait()
        return rp.post("/oauth/token", form, DPoP=proof)

    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(redeem, range(12)))
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 11
    assert {answer.json["error"] for answer in answers if answer.status_code == 400} == {"invalid_grant"}


def test_row_40_a_code_is_good_for_a_minute__fapi2_5_3_2_1_11(rp: Party, person: Person, here: Settings) -> None:
    code = rp.code(person.browser)
    mine = AuthorizationCode.code_hash == tokens.hash_of(code)
    with db.transaction(here.database_url) as session:
        row = session.get_one(AuthorizationCode, tokens.hash_of(code))
        assert row.expires_at <= db.now() + timedelta(seconds=60)
        session.execute(update(AuthorizationCode).where(mine).values(expires_at=db.now()))
    refused(rp.redeem(code), "invalid_grant")


@pytest.mark.parametrize(
    "spoilt",
    [
        {"code_verifier": "w" * 43},
        {"code_verifier": None},
        {"code_verifier": ""},
        {"code_verifier": "v" * 42},
        {"code_verifier": "é" * 43},
        {"code_verifier": VERIFIER + "v"},
        {"redirect_uri": LOOPBACK_URI},
        {"redirect_uri": REDIRECT_URI + "/"},
        {"code": "made-up"},
        {"code": "\u00e9"},
        {"code": None},
    ],
)
def test_row_41_another_verifier_or_address__rfc7636_4_6(
    rp: Party, person: Person, spoilt: dict[str, str | None]
) -> None:
    code = rp.code(person.browser)
    refused(rp.redeem(**{"code": code, **spoilt}), "invalid_grant", "invalid_request")
    assert rp.redeem(code).status_code == 200


def test_row_41_another_client__rfc6749_4_1_3(rp: Party, other: Party, person: Person) -> None:
    code = rp.code(person.browser)
    refused(other.redeem(code), "invalid_grant")
    assert rp.redeem(code).status_code == 200


@pytest.mark.parametrize("grant_type", ["authorization_code", "refresh_token", "client_credentials"])
def test_row_42_no_proof__fapi2_5_3_2_1_4(rp: Party, person: Person, grant_type: str) -> None:
    body = rp.tokens(person)
    form = rp.identified(
        grant_type=grant_type, code=rp.code(person.browser), code_verifier=VERIFIER,
        refresh_token=body["refresh_token"], scope=None,
    )  # fmt: skip
    refused(rp.post("/oauth/token", form), "invalid_request", "invalid_grant")


def test_row_43_another_key_than_at_par__rfc9449_10(rp: Party, person: Person) -> None:
    answer = rp.post("/oauth/par", rp.request(), DPoP=rp.proof("/oauth/par"))
    named = rp.push(dpop_jkt=rp.dpop_key.thumbprint())
    for uri in (answer.json["request_uri"], named):
        code = query(rp.press(person, uri))["code"]
        refused(rp.redeem(code, dpop=rp.proof(key=ec_key())), "invalid_grant", "invalid_dpop_proof")
        assert rp.redeem(code).status_code == 200


def test_row_44_nobody_named_or_no_such_grant_type__rfc6749_5_2(asker: Party) -> None:
    form = {"grant_type": "client_credentials", "client_id": asker.client_id}
    refused(asker.post("/oauth/token", form, DPoP=asker.proof()), "invalid_client")
    for named in ("password", "implicit", "urn:ietf:params:oauth:grant-type:device_code", "x", "Authorization_Code"):
        refused(asker.token(grant_type=named, username="a", password="b"), "unsupported_grant_type")
    for missing in (None, ""):
        refused(asker.token(grant_type=missing), "invalid_request")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD"])
def test_row_45_only_post__rfc6749_3_2(asker: Party, method: str) -> None:
    form = urlencode(asker.identified(grant_type="client_credentials"))
    proof = ("DPoP", asker.proof(method=method))
    in_body = asker.wire.send(method, "/oauth/token", body=form.encode(), headers=[("Content-Type", FORM), proof])
    in_address = asker.wire.send(method, "/oauth/token?" + form, headers=[proof])
    for answer in (in_body, in_address):
        assert answer.status_code in {400, 404, 405}
        assert b"ucmat_" not in answer.content


def test_row_45_json_address_or_twice__rfc6749_3_2(asker: Party) -> None:
    form = asker.identified(grant_type="client_credentials")
    json_body = asker.raw(
        "/oauth/token", data=json.dumps(form), content_type="application/json", headers={"DPoP": asker.proof()}
    )
    assert 400 <= json_body.status_code < 500
    refused(asker.post("/oauth/token?" + urlencode(form), {}, DPoP=asker.proof()), "invalid_request")
    refused(asker.post("/oauth/token?scope=people:read", form, DPoP=asker.proof()), "invalid_request")
    for name in ("grant_type", "client_assertion", "scope"):
        pairs = [*form.items(), ("scope", "people:read"), (name, form.get(name, "people:read"))]
        refused(asker.post("/oauth/token", pairs, DPoP=asker.proof()), "invalid_request")


def test_row_46_redirect_uri_may_be_left_out__oauth21_10_2(rp: Party, person: Person) -> None:
    assert rp.redeem(rp.code(person.browser), redirect_uri=None).status_code == 200


def test_row_47_the_id_token_verifies__oidc_core_3_1_3_7(rp: Party, person: Person) -> None:
    before = int(time.time())
    body = rp.tokens(person, nonce="n" * 20)
    header, claims = opened(rp, body["id_token"])
    assert header["alg"] == "ES256"
    assert header["kid"] in {key["kid"] for key in rp.get("/oauth/jwks").json["keys"]}
    assert (claims["iss"], claims["aud"], claims["nonce"]) == (rp.issuer, rp.client_id, "n" * 20)
    assert claims["sub"] == body["sub"]
    assert before <= claims["iat"] < claims["exp"] <= claims["iat"] + 600
    assert claims["auth_time"] <= claims["iat"]


def opened(rp: Party, token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    keys = KeySet.import_key_set(rp.get("/oauth/jwks").json)
    found = jws.deserialize_compact(token, keys, algorithms=["ES256"])
    return dict(found.headers()), json.loads(found.payload)

"""Checklist rows 48 to 55: proofs at the token endpoint, a client's own token, and refreshing."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest

from tests.fapi.forgery import BAD_PROOFS
from tests.fapi.wire import FORM
from tests.oauth.rp import ec_key

if TYPE_CHECKING:
    from tests.fapi.cast import Party, Person
    from tests.oauth.rp import Answer


def refused(answer: Answer, *errors: str) -> None:
    assert answer.status_code in {400, 401}, answer.text
    assert answer.json["error"] in errors, answer.text
    assert "access_token" not in answer.json


@pytest.mark.parametrize("case", BAD_PROOFS)
def test_row_48_a_bad_proof__rfc9449_4_3(asker: Party, case: str) -> None:
    proof = BAD_PROOFS[case](asker, "/oauth/token", "POST", None)
    answer = asker.post(
        "/oauth/token", asker.identified(grant_type="client_credentials"), DPoP=proof.encode().decode("latin-1")
    )
    assert answer.status_code == 400, answer.text
    # What is not ASCII does not even arrive as a header.
    none = {"invalid_request"} if case == "not ASCII" else set()
    assert answer.json["error"] in {"invalid_dpop_proof", "use_dpop_nonce"} | none
    assert "access_token" not in answer.json


def test_row_49_two_proofs__rfc9449_4_3(asker: Party) -> None:
    body = urlencode(asker.identified(grant_type="client_credentials")).encode()
    twice = [("Content-Type", FORM), ("DPoP", asker.proof()), ("DPoP", asker.proof())]
    answer = asker.wire.send("POST", "/oauth/token", body=body, headers=twice)
    assert answer.status_code == 400
    assert answer.json["error"] == "invalid_dpop_proof"


def test_row_49_the_same_proof_twice_in_two_headers__rfc9449_4_3(asker: Party) -> None:
    proof = asker.proof()
    for headers in ([("DPoP", proof)] * 2, [("DPoP", f"{proof}, {proof}")], [("DPoP", ""), ("dpop", proof)]):
        body = urlencode(asker.identified(grant_type="client_credentials")).encode()
        answer = asker.wire.send("POST", "/oauth/token", body=body, headers=[("Content-Type", FORM), *headers])
        assert answer.status_code == 400, headers
        assert answer.json["error"] in {"invalid_dpop_proof", "invalid_request"}


def test_row_49_replayed__rfc9449_11_1(asker: Party) -> None:
    proof = asker.proof()
    assert asker.token(grant_type="client_credentials", dpop=proof).status_code == 200
    refused(asker.token(grant_type="client_credentials", dpop=proof), "invalid_dpop_proof")
    jti = "same-jti"
    assert asker.token(grant_type="client_credentials", dpop=asker.proof(jti=jti)).status_code == 200
    refused(asker.token(grant_type="client_credentials", dpop=asker.proof(jti=jti)), "invalid_dpop_proof")


@pytest.mark.parametrize("off", [-10, 10])
def test_row_50_a_clock_that_is_a_little_off__fapi2_5_3_2_1_13(asker: Party, off: int) -> None:
    proof = asker.proof(iat=int(time.time()) + off)
    assert asker.token(grant_type="client_credentials", dpop=proof).status_code == 200


def test_row_51_a_clients_own_token_is_narrow__rfc6749_4_4(asker: Party) -> None:
    answer = asker.token(grant_type="client_credentials", scope="people:read")
    assert answer.status_code == 200
    assert not {"refresh_token", "id_token", "sub", "grant_id"} & answer.json.keys()
    for scope in ("openid", "people:read profile", "people:write", "people:read\topenid", "PEOPLE:READ"):
        refused(asker.token(grant_type="client_credentials", scope=scope), "invalid_scope")


def test_row_52_refreshing_does_not_rotate__fapi2_5_3_2_1_9(rp: Party, person: Person) -> None:
    first = rp.tokens(person)
    answer = rp.refresh(first["refresh_token"])
    assert answer.status_code == 200
    assert answer.json.get("refresh_token", first["refresh_token"]) == first["refresh_token"]
    assert answer.json["access_token"] != first["access_token"]
    assert rp.refresh(first["refresh_token"]).status_code == 200


def test_row_53_refreshing_by_anybody_else__rfc6749_6(rp: Party, other: Party, person: Person) -> None:
    token = rp.tokens(person)["refresh_token"]
    refused(other.refresh(token), "invalid_grant")
    form = {"grant_type": "refresh_token", "refresh_token": token, "client_id": rp.client_id}
    refused(rp.post("/oauth/token", form, DPoP=rp.proof()), "invalid_client")
    unproven = rp.identified(grant_type="refresh_token", refresh_token=token)
    refused(rp.post("/oauth/token", unproven), "invalid_request", "invalid_grant")
    for scope in ("openid email", "people:read", "openid\u00a0profile"):
        refused(rp.refresh(token, scope=scope), "invalid_scope")
    for made_up in ("ucmrt_x", "\u00e9", token + "x", token[:-1]):
        refused(rp.refresh(made_up), "invalid_grant")
    assert rp.refresh(token).status_code == 200


def test_row_53_an_access_token_is_no_refresh_token__rfc6749_6(rp: Party, person: Person) -> None:
    body = rp.tokens(person)
    refused(rp.refresh(body["access_token"]), "invalid_grant")
    assert rp.userinfo(body["refresh_token"]).status_code == 401


def test_row_53_a_new_key_may_refresh_only_as_the_same_client__rfc9449_5(rp: Party, person: Person) -> None:
    # For a client that authenticates, the refresh token is bound to the client and not to a key.
    token = rp.tokens(person)["refresh_token"]
    fresh = ec_key()
    body = rp.refresh(token, dpop=rp.proof(key=fresh)).json
    assert rp.introspect(body["access_token"]).json["cnf"]["jkt"] == fresh.thumbprint()


def test_row_54_narrower_once_is_not_narrower_for_ever__rfc6749_6(rp: Party, person: Person) -> None:
    token = rp.tokens(person, scope="openid profile email")["refresh_token"]
    assert rp.refresh(token, scope="openid").json["scope"] == "openid"
    assert rp.refresh(token).json["scope"] == "openid profile email"
    assert rp.refresh(token, scope="profile openid").json["scope"].split() == ["profile", "openid"]


def test_row_55_eight_refreshes_at_once__rfc6749_6(rp: Party, person: Person) -> None:
    token = rp.tokens(person)["refresh_token"]
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: rp.refresh(token), range(8)))
    assert [answer.status_code for answer in answers] == [200] * 8
    assert len({answer.json["access_token"] for answer in answers}) == 8

"""Checklist rows 56 to 62: tokens at a resource, looked up, and taken back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fapi.forgery import BAD_PROOFS
from tests.oauth.rp import b64, ec_key

if TYPE_CHECKING:
    from tests.fapi.cast import Party, Person
    from tests.oauth.rp import Answer

PATH = "/oauth/userinfo"


@pytest.fixture(scope="module")
def own(asker: Party) -> str:
    return asker.own_token()


def challenged(answer: Answer, error: str | None = "") -> None:
    """See that it is a 401 with the challenge of RFC 9449 section 7.1; `error` None is a bare one."""
    assert answer.status_code == 401, answer.text
    challenge = answer.headers["WWW-Authenticate"]
    assert challenge.startswith("DPoP ")
    assert 'algs="ES256 PS256 EdDSA Ed25519"' in challenge
    assert ("error=" in challenge) == (error is not None)
    assert error is None or f'error="{error}' in challenge


@pytest.mark.parametrize("scheme", ["DPoP", "dpop", "DPOP"])
def test_row_56_the_scheme_in_any_case__rfc9110_11_1(rp: Party, person: Person, scheme: str) -> None:
    assert rp.call(PATH, rp.tokens(person)["access_token"], scheme=scheme).status_code == 200


@pytest.mark.parametrize("path", [PATH, "/api/v1/people/nobody"])
def test_row_57_bearer_or_no_proof__rfc9449_7_1(asker: Party, own: str, path: str) -> None:
    challenged(asker.call(path, own, scheme="Bearer"), "invalid_token")
    challenged(asker.get(path, Authorization=f"DPoP {own}"), "invalid")
    challenged(asker.get(path, Authorization=f"Bearer {own}"), "invalid_token")
    challenged(asker.get(path, DPoP=asker.proof(path, method="GET", token=own)), None)


@pytest.mark.parametrize("case", BAD_PROOFS)
@pytest.mark.parametrize("path", [PATH, "/api/v1/people/nobody"])
def test_row_57_a_bad_proof__rfc9449_4_3(asker: Party, own: str, path: str, case: str) -> None:
    proof = BAD_PROOFS[case](asker, path, "GET", own)
    challenged(asker.call(path, own, dpop=proof.encode().decode("latin-1")), "invalid_dpop_proof")


@pytest.mark.parametrize("path", [PATH, "/api/v1/people/nobody"])
def test_row_57_a_proof_for_another_token_key_or_moment__rfc9449_7_1(asker: Party, own: str, path: str) -> None:
    for spoilt in ({"ath": None}, {"ath": b64(b"x" * 32)}, {"ath": 7}, {"ath": "\u00e9"}):
        challenged(asker.call(path, own, dpop=asker.proof(path, method="GET", token=own, **spoilt)), "invalid")
    challenged(asker.call(path, own, dpop=asker.proof(path, method="GET", token=own, key=ec_key())), "invalid_token")
    other_place = asker.proof("/oauth/token", method="GET", token=own)
    challenged(asker.call(path, own, dpop=other_place), "invalid_dpop_proof")


def test_row_57_a_replayed_proof__rfc9449_11_1(rp: Party, person: Person) -> None:
    token = rp.tokens(person)["access_token"]
    proof = rp.proof(PATH, method="GET", token=token)
    assert rp.call(PATH, token, dpop=proof).status_code == 200
    challenged(rp.call(PATH, token, dpop=proof), "invalid_dpop_proof")


def test_row_57_a_replayed_proof_at_the_api__rfc9449_11_1(asker: Party, own: str) -> None:
    path = "/api/v1/people/nobody"
    proof = asker.proof(path, method="GET", token=own)
    assert asker.call(path, own, dpop=proof).status_code == 404
    challenged(asker.call(path, own, dpop=proof), "invalid_dpop_proof")


def test_row_57_two_proofs_or_two_tokens__rfc9449_4_3(asker: Party, own: str) -> None:
    one, two = (("DPoP", asker.proof(PATH, method="GET", token=own)) for _ in range(2))
    token = ("Authorization", f"DPoP {own}")
    challenged(asker.wire.send("GET", PATH, headers=[token, one, two]), "invalid_dpop_proof")
    challenged(asker.wire.send("GET", PATH, headers=[token, token, one]), "invalid")


def test_row_58_other_ways_to_write_the_address__rfc9449_4_3_9(asker: Party, own: str) -> None:
    path = "/api/v1/people/nobody"
    shouted = asker.issuer.replace("http://localhost", "HTTP://LOCALHOST")
    for htu in (asker.issuer + path + "?a=b", asker.issuer + path + "#x", shouted + path):
        proof = asker.proof(path, method="GET", token=own, htu=htu)
        assert asker.call(path, own, dpop=proof).status_code == 404, htu
    proof = asker.proof(path, method="GET", token=own)
    assert asker.get(path + "?attributes=name.full", Authorization=f"DPoP {own}", DPoP=proof).status_code == 404


def test_row_59_a_token_in_the_address_or_the_body__fapi2_5_3_4_2(rp: Party, person: Person) -> None:
    token = rp.tokens(person)["access_token"]
    proof = rp.proof(PATH, method="GET", token=token)
    challenged(rp.get(f"{PATH}?access_token={token}", DPoP=proof), None)
    proof = rp.proof(PATH, method="POST", token=token)
    challenged(rp.post(PATH, {"access_token": token}, DPoP=proof), None)


def test_row_60_made_up_or_none__rfc6750_3_1(asker: Party) -> None:
    for made_up in ("ucmat_" + "x" * 43, "x", "a.b.c"):
        challenged(asker.call(PATH, made_up), "invalid_token")
    challenged(asker.get(PATH), None)
    for odd in ("DPoP", "DPoP ", "DPoP \u00e9", "Basic YTpi", "x" * 9000):
        challenged(asker.get(PATH, Authorization=odd), "invalid")


def test_row_62_taking_back_needs_the_client__rfc7009_2_1(rp: Party, other: Party, person: Person) -> None:
    body = rp.tokens(person)
    for form in ({"token": body["access_token"]}, {"token": body["access_token"], "client_id": rp.client_id}):
        assert rp.post("/oauth/revoke", form).status_code == 401
    assert other.post("/oauth/revoke", other.identified(token=body["access_token"])).status_code == 200
    assert other.post("/oauth/revoke", other.identified(token=body["refresh_token"])).status_code == 200
    assert rp.userinfo(body["access_token"]).status_code == 200
    assert rp.refresh(body["refresh_token"]).status_code == 200


@pytest.mark.parametrize("hint", [None, "access_token", "refresh_token", "anything"])
def test_row_62_unknown_token_or_hint__rfc7009_2_2(rp: Party, person: Person, hint: str | None) -> None:
    for token in ("made-up", "\u00e9", "x" * 5000):
        assert rp.post("/oauth/revoke", rp.identified(token=token, token_type_hint=hint)).status_code == 200
    body = rp.tokens(person)
    taken = rp.post("/oauth/revoke", rp.identified(token=body["access_token"], token_type_hint=hint))
    assert taken.status_code == 200
    challenged(rp.userinfo(body["access_token"]), "invalid_token")
    assert rp.refresh(body["refresh_token"]).status_code == 200


def test_row_62_with_the_refresh_token_goes_every_access_token__rfc7009_2_1(rp: Party, person: Person) -> None:
    body = rp.tokens(person)
    again = rp.refresh(body["refresh_token"]).json["access_token"]
    assert rp.post("/oauth/revoke", rp.identified(token=body["refresh_token"])).status_code == 200
    for token in (body["access_token"], again):
        challenged(rp.userinfo(token), "invalid_token")
    assert rp.refresh(body["refresh_token"]).json["error"] == "invalid_grant"
    assert rp.code(person.browser)

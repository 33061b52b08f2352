"""Bad DPoP proofs (RFC 9449 section 4.3) at the token endpoint and at a resource; challenges (section 7)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from portal.web.reference import BY_CODE
from tests.oauth.rp import RelyingParty, ec_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.oauth.conftest import Person

RESOURCE = "/oauth/userinfo"
RSA = RSAKey.generate_key(2048)
SYMMETRIC = OctKey.generate_key(256)


def _tampered(proof: str) -> str:
    head, body, signature = proof.split(".")
    return f"{head}.{body}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}"


Make = "Callable[..., str]"
BAD: dict[str, Callable[[Callable[..., str]], str]] = {
    "typ missing": lambda make: make(header={"typ": None}),
    "typ other": lambda make: make(header={"typ": "JWT"}),
    "alg none": lambda make: "eyJhbGciOiJub25lIiwidHlwIjoiZHBvcCtqd3QifQ." + make().split(".")[1] + ".",
    "alg RS256": lambda make: make(key=RSA, header={"alg": "RS256"}),
    "alg HS256": lambda make: make(key=SYMMETRIC, header={"alg": "HS256", "jwk": {"kty": "oct", "k": "AAAA"}}),
    "jwk missing": lambda make: make(header={"jwk": None}),
    "jwk private": lambda make: make(header={"jwk": ec_key().as_dict(private=True)}),
    "jwk symmetric": lambda make: make(header={"jwk": {"kty": "oct", "k": "AAAA"}}),
    "jwk another": lambda make: make(header={"jwk": ec_key().as_dict(private=False)}),
    "jwk off the curve": lambda make: make(header={"jwk": {"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA"}}),
    "jwk of odd members": lambda make: make(header={"jwk": {"kty": "EC", "crv": ["P-256"], "x": 1, "y": None}}),
    "jwk P-384": lambda make: make(key=ECKey.generate_key("P-384"), header={"alg": "ES384"}),
    "jti missing": lambda make: make(jti=None),
    "jti empty": lambda make: make(jti=""),
    "htm missing": lambda make: make(htm=None),
    "htm other": lambda make: make(htm="PUT"),
    "htu missing": lambda make: make(htu=None),
    "htu other": lambda make: make(htu="https://other.example/oauth/token"),
    "htu array": lambda make: make(htu=["http://localhost:8000/oauth/token"]),
    "htu broken": lambda make: make(htu="http://[::1"),
    "htu half a character": lambda make: make(htu="http://localhost:8000/oauth/token\ud800"),
    "htu bad port": lambda make: make(htu="http://localhost:99999/oauth/token"),
    "iat missing": lambda make: make(iat=None),
    "iat text": lambda make: make(iat="now"),
    "iat old": lambda make: make(iat=int(time.time()) - 3600),
    "iat ahead": lambda make: make(iat=int(time.time()) + 3600),
    "iat infinite": lambda make: make(iat=10**400),
    "signature": lambda make: _tampered(make()),
    "garbage": lambda _make: "garbage",
    "two proofs": lambda make: make() + ", " + make(),
    "oversized": lambda make: make(jti="j" * 9000),
    "crit": lambda make: make(header={"crit": ["x"], "x": 1}),
}


@pytest.fixture
def token(rp: RelyingParty, person: Person) -> str:
    return str(rp.redeem(rp.code(person.browser)).json["access_token"])


@pytest.mark.parametrize("spoil", BAD.values(), ids=BAD.keys())
def test_bad_proofs_for_tokens(rp: RelyingParty, spoil: Any) -> None:  # noqa: ANN401 - a row of the table
    answer = rp.token(grant_type="client_credentials", dpop=spoil(rp.proof))
    assert answer.status_code == 400, answer.text
    assert answer.json["error"] == "invalid_dpop_proof"


@pytest.mark.parametrize("spoil", BAD.values(), ids=BAD.keys())
def test_bad_proofs_for_resources(rp: RelyingParty, token: str, spoil: Any) -> None:  # noqa: ANN401 - a row of the table
    def make(**changes: Any) -> str:  # noqa: ANN401 - claims
        return rp.proof(RESOURCE, method="GET", token=token, **changes)

    answer = rp.call(RESOURCE, token, dpop=spoil(make))
    assert answer.status_code == 401, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json["type"].rpartition("/")[2] in BY_CODE
    challenge = answer.headers["WWW-Authenticate"]
    assert challenge.startswith('DPoP error="invalid_dpop_proof"')
    assert 'algs="ES256 PS256' in challenge


def test_no_proof_is_another_error(rp: RelyingParty) -> None:
    answer = rp.post("/oauth/token", rp.identified(grant_type="client_credentials"))
    assert answer.status_code == 400
    assert answer.json["error"] == "invalid_request"


@pytest.mark.parametrize("changes", [{"ath": None}, {"ath": "other"}, {"ath": 7}, {"ath": "\ud800"}], ids=str)
def test_a_proof_for_another_token(rp: RelyingParty, token: str, changes: dict[str, Any]) -> None:
    answer = rp.call(RESOURCE, token, dpop=rp.proof(RESOURCE, method="GET", token=token, **changes))
    assert answer.status_code == 401
    assert "invalid_dpop_proof" in answer.headers["WWW-Authenticate"]


def test_a_proof_counts_once(rp: RelyingParty, token: str) -> None:
    proof = rp.proof(RESOURCE, method="GET", token=token)
    assert rp.call(RESOURCE, token, dpop=proof).status_code == 200
    assert rp.call(RESOURCE, token, dpop=proof).status_code == 401
    again = rp.proof()
    assert rp.token(grant_type="client_credentials", dpop=again).status_code == 200
    assert rp.token(grant_type="client_credentials", dpop=again).json["error"] == "invalid_dpop_proof"


def test_clocks_may_differ_a_little(rp: RelyingParty) -> None:
    for seconds in (-10, 10):
        proof = rp.proof(iat=int(time.time()) + seconds)
        assert rp.token(grant_type="client_credentials", dpop=proof).status_code == 200


@pytest.mark.parametrize("htu", ["http://LOCALHOST:8000/oauth/userinfo", "http://localhost:8000/oauth/userinfo?a=b#c"])
def test_ways_to_write_the_same_address(rp: RelyingParty, token: str, htu: str) -> None:
    proof = rp.proof(RESOURCE, method="GET", token=token, htu=htu)
    assert rp.call(RESOURCE, token, dpop=proof).status_code == 200


@pytest.mark.parametrize("scheme", ["DPoP", "dpop", "DPOP"])
def test_the_scheme_in_any_case(rp: RelyingParty, token: str, scheme: str) -> None:
    assert rp.call(RESOURCE, token, scheme=scheme).status_code == 200


def test_the_other_algorithms(rp: RelyingParty) -> None:
    for key, algorithm in ((RSA, "PS256"), (OKPKey.generate_key("Ed25519"), "EdDSA")):
        proof = rp.proof(key=key, header={"alg": algorithm})
        assert rp.token(grant_type="client_credentials", dpop=proof).status_code == 200


def test_tokens_that_do_not_count(rp: RelyingParty, token: str) -> None:
    rows = [
        rp.call(RESOURCE, token, scheme="Bearer"),
        rp.call(RESOURCE, "ucmat_made-up"),
        rp.call(RESOURCE, token, dpop=rp.proof(RESOURCE, method="GET", token=token, key=ec_key())),
        rp.http.get(RESOURCE, headers={"Authorization": "DPoP"}),
        rp.http.get(RESOURCE, headers={"Authorization": "DPoP a b"}),
        rp.http.get(RESOURCE, headers={"Authorization": "DPoP é"}),
        rp.http.get(RESOURCE, headers={"Authorization": "DPoP " + "a" * 5000}),
    ]
    for answer in rows:
        assert answer.status_code == 401, answer.text
        assert answer.headers["WWW-Authenticate"].startswith('DPoP error="invalid_token"')


def test_no_token_at_all(rp: RelyingParty, token: str) -> None:
    for answer in (rp.http.get(RESOURCE), rp.http.get(f"{RESOURCE}?access_token={token}")):
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith("DPoP algs=")


def test_a_token_without_the_scope(rp: RelyingParty) -> None:
    answer = rp.call(RESOURCE, rp.own_token())
    assert answer.status_code == 403
    assert 'error="insufficient_scope", scope="openid"' in answer.headers["WWW-Authenticate"]

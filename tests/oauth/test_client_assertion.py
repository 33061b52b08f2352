"""Client assertions that must not pass: RFC 7523 section 3, FAPI 2.0 sections 5.3.2.1 and 5.4.1."""

from __future__ import annotations

import hmac
import time
from typing import TYPE_CHECKING, Any

import pytest
from joserfc.jwk import ECKey, OKPKey, RSAKey

from portal import db
from portal.companies import client_keys
from tests.oauth.rp import RelyingParty, b64, ec_key, signed

if TYPE_CHECKING:
    from portal.config import Settings
    from tests.oauth.rp import Answer

NOW = time.time


def send(rp: RelyingParty, assertion: str, **form: str) -> Answer:
    sent = rp.identified(client_assertion=assertion, grant_type="client_credentials", **form)
    return rp.post("/oauth/token", sent, DPoP=rp.proof())


def refused(answer: Answer) -> None:
    assert answer.status_code == 401, answer.text
    assert answer.json == {"error": "invalid_client", "error_description": "Client authentication failed."}


CLAIMS: list[dict[str, Any]] = [
    {"aud": "{issuer}/oauth/token"}, {"aud": "{issuer}/oauth/par"}, {"aud": ["{issuer}"]}, {"aud": "{issuer}/"},
    {"aud": ["{issuer}", "https://other.example"]}, {"aud": "https://other.example"}, {"aud": None}, {"aud": 1},
    {"exp": None}, {"exp": -1}, {"exp": "soon"}, {"exp": True}, {"exp": 400}, {"exp": 10**9}, {"exp": 1e308},
    {"iss": None}, {"sub": None}, {"sub": "test_other"}, {"iss": "test_other"}, {"iss": 7}, {"iss": "a\0b"},
    {"iss": "\ud800", "sub": "\ud800"}, {"iss": "test_unknown", "sub": "test_unknown"},
    {"iat": 100}, {"nbf": 100}, {"iat": "now"}, {"nbf": [1]},
    {"jti": None}, {"jti": ""}, {"jti": 7}, {"jti": "j" * 513},
]  # fmt: skip


@pytest.mark.parametrize("claims", CLAIMS, ids=str)
def test_claims(rp: RelyingParty, claims: dict[str, Any]) -> None:
    refused(send(rp, rp.assertion(**{name: _filled(rp, name, value) for name, value in claims.items()})))


def _filled(rp: RelyingParty, name: str, value: Any) -> Any:  # noqa: ANN401 - a claim
    if name in {"exp", "iat", "nbf"} and type(value) is int:
        return int(NOW()) + value
    if isinstance(value, list):
        return [_filled(rp, "", each) for each in value]
    return value.replace("{issuer}", rp.issuer) if isinstance(value, str) else value


def base(rp: RelyingParty) -> dict[str, Any]:
    moment = int(NOW())
    return {"iss": rp.client_id, "sub": rp.client_id, "aud": rp.issuer, "jti": str(NOW()), "exp": moment + 60}


def test_algorithms(rp: RelyingParty) -> None:
    refused(send(rp, signed({"alg": "RS256", "kid": "s1"}, base(rp), RSAKey.generate_key(2048))))
    refused(send(rp, _by_public_key(rp)))
    refused(send(rp, signed({"alg": "ES384", "kid": "s1"}, base(rp), ECKey.generate_key("P-384"))))
    head, body, _ = rp.assertion().split(".")
    refused(send(rp, f"eyJhbGciOiJub25lIn0.{body}."))
    refused(send(rp, f"eyJhbGciOiJub25lIn0.{body}.AA"))
    refused(send(rp, f"{head}.{body}.{'A' * 86}"))


def _by_public_key(rp: RelyingParty) -> str:
    signing = b64(b'{"alg":"HS256","kid":"s1"}') + "." + rp.assertion().split(".")[1]
    return signing + "." + b64(hmac.digest(rp.key.as_pem(private=False), signing.encode(), "sha256"))


def test_keys_and_headers(rp: RelyingParty, other: RelyingParty) -> None:
    refused(send(rp, signed({"alg": "ES256"}, base(rp), ec_key())))
    refused(send(rp, signed({"alg": "ES256", "kid": "s1"}, base(rp), other.key)))
    refused(send(rp, signed({"alg": "ES256", "kid": "unknown"}, base(rp), rp.key)))
    refused(send(rp, signed({"alg": "ES256", "jwk": other.key.as_dict(private=False)}, base(rp), other.key)))
    refused(send(rp, signed({"alg": "ES256", "typ": "oauth-authz-req+jwt"}, base(rp), rp.key)))
    refused(send(rp, signed({"alg": "ES256", "typ": "dpop+jwt"}, base(rp), rp.key)))
    assert send(rp, signed({"alg": "ES256"}, base(rp), rp.key)).status_code == 200


@pytest.mark.parametrize(
    "text", ["x", "a.b.c", "..", "é.é.é", "A" * 60_000, "e30.e30.e30", "W10.W10.AA", "e30=.e30.AA", "e31.e30.AA"]
)
def test_texts_that_are_no_assertion(rp: RelyingParty, text: str) -> None:
    refused(send(rp, text))


def test_a_deeply_nested_assertion(rp: RelyingParty) -> None:
    refused(send(rp, signed({"alg": "ES256", "kid": "s1"}, b"[" * 5000, rp.key)))


def test_once_only(rp: RelyingParty) -> None:
    assertion = rp.assertion()
    assert send(rp, assertion).status_code == 200
    refused(send(rp, assertion))


def test_a_refused_request_uses_it_up_as_well(rp: RelyingParty) -> None:
    assertion = rp.assertion()
    sent = rp.identified(client_assertion=assertion, grant_type="password")
    assert rp.post("/oauth/token", sent).json["error"] == "unsupported_grant_type"
    sent["grant_type"] = "client_credentials"
    sent["scope"] = "everything"
    assert rp.post("/oauth/token", sent, DPoP=rp.proof()).json["error"] == "invalid_scope"
    refused(send(rp, assertion))


def test_clocks_may_differ_a_little(rp: RelyingParty) -> None:
    moment = int(NOW())
    assert send(rp, rp.assertion(iat=moment + 8, nbf=moment + 8, exp=moment + 300)).status_code == 200


def test_two_methods(rp: RelyingParty) -> None:
    sent = rp.identified(grant_type="client_credentials")
    answer = rp.post("/oauth/token", sent, DPoP=rp.proof(), Authorization="Basic dGVzdDp0ZXN0")
    assert answer.status_code == 400
    assert answer.json["error"] == "invalid_request"


@pytest.mark.parametrize("authorization", ["Basic dGVzdDo=", "Basic é", "Bearer x", "Basic"])
def test_other_methods(rp: RelyingParty, authorization: str) -> None:
    answer = rp.post("/oauth/token", {"grant_type": "client_credentials"}, Authorization=authorization)
    assert answer.status_code == 400


def test_no_authentication(rp: RelyingParty) -> None:
    for form in ({}, {"client_assertion": rp.assertion()}, {"client_id": rp.client_id}):
        refused(rp.post("/oauth/token", {"grant_type": "client_credentials", **form}))


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [("PS256", RSAKey.generate_key(3072)), ("EdDSA", OKPKey.generate_key("Ed25519")),
     ("Ed25519", OKPKey.generate_key("Ed25519"))],
    ids=["PS256", "EdDSA", "Ed25519"],
)  # fmt: skip
def test_the_other_algorithms_of_the_profile(
    rp: RelyingParty, settings: Settings, algorithm: str, key: RSAKey | OKPKey
) -> None:
    jwk = {**key.as_dict(private=False), "use": "sig", "kid": "s2"}
    with db.transaction(settings.database_url) as session:
        client_keys.add(session, client_id=rp.client_id, jwks={"keys": [jwk]}, now=db.now())
    assert send(rp, signed({"alg": algorithm, "kid": "s2"}, base(rp), key)).status_code == 200

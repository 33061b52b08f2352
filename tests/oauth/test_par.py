"""Pushed authorization requests: RFC 9126, FAPI 2.0 section 5.3.2.2, RFC 9396 section 5."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest

from tests.oauth.rp import FORM, RelyingParty, ec_key

if TYPE_CHECKING:
    from tests.oauth.rp import Answer

REDIRECT = "https://client.example/callback"


def refused(answer: Answer, error: str, status: int = 400) -> None:
    assert answer.status_code == status, answer.text
    assert answer.json["error"] == error
    assert answer.json["error_description"].isascii()
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_a_good_request(rp: RelyingParty) -> None:
    answer = rp.post("/oauth/par", rp.request())
    assert answer.status_code == 201
    assert answer.json["expires_in"] == 60
    assert answer.json["request_uri"].startswith("urn:ietf:params:oauth:request_uri:")
    assert len(answer.json["request_uri"]) >= 34 + 43
    assert answer.headers["Cache-Control"] == "no-store"


ROWS: list[tuple[str, str | None, str]] = [
    ("request_uri", "urn:ietf:params:oauth:request_uri:x", "invalid_request"),
    ("request", "a.b.c", "invalid_request"),
    ("registration", "{}", "registration_not_supported"),
    ("prompt", "none login", "invalid_request"),
    ("prompt", "none none consent", "invalid_request"),
    ("prompt", "create", "invalid_request"),
    ("max_age", "-1", "invalid_request"),
    ("max_age", "1.5", "invalid_request"),
    ("max_age", "\u0661", "invalid_request"),
    ("max_age", "9" * 10, "invalid_request"),
    ("id_token_hint", "a.b.c", "invalid_request"),
    ("id_token_hint", "é", "invalid_request"),
    ("response_mode", "form_post", "invalid_request"),
    ("response_mode", "fragment.jwt", "invalid_request"),
    ("response_mode", "form_post.jwt", "invalid_request"),
    ("code_challenge", None, "invalid_request"),
    ("code_challenge", "short", "invalid_request"),
    ("code_challenge", "+" * 43, "invalid_request"),
    ("code_challenge_method", None, "invalid_request"),
    ("code_challenge_method", "plain", "invalid_request"),
    ("redirect_uri", None, "invalid_request"),
    ("response_type", None, "invalid_request"),
    ("response_type", "token", "unsupported_response_type"),
    ("response_type", "code id_token", "unsupported_response_type"),
    ("response_type", 'co"dé', "unsupported_response_type"),
    ("response_mode", "fragment", "invalid_request"),
    ("scope", "openid everything", "invalid_scope"),
    ("scope", "people:read", "invalid_scope"),
    ("scope", "openid phone", "invalid_scope"),
    ("state", "s" * 513, "invalid_request"),
    ("state", "grüß", "invalid_request"),
    ("nonce", "n" * 513, "invalid_request"),
    ("state", "a\0b", "invalid_request"),
    ("dpop_jkt", "short", "invalid_request"),
    ("resource", "https://elsewhere.example/", "invalid_target"),
    ("client_id", "test_somebody_else", "invalid_client"),
    ("client_secret", "s", "invalid_request"),
]


@pytest.mark.parametrize(("name", "value", "error"), ROWS)
def test_refusals(rp: RelyingParty, name: str, value: str | None, error: str) -> None:
    refused(rp.post("/oauth/par", rp.request(**{name: value})), error, 401 if error == "invalid_client" else 400)


NEAR_MISSES = [
    REDIRECT + "/", REDIRECT + "?a=1", REDIRECT + "#f", REDIRECT.replace("callback", "Callback"),
    REDIRECT.replace("client.", "CLIENT."), REDIRECT.replace("https", "http"), REDIRECT.replace("//", "//user@"),
    REDIRECT.replace(".example", ".example:443"), REDIRECT.replace(".example", ".example.evil"),
    REDIRECT.replace("/callback", "/x/../callback"), REDIRECT + " ", " " + REDIRECT, REDIRECT.replace("c", "%63"),
    "https://client.example\\@evil.example/callback", "javascript:alert(1)", "//client.example/callback",
    'https://client.example/"', "https://clïent.example/callback", "http://localhost:9/cb",
]  # fmt: skip


@pytest.mark.parametrize("address", NEAR_MISSES)
def test_an_address_that_is_nearly_registered(rp: RelyingParty, address: str) -> None:
    answer = rp.post("/oauth/par", rp.request(redirect_uri=address))
    refused(answer, "invalid_request")
    assert "Location" not in answer.headers


DETAILS: list[Any] = [
    "not json", "{}", "[]", "[1]", '[{"type":"ucm_profile"}]', '[{"purpose":"orders"}]', "[" * 8000,
    [{"type": "payment", "purpose": "orders"}],
    [{"type": "ucm_profile", "purpose": "orders", "colour": "red"}],
    [{"type": "ucm_profile", "purpose": "unknown"}],
    [{"type": "ucm_profile", "purpose": "a\0b"}],
    [{"type": "ucm_profile", "purpose": "\ud800"}],
    [{"type": "ucm_profile", "purpose": 7}],
    [{"type": "ucm_profile", "purpose": "orders"}] * 2,
    [{"type": "ucm_profile", "purpose": "orders", "attributes": []}],
    [{"type": "ucm_profile", "purpose": "orders", "attributes": "name.full"}],
    [{"type": "ucm_profile", "purpose": "orders", "attributes": ["birth.date"]}],
    [{"type": "ucm_profile", "purpose": "orders", "attributes": ["name.full", "name.full"]}],
    [{"type": "ucm_profile", "purpose": "orders", "attributes": [["name.full"]]}],
    '[{"type":"ucm_profile","purpose":"orders","purpose":"orders"}]',
    '[{"type":"ucm_profile","purpose":NaN}]',
]  # fmt: skip


@pytest.mark.parametrize("details", DETAILS, ids=range(len(DETAILS)))
def test_details_that_cannot_be_asked_for(rp: RelyingParty, details: Any) -> None:  # noqa: ANN401 - any JSON
    text = details if isinstance(details, str | None) else json.dumps(details)
    refused(rp.post("/oauth/par", rp.request(authorization_details=text)), "invalid_authorization_details")


def test_anothers_purpose(rp: RelyingParty, other: RelyingParty) -> None:
    text = json.dumps([{"type": "ucm_profile", "purpose": "orders-of-another"}])
    refused(other.post("/oauth/par", other.request(authorization_details=text)), "invalid_authorization_details")
    assert rp.push()


@pytest.mark.parametrize("name", ["state", "redirect_uri", "client_assertion", "unknown"])
def test_a_parameter_twice(rp: RelyingParty, name: str) -> None:
    form = [*rp.request(unknown="1").items()]
    refused(rp.post("/oauth/par", [*form, (name, dict(form)[name])]), "invalid_request")


def test_the_body_and_nothing_else(rp: RelyingParty) -> None:
    form = rp.request()
    refused(rp.raw("/oauth/par?" + urlencode(form)), "invalid_request")
    refused(rp.raw("/oauth/par", json=form), "invalid_request")
    refused(rp.raw("/oauth/par", data=form, content_type="multipart/form-data"), "invalid_request")
    refused(rp.raw("/oauth/par?x=1", data=urlencode(form), content_type=FORM), "invalid_request")
    assert rp.http.get("/oauth/par").status_code == 405


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"a=%ff%fe", 400), (b"\xff=1", 400), (b"a", 400), (b"&".join(b"a%d=1" % n for n in range(99)), 400),
     (b"a=" + b"x" * 70_000, 413), (b"a=" + b"x" * 300_000, 413), (b"", 401)],
)  # fmt: skip
def test_bodies_that_are_no_form(rp: RelyingParty, body: bytes, status: int) -> None:
    answer = rp.raw("/oauth/par", data=body, content_type=FORM)
    refused(answer, "invalid_client" if status == 401 else "invalid_request", status)


def test_long_texts_come_back_whole(rp: RelyingParty) -> None:
    assert rp.push(state="s" * 384, nonce="n" * 64)


def test_the_key_named_must_be_the_key_proven(rp: RelyingParty) -> None:
    jkt = rp.dpop_key.thumbprint()
    good = rp.post("/oauth/par", rp.request(dpop_jkt=jkt), DPoP=rp.proof("/oauth/par"))
    assert good.status_code == 201
    bad = rp.post("/oauth/par", rp.request(dpop_jkt=jkt), DPoP=rp.proof("/oauth/par", key=ec_key()))
    refused(bad, "invalid_dpop_proof")
    refused(rp.post("/oauth/par", rp.request(), DPoP="garbage"), "invalid_dpop_proof")

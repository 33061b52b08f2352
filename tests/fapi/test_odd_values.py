"""An odd value in the place of every parameter: the RFC's error, never a fault of the server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from portal.companies.metadata import CIBA
from tests.fapi import cast as casting
from tests.fapi.test_rows_70_to_75_grants import FROM_AFAR, registered

if TYPE_CHECKING:
    from portal.config import Settings
    from tests.fapi.cast import Party, Person
    from tests.fapi.wire import Wire

TEXTS = (
    " ", "\x00", "\u00e9", "\U0001f600", "\u202e", "\ufeff", "\t", "\r\nX: y", "a" * 9000, "null", "true", "-1",
    "1e400", "9" * 5000, "[]", "{}", "[null]", '[{"type":null}]', '{"a":' * 500, "%zz", "../../x", "'\"\\<b>", "a.b.c",
    "e30.e30.e30", "https://[", "http://a:99999/", "urn:x", "openid openid", "2030-01-01",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    True, 0, -1, 1.5, 10**30, 10**400, "", [], {}, [None], [[]], [{}], {"a": None}, "\u00e9", "\ud800", "\x00",
    "a" * 3000, ["a"] * 500, {"keys": [None]}, {"a": {"b": {"c": []}}},
)  # fmt: skip
PUSHED = (
    "redirect_uri", "response_type", "code_challenge", "code_challenge_method", "state", "nonce", "scope", "prompt",
    "authorization_details", "response_mode", "dpop_jkt", "max_age", "acr_values", "id_token_hint", "login_hint",
    "resource", "claims", "request", "request_uri", "registration", "ui_locales", "grant_id", "client_id",
    "grant_management_action", "client_assertion", "client_assertion_type",
)  # fmt: skip
REDEEMED = (
    "grant_type", "code", "code_verifier", "redirect_uri", "refresh_token", "scope", "resource", "auth_req_id",
    "client_id", "authorization_details",
)  # fmt: skip
ASKED = (
    "scope", "login_hint", "id_token_hint", "binding_message", "requested_expiry", "acr_values", "resource",
    "authorization_details", "client_notification_token", "user_code", "request",
)  # fmt: skip
REGISTERED = (
    "client_name", "redirect_uris", "jwks", "jwks_uri", "grant_types", "response_types", "token_endpoint_auth_method",
    "client_uri", "logo_uri", "contacts", "scope", "software_statement", "default_max_age",
    "request_object_signing_alg", "require_signed_request_object", "id_token_encrypted_response_alg",
    "backchannel_token_delivery_mode",
    "backchannel_client_notification_endpoint", "post_logout_redirect_uris", "subject_type",
)  # fmt: skip


@pytest.fixture(scope="module")
def afar(wire: Wire, here: Settings) -> Party:
    return casting.party(wire, here, **FROM_AFAR)


@pytest.mark.parametrize("name", PUSHED)
def test_in_a_pushed_request(asker: Party, name: str) -> None:
    for text in TEXTS:
        answer = asker.post("/oauth/par", {**asker.request(), name: text})
        assert answer.status_code in {201, 400, 401}, (text[:40], answer.text)


@pytest.mark.parametrize("name", [*PUSHED, "iss", "aud", "exp", "nbf", "iat", "jti"])
def test_in_a_request_object(asker: Party, name: str) -> None:
    for value in VALUES:
        answer = asker.push_object(asker.request_object(**{name: value}))
        assert answer.status_code in {201, 400}, (repr(value)[:40], answer.text)


@pytest.mark.parametrize("claim", ["iss", "sub", "aud", "exp", "iat", "nbf", "jti"])
def test_in_an_assertion(asker: Party, claim: str) -> None:
    for value in VALUES:
        answer = asker.post("/oauth/par", asker.request(client_assertion=asker.assertion(**{claim: value})))
        assert answer.status_code in {201, 401}, (repr(value)[:40], answer.text)


@pytest.mark.parametrize("claim", ["htm", "htu", "iat", "jti", "ath", "nonce"])
def test_in_a_proof(asker: Party, claim: str) -> None:
    for value in VALUES:
        answer = asker.token(grant_type="client_credentials", dpop=asker.proof(**{claim: value}))
        assert answer.status_code in {200, 400}, (repr(value)[:40], answer.text)


@pytest.mark.parametrize("grant_type", ["authorization_code", "refresh_token", "client_credentials", CIBA])
@pytest.mark.parametrize("name", REDEEMED)
def test_at_the_token_endpoint(afar: Party, grant_type: str, name: str) -> None:
    for text in TEXTS[::3]:
        form = {"grant_type": grant_type, "code": "x", "code_verifier": "v" * 43, "auth_req_id": "x", name: text}
        answer = afar.token(**form)
        assert answer.status_code in {200, 400, 401}, (text[:40], answer.text)


@pytest.mark.parametrize("name", ASKED)
def test_in_a_question_from_afar(afar: Party, person: Person, name: str) -> None:
    sub = afar.tokens(person)["sub"]
    for text in TEXTS:
        answer = afar.ask(**{"login_hint": sub, name: text})
        assert answer.status_code in {200, 400, 403}, (text[:40], answer.text)


@pytest.mark.parametrize("name", REGISTERED)
def test_in_a_registration(rp: Party, person: Person, here: Settings, name: str) -> None:
    token = casting.initial_token(here, rp, person, uses=20)
    for value in (*VALUES, *TEXTS[::4]):
        for given in (value, [value]):
            answer = registered(rp, token, **{name: given})
            assert answer.status_code in {201, 400, 401}, (json.dumps(given)[:40], answer.text)

"""Checklist rows 19 to 28: what a pushed request must hold, and what becomes of it."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import update

from portal import db
from portal.oauth import tokens
from portal.oauth.models import PushedRequest
from portal.vault import base64url
from tests.fapi.cast import LOOPBACK_URI, REDIRECT_URI
from tests.oauth.rp import ec_key, query

if TYPE_CHECKING:
    from portal.config import Settings
    from tests.fapi.cast import Party, Person
    from tests.oauth.rp import Answer


def push(rp: Party, **changes: str | None) -> Answer:
    return rp.post("/oauth/par", rp.request(**changes))


def refused(answer: Answer, *errors: str) -> None:
    assert answer.status_code == 400, answer.text
    assert answer.json["error"] in errors, answer.text
    assert "Location" not in answer.headers


@pytest.mark.parametrize(
    "spoilt",
    [
        {"code_challenge": None, "code_challenge_method": None},
        {"code_challenge": None},
        {"code_challenge_method": None},
        {"code_challenge_method": "plain"},
        {"code_challenge_method": "s256"},
        {"code_challenge": "short"},
        {"code_challenge": "a" * 42 + "="},
        {"code_challenge": "a" * 200},
        {"code_challenge": "é" * 43},
        {"code_challenge": ""},
    ],
)
def test_row_19_pkce_by_s256_only__fapi2_5_3_2_2_5(asker: Party, spoilt: dict[str, str | None]) -> None:
    refused(push(asker, **spoilt), "invalid_request")


NEAR_MISSES = {
    "unregistered": "https://evil.example/callback",
    "longer path": REDIRECT_URI + "/more",
    "shorter path": "https://client.example/",
    "slash": REDIRECT_URI + "/",
    "query": REDIRECT_URI + "?a=b",
    "empty query": REDIRECT_URI + "?",
    "fragment": REDIRECT_URI + "#a",
    "empty fragment": REDIRECT_URI + "#",
    "userinfo": "https://me@client.example/callback",
    "userinfo hides the host": "https://client.example@evil.example/callback",
    "host in capitals": "https://CLIENT.example/callback",
    "scheme in capitals": "HTTPS://client.example/callback",
    "path in capitals": "https://client.example/Callback",
    "plain http": "http://client.example/callback",
    "port": "https://client.example:443/callback",
    "escaped": "https://client.example/call%62ack",
    "dots": "https://client.example/a/../callback",
    "subdomain": "https://a.client.example/callback",
    "suffix": "https://client.example.evil.example/callback",
    "backslash": "https://client.example\\@evil.example/callback",
    "quotation mark": 'https://client.example/callback"',
    "not ASCII": "https://client.example/callback\u00e9",
    "blank before": " " + REDIRECT_URI,
    "line end after": REDIRECT_URI + "\n",
    "other port on loopback": "http://localhost:10/cb?fixed=1",
    "loopback without its query": "http://localhost:9/cb",
    "two in one": f"{REDIRECT_URI} {LOOPBACK_URI}",
    "scheme of a script": "javascript:alert(1)",
    "very long": REDIRECT_URI + "/" + "a" * 10_000,
}


@pytest.mark.parametrize("case", NEAR_MISSES)
def test_row_20_redirect_uri_compared_exactly__rfc9700_4_1_3(asker: Party, case: str) -> None:
    refused(push(asker, redirect_uri=NEAR_MISSES[case]), "invalid_request")


def test_row_20_another_clients_redirect_uri_is_not_ones_own__rfc9700_2_1(asker: Party, other: Party) -> None:
    assert push(asker, redirect_uri=LOOPBACK_URI).status_code == 201
    refused(push(other, redirect_uri="https://only.example/there"), "invalid_request")


@pytest.mark.parametrize("value", [None, ""])
def test_row_21_redirect_uri_is_never_guessed__fapi2_5_3_2_2_6(asker: Party, value: str | None) -> None:
    refused(push(asker, redirect_uri=value), "invalid_request")


@pytest.mark.parametrize(
    "kind", ["token", "code id_token", "id_token", "none", "code token", "code code", "Code", "code "]
)
def test_row_23_only_code__fapi2_5_3_2_2_1(asker: Party, kind: str) -> None:
    refused(push(asker, response_type=kind), "unsupported_response_type")


def test_row_23_response_type_missing__rfc6749_4_1_2_1(asker: Party) -> None:
    refused(push(asker, response_type=None), "invalid_request")


@pytest.mark.parametrize(
    "scope",
    [
        "openid everything", "people:read", "OPENID", "openid,profile", "openid\tprofile", "openid\u00a0profile",
        "openid\u2003profile", "openid\nprofile", 'openid "', "openid \\", "openid \u00e9", "x" * 5000,
    ],
)  # fmt: skip
def test_row_24_unknown_or_malformed_scope__rfc6749_3_3(asker: Party, scope: str) -> None:
    refused(push(asker, scope=scope), "invalid_scope", "invalid_request")


def test_row_25_dpop_jkt_is_not_the_keys__rfc9449_10_1(asker: Party) -> None:
    jkt = asker.dpop_key.thumbprint()
    proof = asker.proof("/oauth/par")
    assert asker.post("/oauth/par", asker.request(dpop_jkt=jkt), DPoP=proof).status_code == 201
    wrong = asker.post("/oauth/par", asker.request(dpop_jkt=ec_key().thumbprint()), DPoP=asker.proof("/oauth/par"))
    refused(wrong, "invalid_dpop_proof", "invalid_request")
    for malformed in ("x", "a" * 44, jkt + "="):
        refused(push(asker, dpop_jkt=malformed), "invalid_request")


def test_row_26_request_uri_of_another_client__rfc9126_4(rp: Party, other: Party, person: Person) -> None:
    rp.client_id, mine, uri = other.client_id, rp.client_id, rp.push()
    answer = rp.open(person, uri)
    assert 400 <= answer.status_code < 500
    assert "Location" not in answer.headers
    rp.client_id = mine
    assert rp.open(person, uri).status_code == 200


def test_row_26_request_uri_expired__rfc9126_4(rp: Party, person: Person, here: Settings) -> None:
    uri = rp.push()
    with db.transaction(here.database_url) as session:
        mine = update(PushedRequest).where(PushedRequest.uri_hash == tokens.hash_of(uri))
        session.execute(mine.values(expires_at=db.now() - timedelta(seconds=1)))
    answer = rp.open(person, uri)
    assert 400 <= answer.status_code < 500
    assert "Location" not in answer.headers


def test_row_26_request_uri_answered_already__rfc9126_7_3(rp: Party, person: Person) -> None:
    uri = rp.push()
    assert "code" in query(rp.press(person, uri))
    again = rp.open(person, uri)
    assert 400 <= again.status_code < 500
    assert "Location" not in again.headers


def test_row_27_opened_twice_before_it_is_answered__fapi2_5_3_2_2_note_3(rp: Party, person: Person) -> None:
    uri = rp.push()
    assert [rp.open(person, uri).status_code for _ in range(3)] == [200, 200, 200]
    assert "code" in query(rp.press(person, uri))


def test_row_28_a_long_nonce_comes_back_whole__fapi2_5_3_2_2_14(rp: Party, person: Person) -> None:
    state, nonce = "s~" * 192, "n-" * 32
    back = query(rp.press(person, rp.push(state=state, nonce=nonce)))
    assert back["state"] == state
    claims = rp.redeem(back["code"]).json["id_token"].split(".")[1]
    assert json.loads(base64url.decode(claims))["nonce"] == nonce


def test_row_28_what_is_too_long_is_refused_cleanly__fapi2_5_3_2_2_14(asker: Party) -> None:
    for name in ("state", "nonce"):
        for value in ("x" * 20_000, "\u00e9", "a\x00b", "a\r\nb"):
            refused(push(asker, **{name: value}), "invalid_request")

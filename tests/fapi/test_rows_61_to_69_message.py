"""Checklist rows 61 and 63 to 69: looking tokens up, signed requests and answers, what is asked and about whom."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from joserfc.jwk import ECKey

from tests.fapi import cast as casting
from tests.fapi.forgery import hmac_signed, public_pem, unsigned
from tests.fapi.test_rows_37_to_47_code import opened
from tests.oauth.rp import ec_key, query, signed

if TYPE_CHECKING:
    from collections.abc import Callable

    from portal.config import Settings
    from tests.fapi.cast import Party, Person
    from tests.fapi.wire import Wire
    from tests.oauth.rp import Answer

OBJECT_ERRORS = {"invalid_request_object", "invalid_request"}


def refused(answer: Answer, *errors: str) -> None:
    assert answer.status_code in {400, 401}, answer.text
    assert answer.json["error"] in errors, answer.text


# --- Introspection ------------------------------------------------------------------------------------------


def test_row_61_looking_up_needs_a_client__rfc7662_2_1(rp: Party, person: Person) -> None:
    token = rp.tokens(person)["access_token"]
    assert rp.post("/oauth/introspect", {"token": token}).status_code == 401
    assert rp.post("/oauth/introspect", {"token": token, "client_id": rp.client_id}).status_code == 401


def test_row_61_what_is_live_and_ones_own__rfc7662_2_2(rp: Party, other: Party, person: Person) -> None:
    body = rp.tokens(person)
    for token in (body["access_token"], body["refresh_token"]):
        said = rp.introspect(token)
        assert (said.status_code, said.json["active"]) == (200, True)
        assert said.json["client_id"] == rp.client_id
        assert said.json["sub"] == body["sub"]
        assert said.headers["Cache-Control"] == "no-store"
        assert other.introspect(token).json == {"active": False}
    assert rp.introspect(body["access_token"]).json["cnf"]["jkt"] == rp.dpop_key.thumbprint()
    assert rp.introspect(body["access_token"]).json["token_type"] == "DPoP"


def test_row_61_everything_else_looks_the_same__rfc7662_2_2(rp: Party, person: Person) -> None:
    body = rp.tokens(person)
    assert rp.post("/oauth/revoke", rp.identified(token=body["refresh_token"])).status_code == 200
    for token in ("made-up", "\u00e9", "x" * 5000, body["access_token"], body["refresh_token"], body["id_token"]):
        assert rp.introspect(token).json == {"active": False}
    refused(rp.post("/oauth/introspect", rp.identified()), "invalid_request")


# --- Signed requests and answers ----------------------------------------------------------------------------


def _claims(rp: Party, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - claims of any kind
    now = int(time.time())
    return {"iss": rp.client_id, "aud": rp.issuer, "nbf": now, "exp": now + 60, **rp.asked(), **changes}


def _ago(seconds: int) -> int:
    return int(time.time()) - seconds


BAD_OBJECTS: dict[str, Callable[[Party], str]] = {
    "alg none": lambda rp: unsigned(_claims(rp), typ="oauth-authz-req+jwt"),
    "alg RS256": lambda rp: signed({"alg": "RS256", "kid": "s2"}, _claims(rp), rp.rsa_key),
    "HS256 with the public key": lambda rp: hmac_signed(_claims(rp), public_pem(rp), kid="s1"),
    "another key": lambda rp: rp.request_object(key=ECKey.generate_key("P-256")),
    "the encryption key": lambda rp: rp.request_object(key=rp.encryption_key, header={"kid": "e1"}),
    "no exp": lambda rp: rp.request_object(exp=None),
    "expired": lambda rp: rp.request_object(nbf=_ago(120), exp=_ago(60)),
    "no nbf": lambda rp: rp.request_object(nbf=None),
    "nbf ahead": lambda rp: rp.request_object(nbf=_ago(-100), exp=_ago(-160)),
    "nbf long ago": lambda rp: rp.request_object(nbf=_ago(3700), exp=_ago(-10)),
    "exp more than an hour from nbf": lambda rp: rp.request_object(exp=_ago(-3700)),
    "exp a text": lambda rp: rp.request_object(exp=str(_ago(-60))),
    "aud another server": lambda rp: rp.request_object(aud="https://other.example"),
    "aud missing": lambda rp: rp.request_object(aud=None),
    "iss another": lambda rp: rp.request_object(iss="test_nobody"),
    "iss missing": lambda rp: rp.request_object(iss=None),
    "client_id of another": lambda rp: rp.request_object(client_id="test_nobody"),
    "client_id missing": lambda rp: rp.request_object(client_id=None),
    "a sub": lambda rp: rp.request_object(sub=rp.client_id),
    "request inside": lambda rp: rp.request_object(request="a.b.c"),
    "request_uri inside": lambda rp: rp.request_object(request_uri="urn:x"),
    "a proof": lambda rp: rp.proof("/oauth/par"),
    "an assertion": lambda rp: rp.assertion(),
    "typ of a proof": lambda rp: rp.request_object(header={"typ": "dpop+jwt"}),
    "garbage": lambda _: "a.b.c",
    "an encrypted one": lambda _: "a.b.c.d.e",
    "redirect_uri a list": lambda rp: rp.request_object(redirect_uri=[rp.redirect_uri]),
    "redirect_uri unregistered": lambda rp: rp.request_object(redirect_uri="https://evil.example/"),
    "no redirect_uri": lambda rp: rp.request_object(redirect_uri=None),
    "no code_challenge": lambda rp: rp.request_object(code_challenge=None),
    "state half a character": lambda rp: rp.request_object(state="\ud800"),
}


def test_row_63_a_good_request_object__fapi2_ms_5_3_1(rp: Party, person: Person) -> None:
    good: tuple[dict[str, Any], ...] = ({}, {"aud": [rp.issuer]}, {"state": ""}, {"jti": None})
    for changes in good:
        answer = rp.push_object(rp.request_object(**changes))
        assert answer.status_code == 201, (changes, answer.text)
    back = query(rp.press(person, rp.push_object(rp.request_object(state="signed")).json["request_uri"]))
    assert back["state"] == "signed"
    assert rp.redeem(back["code"]).status_code == 200


@pytest.mark.parametrize("case", BAD_OBJECTS)
def test_row_63_a_bad_request_object__fapi2_ms_5_3_1(asker: Party, case: str) -> None:
    answer = asker.push_object(BAD_OBJECTS[case](asker))
    assert answer.status_code == 400, answer.text
    assert answer.json["error"] in OBJECT_ERRORS, answer.text


def test_row_63_nothing_beside_it_counts__rfc9126_3(asker: Party) -> None:
    answer = asker.push_object(asker.request_object(), scope="openid email", redirect_uri="https://evil.example/")
    refused(answer, *OBJECT_ERRORS)


def test_row_63_replayed__fapi2_ms_5_3_1(asker: Party) -> None:
    once = asker.request_object()
    assert asker.push_object(once).status_code == 201
    refused(asker.push_object(once), *OBJECT_ERRORS)


def test_row_63_who_must_sign_cannot_do_without__rfc9101_10_5(wire: Wire, here: Settings) -> None:
    strict = casting.party(wire, here, require_signed_request_object=True, request_object_signing_alg="PS256")
    refused(strict.post("/oauth/par", strict.request()), "invalid_request")
    refused(strict.post("/oauth/par", strict.request(request="")), "invalid_request")
    refused(strict.push_object(strict.request_object()), *OBJECT_ERRORS)
    right = strict.request_object(key=strict.rsa_key, header={"alg": "PS256", "kid": "s2"})
    assert strict.push_object(right).status_code == 201


def test_row_64_a_request_object_is_no_assertion__rfc7523_3(asker: Party) -> None:
    for sub in (None, asker.client_id):
        taken = asker.request_object(sub=sub)
        answer = asker.post("/oauth/par", asker.request() | {"client_assertion": taken})
        refused(answer, "invalid_client")


def test_row_65_the_answer_signed__jarm_2_1(rp: Party, person: Person) -> None:
    for mode in ("jwt", "query.jwt"):
        found = query(rp.press(person, rp.push(response_mode=mode)))
        assert found.keys() == {"response"}
        _, claims = opened(rp, found["response"])
        assert claims.keys() >= {"iss", "aud", "exp", "code", "state"}
        assert (claims["iss"], claims["aud"], claims["state"]) == (rp.issuer, rp.client_id, "st")
        assert time.time() < claims["exp"] <= time.time() + 600
        assert rp.redeem(claims["code"]).status_code == 200


def test_row_65_the_refusal_signed__jarm_2_1(rp: Party, person: Person) -> None:
    found = query(rp.press(person, rp.push(response_mode="jwt"), "decline"))
    assert found.keys() == {"response"}
    assert opened(rp, found["response"])[1]["error"] == "access_denied"


@pytest.mark.parametrize("mode", ["fragment", "form_post", "form_post.jwt", "fragment.jwt", "web_message", "JWT"])
def test_row_65_no_other_mode__oauth_multiple_response_types_2_1(asker: Party, mode: str) -> None:
    refused(asker.post("/oauth/par", asker.request(response_mode=mode)), "invalid_request", "unsupported_response_mode")


def test_row_66_a_signed_look__rfc9701_5(rp: Party, person: Person) -> None:
    token = rp.tokens(person)["access_token"]
    said = rp.introspect(token, Accept="application/token-introspection+jwt")
    assert said.status_code == 200
    assert said.headers["Content-Type"].startswith("application/token-introspection+jwt")
    header, claims = opened(rp, said.text)
    assert header["typ"] == "token-introspection+jwt"
    assert (claims["iss"], claims["aud"]) == (rp.issuer, rp.client_id)
    assert claims["token_introspection"]["active"] is True
    assert not {"sub", "exp"} & claims.keys()
    nothing = rp.introspect("made-up", Accept="application/token-introspection+jwt")
    assert opened(rp, nothing.text)[1]["token_introspection"] == {"active": False}


# --- What is asked, and about whom --------------------------------------------------------------------------

GOOD_DETAIL: dict[str, Any] = {"type": "ucm_profile", "purpose": casting.PURPOSE}
BAD_DETAILS: dict[str, object] = {
    "unknown type": [GOOD_DETAIL | {"type": "payment_initiation"}],
    "no type": [{"purpose": casting.PURPOSE}],
    "unknown field": [GOOD_DETAIL | {"everything": True}],
    "unknown purpose": [GOOD_DETAIL | {"purpose": "anything"}],
    "unknown attribute": [GOOD_DETAIL | {"attributes": ["secret.diary"]}],
    "attribute beyond the purpose": [GOOD_DETAIL | {"attributes": ["birth.date"]}],
    "attribute twice": [GOOD_DETAIL | {"attributes": ["name.full", "name.full"]}],
    "attributes a text": [GOOD_DETAIL | {"attributes": "name.full"}],
    "attributes of numbers": [GOOD_DETAIL | {"attributes": [1]}],
    "unknown action": [GOOD_DETAIL | {"actions": ["delete"]}],
    "kept longer than declared": [GOOD_DETAIL | {"retention": "P99Y"}],
    "an object": GOOD_DETAIL,
    "none": [],
    "two of a kind": [GOOD_DETAIL, GOOD_DETAIL],
    "holes": [None, GOOD_DETAIL],
    "a text": "ucm_profile",
}


@pytest.mark.parametrize("case", BAD_DETAILS)
def test_row_67_details_that_cannot_be_asked__rfc9396_5(asker: Party, case: str) -> None:
    answer = asker.post("/oauth/par", asker.request(authorization_details=json.dumps(BAD_DETAILS[case])))
    refused(answer, "invalid_authorization_details")


@pytest.mark.parametrize("text", ["{", "[[", "[" * 5000, '[{"type":"ucm_profile","type":"x"}]', "nul", "\u00e9"])
def test_row_67_details_that_are_no_json__rfc9396_5(asker: Party, text: str) -> None:
    refused(asker.post("/oauth/par", asker.request(authorization_details=text)), "invalid_authorization_details")


def test_row_67_the_person_narrows_it__rfc9396_7(rp: Party, person: Person) -> None:
    every = ["name.full", "email.main", "address.home"]
    wanted = json.dumps([GOOD_DETAIL | {"attributes": every}])
    back = rp.press(person, rp.push(authorization_details=wanted), attributes=["email.main"])
    body = rp.redeem(query(back)["code"]).json
    [granted] = body["authorization_details"]
    assert sorted(granted["attributes"]) == ["email.main", "name.full"]
    assert rp.introspect(body["access_token"]).json["authorization_details"] == body["authorization_details"]
    assert rp.refresh(body["refresh_token"]).json["authorization_details"] == body["authorization_details"]


def test_row_68_another_resource__rfc8707_2(rp: Party, person: Person) -> None:
    for resource in ("https://other.example/api", rp.issuer, rp.issuer + "/api/v1/", "api", rp.issuer + "/api/v1#x"):
        refused(rp.post("/oauth/par", rp.request(resource=resource)), "invalid_target")
        refused(rp.token(grant_type="client_credentials", resource=resource), "invalid_target")
    ours = rp.issuer + "/api/v1"
    assert rp.redeem(rp.code(person.browser, resource=ours), resource=ours).status_code == 200


def test_row_69_subjects_are_pairwise_and_stable__oidc_core_8_1(rp: Party, other: Party, person: Person) -> None:
    seen: list[str] = []
    for party in (rp, rp, other):
        body = party.tokens(person)
        subs = {
            body["sub"],
            opened(party, body["id_token"])[1]["sub"],
            party.userinfo(body["access_token"]).json["sub"],
            party.introspect(body["access_token"]).json["sub"],
            party.refresh(body["refresh_token"]).json["sub"],
        }
        assert len(subs) == 1
        seen += subs
    assert seen[0] == seen[1] != seen[2]
    assert str(person.person_id) not in seen
    assert rp.call(f"/api/v1/people/{seen[2]}", rp.own_token()).status_code == 404


def test_row_69_a_token_for_another_key_is_nobody__rfc9449_7_1(rp: Party, person: Person) -> None:
    token = rp.tokens(person)["access_token"]
    rp.dpop_key = ec_key()
    assert rp.userinfo(token).status_code == 401

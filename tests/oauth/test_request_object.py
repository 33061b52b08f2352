"""Signed request objects: RFC 9101, RFC 9126 section 3, FAPI 2.0 Message Signing section 5.3.1."""

from __future__ import annotations

import json
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest
from joserfc.jwk import OctKey, OKPKey, RSAKey
from sqlalchemy import select, update

from portal import db
from portal.companies import client_keys
from portal.companies import queries as companies
from portal.companies.models import Client
from portal.oauth import tokens
from portal.oauth.models import PushedRequest
from tests.oauth.conftest import REDIRECT_URI
from tests.oauth.rp import FORM, RelyingParty, b64, ec_key, query, signed

if TYPE_CHECKING:
    from apiflask import APIFlask

    from portal.config import Settings
    from tests.oauth.conftest import Person
    from tests.oauth.rp import Answer

MINUTE = 60
HOUR = 60 * MINUTE


def refused(answer: Answer, error: str = "invalid_request_object", status: int = 400) -> None:
    assert answer.status_code == status, answer.text
    assert answer.json["error"] == error
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Location" not in answer.headers


def accepted(answer: Answer) -> str:
    assert answer.status_code == 201, answer.text
    return str(answer.json["request_uri"])


def kept(settings: Settings, request_uri: str) -> dict[str, Any]:
    with db.transaction(settings.database_url) as session:
        mine = select(PushedRequest.parameters).where(PushedRequest.uri_hash == tokens.hash_of(request_uri))
        return dict(session.scalars(mine).one())


def settle(settings: Settings, rp: RelyingParty, **metadata: object) -> None:
    with db.transaction(settings.database_url) as session:
        session.execute(update(Client).where(Client.client_id == rp.client_id).values(settings=metadata))


def test_the_whole_way(rp: RelyingParty, person: Person) -> None:
    back = rp.answer(person.browser, accepted(rp.push_object(rp.request_object(state="signed"))))
    assert query(back)["state"] == "signed"
    assert rp.redeem(query(back)["code"]).status_code == 200


def test_it_is_kept_as_a_form_would_be(rp: RelyingParty, settings: Settings) -> None:
    details = [{"type": "ucm_profile", "purpose": rp.purpose}]
    changes: dict[str, Any] = {"prompt": "login", "acr_values": "urn:ucm:acr:2"}
    plain = rp.push(max_age="60", **changes)
    packed = accepted(rp.push_object(rp.request_object(max_age=60, authorization_details=details, **changes)))
    assert kept(settings, packed) == kept(settings, plain)


NOW = int(time.time())
GOOD: list[dict[str, Any]] = [
    {"jti": None},
    {"iat": NOW},
    {"state": None},
    {"state": ""},
    {"claims": {"id_token": {"acr": {"essential": True}}}},
    {"login_hint": "somebody@example.org"},
    {"max_age": 0},
    {"max_age": "60"},
]


@pytest.mark.parametrize("changes", GOOD, ids=str)
def test_what_it_may_hold(rp: RelyingParty, changes: dict[str, Any]) -> None:
    accepted(rp.push_object(rp.request_object(**changes)))


def test_an_audience_may_be_a_list_with_the_issuer(rp: RelyingParty) -> None:
    accepted(rp.push_object(rp.request_object(aud=[rp.issuer, "https://another.example"])))


@pytest.mark.parametrize("typ", [None, "JWT", "OAuth-Authz-Req+JWT", "application/oauth-authz-req+jwt"])
def test_types_that_will_do(rp: RelyingParty, typ: str | None) -> None:
    accepted(rp.push_object(rp.request_object(header={"typ": typ})))


TIMES: list[dict[str, Any]] = [
    {"exp": None},
    {"exp": -1},
    {"exp": 0},
    {"nbf": None},
    {"nbf": MINUTE},
    {"nbf": -HOUR - 5, "exp": 5},
    {"exp": HOUR + MINUTE},
    {"exp": 10**30},
]


@pytest.mark.parametrize("spoilt", TIMES, ids=str)
def test_times(rp: RelyingParty, spoilt: dict[str, Any]) -> None:
    now = int(time.time())
    refused(rp.push_object(rp.request_object(**{name: at and now + at for name, at in spoilt.items()})))


@pytest.mark.parametrize("begins", [-HOUR + MINUTE, 8], ids=["nearly an hour ago", "a clock that is fast"])
def test_times_at_the_edge(rp: RelyingParty, begins: int) -> None:
    now = int(time.time())
    accepted(rp.push_object(rp.request_object(nbf=now + begins, exp=now + MINUTE // 2)))


SPOILT: list[dict[str, Any]] = [
    {"iss": None}, {"iss": "test_another"}, {"iss": ["x"]}, {"client_id": None}, {"client_id": "test_another"},
    {"aud": None}, {"aud": "https://another.example"}, {"aud": []}, {"aud": ["https://another.example"]},
    {"aud": {"https://another.example": 1}}, {"sub": "somebody"}, {"exp": "soon"}, {"nbf": True}, {"exp": [1]},
    {"request": "a.b.c"}, {"request_uri": "urn:ietf:params:oauth:request_uri:x"},
    {"request_uri": "https://elsewhere.example/request"},
    {"state": 7}, {"state": ["a", "b"]}, {"state": {"a": "b"}}, {"state": True}, {"state": "\ud800"},
    {"redirect_uri": ["https://client.example/callback"]}, {"scope": ["openid"]}, {"nonce": 1.5},
    {"max_age": True}, {"max_age": 1.5}, {"max_age": 10**40}, {"max_age": {}}, {"max_age": [60]},
    {"authorization_details": 7}, {"authorization_details": True}, {"response_type": ["code"]},
    {"jti": 7}, {"jti": ""}, {"jti": "j" * 513}, {"unknown": 1},
]  # fmt: skip


@pytest.mark.parametrize("changes", SPOILT, ids=str)
def test_members_that_spoil_it(rp: RelyingParty, changes: dict[str, Any]) -> None:
    refused(rp.push_object(rp.request_object(**changes)))


# What is wrong with a form is wrong with an object, and is called the same.
AS_A_FORM: list[tuple[dict[str, Any], str]] = [
    ({"redirect_uri": "https://client.example/callback/"}, "invalid_request"),
    ({"redirect_uri": None}, "invalid_request"),
    ({"response_type": "token"}, "unsupported_response_type"),
    ({"response_mode": "fragment"}, "invalid_request"),
    ({"code_challenge_method": "plain"}, "invalid_request"),
    ({"scope": "openid everything"}, "invalid_scope"),
    ({"state": "a\nb"}, "invalid_request"),
    ({"state": "a\0b"}, "invalid_request"),
    ({"max_age": -1}, "invalid_request"),
    ({"prompt": "none login"}, "invalid_request"),
    ({"registration": {}}, "registration_not_supported"),
    ({"resource": "https://elsewhere.example"}, "invalid_target"),
    ({"authorization_details": {"type": "ucm_profile"}}, "invalid_authorization_details"),
    ({"authorization_details": [{"type": "payment"}]}, "invalid_authorization_details"),
    ({"dpop_jkt": "short"}, "invalid_request"),
]


@pytest.mark.parametrize(("changes", "error"), AS_A_FORM, ids=str)
def test_the_checks_of_a_form_hold(rp: RelyingParty, changes: dict[str, Any], error: str) -> None:
    refused(rp.push_object(rp.request_object(**changes)), error)


def test_the_key_named_in_it_must_be_the_key_proven(rp: RelyingParty) -> None:
    packed = rp.request_object(dpop_jkt=ec_key().thumbprint())
    form = rp.identified(client_id=rp.client_id, request=packed)
    refused(rp.post("/oauth/par", form, DPoP=rp.proof("/oauth/par")), "invalid_dpop_proof")


@pytest.mark.parametrize("typ", ["at+jwt", "dpop+jwt", "client-authentication+jwt", "", 7, ["JWT"]], ids=str)
def test_other_kinds_of_jwt(rp: RelyingParty, typ: object) -> None:
    refused(rp.push_object(rp.request_object(header={"typ": typ})))


def test_algorithms_outside_the_profile(rp: RelyingParty) -> None:
    public = json.dumps(rp.key.as_dict(private=False)).encode()
    rsa = RSAKey.generate_key(2048)
    for key, algorithm in ((OctKey.import_key(public), "HS256"), (rsa, "RS256"), (rsa, "PS384")):
        refused(rp.push_object(rp.request_object(key=key, header={"alg": algorithm})))
    claims = rp.request_object().split(".")[1]
    for algorithm in ("none", "None", "ES256"):
        header = b64(json.dumps({"typ": "oauth-authz-req+jwt", "alg": algorithm}).encode())
        refused(rp.push_object(f"{header}.{claims}."))
        refused(rp.push_object(f"{header}.{claims}.AA"))


def test_keys_that_are_not_the_clients(rp: RelyingParty, other: RelyingParty) -> None:
    refused(rp.push_object(rp.request_object(key=other.key)))
    refused(rp.push_object(rp.request_object(key=other.key, header={"kid": None})))
    refused(rp.push_object(rp.request_object(header={"kid": "another"})))
    refused(rp.push_object(rp.request_object(key=ec_key(), header={"jwk": ec_key().as_dict(private=False)})))
    refused(rp.push_object(rp.request_object(header={"crit": ["exp"]})))


def test_anothers_object_under_ones_own_name(rp: RelyingParty, other: RelyingParty) -> None:
    refused(rp.push_object(other.request_object()))
    stolen = other.request_object(client_id=rp.client_id, iss=rp.client_id)
    refused(rp.push_object(stolen))
    form = other.identified(client_id=rp.client_id, request=other.request_object())
    refused(other.post("/oauth/par", form), "invalid_client", 401)


@pytest.mark.parametrize("text", ["a", "a.b", "a.b.c", "....", "a.b.c.d.e", "e30.e30.e30", "é", "A" * 60_000])
def test_what_is_no_object(rp: RelyingParty, text: str) -> None:
    refused(rp.push_object(text))


PAYLOADS = [
    b"[]", b"null", b"7", b'"x"', b"{", b'{"iss":NaN}', b"[" * 5000, b'{"a":' * 1000 + b"1" + b"}" * 1000,
    b'{"state":"a","state":"b"}', b'{"state":"\xff"}', b'{"exp":' + b"9" * 5000 + b"}",
]  # fmt: skip


@pytest.mark.parametrize("payload", PAYLOADS, ids=lambda payload: repr(payload[:20]))
def test_claims_that_are_no_object(rp: RelyingParty, payload: bytes) -> None:
    refused(rp.push_object(signed({"alg": "ES256", "kid": "s1"}, payload, rp.key)))


def test_it_is_taken_once(rp: RelyingParty) -> None:
    packed = rp.request_object()
    accepted(rp.push_object(packed))
    refused(rp.push_object(packed))


def test_many_at_once_are_taken_once(app: APIFlask, rp: RelyingParty) -> None:
    packed, together = rp.request_object(), Barrier(8)
    forms = [urlencode(rp.identified(client_id=rp.client_id, request=packed)) for _ in range(8)]

    def push(form: str) -> int:
        client = app.test_client(use_cookies=False)
        together.wait()
        return client.post("/oauth/par", data=form, content_type=FORM).status_code

    with ThreadPoolExecutor(8) as threads:
        assert sorted(threads.map(push, forms)) == [201] + [400] * 7


def test_one_jti_is_another_clients_as_well(rp: RelyingParty, other: RelyingParty) -> None:
    jti = secrets.token_hex(16)
    accepted(rp.push_object(rp.request_object(jti=jti)))
    accepted(other.push_object(other.request_object(jti=jti)))


@pytest.mark.parametrize(
    "beside", [{"state": "st"}, {"redirect_uri": REDIRECT_URI}, {"scope": "openid"}, {"unknown": "1"}], ids=str
)
def test_nothing_stands_beside_it(rp: RelyingParty, beside: dict[str, str]) -> None:
    refused(rp.push_object(rp.request_object(), **beside), "invalid_request")


def test_its_address_is_not_taken(rp: RelyingParty) -> None:
    refused(rp.push_object(rp.request_object(), request_uri="https://elsewhere.example/r"), "invalid_request")


def test_it_is_no_client_assertion_and_an_assertion_is_no_request(rp: RelyingParty) -> None:
    form = rp.asked() | {"client_assertion_type": rp.identified()["client_assertion_type"]}
    for packed in (rp.request_object(), rp.request_object(header={"typ": None}), rp.request_object(sub=rp.client_id)):
        refused(rp.post("/oauth/par", form | {"client_assertion": packed}), "invalid_client", 401)
    refused(rp.push_object(rp.assertion()))
    refused(rp.push_object(rp.assertion(nbf=int(time.time()), client_id=rp.client_id)))


def test_a_client_that_always_signs(rp: RelyingParty, settings: Settings) -> None:
    settle(settings, rp, require_signed_request_object=True)
    refused(rp.post("/oauth/par", rp.request()), "invalid_request")
    accepted(rp.push_object(rp.request_object()))


def test_the_algorithm_a_client_registered(rp: RelyingParty, settings: Settings) -> None:
    settle(settings, rp, request_object_signing_alg="PS256")
    refused(rp.push_object(rp.request_object()))
    settle(settings, rp, request_object_signing_alg="ES256")
    accepted(rp.push_object(rp.request_object()))


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [(RSAKey.generate_key(3072), "PS256"), (OKPKey.generate_key("Ed25519"), "EdDSA")],
    ids=["PS256", "EdDSA"],
)
def test_algorithms_of_the_profile(rp: RelyingParty, settings: Settings, key: RSAKey | OKPKey, algorithm: str) -> None:
    jwks = {"keys": [{**key.as_dict(private=False), "use": "sig", "kid": "second"}]}
    with db.transaction(settings.database_url) as session:
        client_keys.add(session, client_id=rp.client_id, jwks=jwks, now=db.now())
    accepted(rp.push_object(rp.request_object(key=key, header={"alg": algorithm, "kid": "second"})))
    with db.transaction(settings.database_url) as session:
        assert companies.unused_keys(session, rp.client_id) == frozenset(), "its first signature was noted"

"""Checklist rows 6 to 18: pushing a request, and who may."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest

from tests.fapi.forgery import BAD_SIGNATURES, claims_of
from tests.fapi.wire import FORM
from tests.oauth.rp import ASSERTION_TYPE, b64, signed

if TYPE_CHECKING:
    from tests.fapi.cast import Party
    from tests.oauth.rp import Answer

REFUSALS = {"invalid_client", "invalid_request"}


def push(rp: Party, assertion: str | None = None, **changes: str | None) -> Answer:
    given = changes if assertion is None else changes | {"client_assertion": assertion}
    form = {name: value for name, value in rp.request(**given).items() if given.get(name, value) is not None}
    return rp.post("/oauth/par", form)


def refused(answer: Answer, *errors: str) -> None:
    assert answer.status_code in {400, 401}, answer.text
    assert answer.json["error"] in (errors or REFUSALS), answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Location" not in answer.headers


def test_row_6_a_good_push__rfc9126_2_2(asker: Party) -> None:
    answer = push(asker)
    assert answer.status_code == 201
    assert 1 <= answer.json["expires_in"] < 600
    assert answer.headers["Cache-Control"] == "no-store"
    prefix, _, secret = answer.json["request_uri"].rpartition(":")
    assert prefix == "urn:ietf:params:oauth:request_uri"
    assert len(secret) * 6 >= 128
    assert push(asker).json["request_uri"] != answer.json["request_uri"]


@pytest.mark.parametrize(
    "spoilt",
    [
        {"client_assertion": None, "client_assertion_type": None},
        {"client_assertion": None},
        {"client_assertion_type": None},
        {"client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"},
        {"client_assertion": ""},
    ],
)
def test_row_7_without_client_authentication__fapi2_5_3_2_2_4(asker: Party, spoilt: dict[str, str | None]) -> None:
    refused(push(asker, **spoilt), "invalid_client")


def test_row_7_a_made_up_client_hears_the_same__rfc6749_5_2(asker: Party) -> None:
    real = push(asker, signed({"alg": "ES256", "kid": "s9"}, claims_of(asker), asker.dpop_key))
    made_up = claims_of(asker, iss="test_nobody", sub="test_nobody")
    unknown = push(asker, signed({"alg": "ES256", "kid": "s1"}, made_up, asker.key), client_id="test_nobody")
    assert (real.status_code, real.json) == (unknown.status_code, unknown.json)


@pytest.mark.parametrize("case", BAD_SIGNATURES)
def test_row_8_algorithm_or_key_not_the_clients__fapi2_5_4_1(asker: Party, case: str) -> None:
    refused(push(asker, BAD_SIGNATURES[case](asker)), "invalid_client")


def test_row_8_every_algorithm_of_the_profile_is_taken__fapi2_5_4_1(asker: Party) -> None:
    for header, key in (
        ({"alg": "ES256", "kid": "s1"}, asker.key),
        ({"alg": "PS256", "kid": "s2"}, asker.rsa_key),
        ({"alg": "EdDSA", "kid": "s3"}, asker.ed_key),
        ({"alg": "Ed25519", "kid": "s3"}, asker.ed_key),
        ({"alg": "ES256"}, asker.key),
    ):
        answer = push(asker, signed(header, claims_of(asker), key))
        assert answer.status_code == 201, (header, answer.text)


@pytest.mark.parametrize("path", ["/oauth/par", "/oauth/token", "/", "/oauth/authorize"])
def test_row_9_audience_is_an_address_of_the_server__fapi2_5_3_2_1_8(asker: Party, path: str) -> None:
    refused(push(asker, asker.assertion(aud=asker.issuer + path)))


def test_row_9_audience_is_a_list_or_another_server__fapi2_5_3_2_1_8(asker: Party) -> None:
    audiences: tuple[object, ...] = (
        [asker.issuer], [asker.issuer, "https://other.example"], "https://other.example", "", None, {}, 1,
        asker.issuer.upper(), asker.issuer + "\u0000",
    )  # fmt: skip
    for audience in audiences:
        refused(push(asker, asker.assertion(aud=audience)))


def test_row_10_expired_or_not_about_the_client__rfc7523_3(asker: Party, other: Party) -> None:
    now = int(time.time())
    for spoilt in (
        {"exp": now - 1}, {"exp": now - 3600, "iat": now - 3660}, {"exp": None}, {"exp": "soon"}, {"exp": True},
        {"sub": None}, {"iss": None}, {"sub": other.client_id}, {"iss": other.client_id}, {"iss": [asker.client_id]},
    ):  # fmt: skip
        refused(push(asker, asker.assertion(**spoilt)), "invalid_client")


@pytest.mark.parametrize("ahead", [8, -30])
def test_row_11_a_clock_that_is_a_little_off__fapi2_5_3_2_1_13(asker: Party, ahead: int) -> None:
    moment = int(time.time()) + ahead
    assert push(asker, asker.assertion(iat=moment, nbf=moment)).status_code == 201


@pytest.mark.parametrize("claim", ["iat", "nbf"])
def test_row_12_a_clock_that_is_far_off__fapi2_5_3_2_1_13(asker: Party, claim: str) -> None:
    moment = int(time.time()) + 100
    refused(push(asker, asker.assertion(**{claim: moment, "exp": moment + 60})), "invalid_client")


def test_row_13_without_jti__oidc_core_9(asker: Party) -> None:
    for jti in (None, "", 7, ["a"], "x" * 5000):
        refused(push(asker, asker.assertion(jti=jti)), "invalid_client")


def test_row_13_replayed__oidc_core_9(asker: Party) -> None:
    once = asker.assertion()
    assert push(asker, once).status_code == 201
    refused(push(asker, once), "invalid_client")
    refused(asker.post("/oauth/revoke", asker.identified(client_assertion=once, token="t")), "invalid_client")
    jti = secrets.token_hex(8)
    assert push(asker, asker.assertion(jti=jti)).status_code == 201
    refused(push(asker, asker.assertion(jti=jti, exp=int(time.time()) + 90)), "invalid_client")


@pytest.mark.parametrize("life", [400, 3600, 315_360_000, 10**18])
def test_row_14_valid_for_too_long__rfc8725(asker: Party, life: int) -> None:
    refused(push(asker, asker.assertion(exp=int(time.time()) + life)), "invalid_client")


def test_row_15_client_id_of_another__rfc7521_4_2(asker: Party, other: Party) -> None:
    refused(push(asker, client_id=other.client_id), "invalid_client")
    refused(push(asker, client_id="test_nobody"), "invalid_client")
    form = asker.identified(grant_type="client_credentials", client_id=other.client_id)
    refused(asker.post("/oauth/token", form, DPoP=asker.proof()), "invalid_client")


def test_row_16_two_methods__rfc6749_2_3(asker: Party, other: Party) -> None:
    for name in (asker.client_id, other.client_id, "x%zz"):
        basic = "Basic " + b64(f"{name}:secret".encode())
        refused(asker.post("/oauth/par", asker.request(), Authorization=basic))
    refused(push(asker, client_secret="secret"))
    refused(asker.post("/oauth/par", asker.request(), Authorization="Bearer ucmat_x"))


def test_row_16_a_secret_alone__fapi2_5_3_2_1_6(asker: Party) -> None:
    form = {"client_id": asker.client_id, "grant_type": "client_credentials", "client_secret": "secret"}
    refused(asker.post("/oauth/token", form, DPoP=asker.proof()))
    del form["client_secret"]
    basic = "Basic " + b64(f"{asker.client_id}:".encode())
    refused(asker.post("/oauth/token", form, Authorization=basic, DPoP=asker.proof()))


_ODD_HEADERS = (b"[]", b"{}", b"null", b'{"alg":"ES256","alg":"none"}', b"\xff\xfe", b"[" * 4000, b"")


def _malformed(asker: Party) -> list[str]:
    head, claims, signature = asker.assertion().split(".")
    return [
        "x", "a.b", "a.b.c", "a.b.c.d.e", "..", f"{head}.{claims}.", f"{head}.{claims}.{signature}.",
        f"{head}.{claims}.{signature}=", f"{head}.{claims}.{signature}\n", f" {head}.{claims}.{signature}",
        f"{head}=.{claims}.{signature}", f"{head}.{claims}.{signature[:-4]}", f"{head}..{signature}",
        *(f"{b64(odd)}.{claims}.{signature}" for odd in _ODD_HEADERS),
        signed({"alg": "ES256", "kid": "s1"}, b"[]", asker.key), signed({"alg": "ES256", "kid": "s1"}, b"7", asker.key),
        signed({"alg": "ES256", "kid": "s1"}, b'{"exp": NaN}', asker.key),
        signed({"alg": "ES256", "kid": "s1", "b64": False}, claims_of(asker), asker.key),
        signed({"alg": "ES256", "kid": ["s1"]}, claims_of(asker), asker.key),
        signed({"alg": "ES256", "kid": "s1", "typ": 5}, claims_of(asker), asker.key),
        "\u00e9" * 20,
    ]  # fmt: skip


def test_row_17_malformed__rfc8725(asker: Party) -> None:
    for text in _malformed(asker):
        answer = push(asker, text)
        assert answer.status_code in {400, 401}, (text[:80], answer.text)
        assert answer.json["error"] in REFUSALS


def test_row_17_seventy_kilobytes__rfc8725(asker: Party) -> None:
    answer = push(asker, "a" * 70_000)
    assert answer.status_code in {400, 401, 413}
    assert answer.json["error"] in REFUSALS
    padded = signed({"alg": "ES256", "kid": "s1", "x": "y" * 20_000}, claims_of(asker), asker.key)
    refused(push(asker, padded), "invalid_client")


def test_row_18_request_uri_inside__rfc9126_2_1(asker: Party) -> None:
    pushed = push(asker).json["request_uri"]
    for uri in (pushed, "https://client.example/request.jwt", "urn:x"):
        refused(push(asker, request_uri=uri), "invalid_request")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD"])
def test_row_18_only_post__rfc9126_2_3(asker: Party, method: str) -> None:
    body = urlencode(asker.request()).encode()
    answer = asker.wire.send(method, "/oauth/par", body=body, headers=[("Content-Type", FORM)])
    assert answer.status_code in {404, 405}
    assert "Location" not in answer.headers


@pytest.mark.parametrize("name", ["scope", "redirect_uri", "client_id", "client_assertion", "state", "anything"])
def test_row_18_a_parameter_twice__rfc6749_3_1(asker: Party, name: str) -> None:
    form = asker.request()
    pairs = [*form.items(), (name, form.get(name, "x"))]
    if name not in form:
        pairs.append((name, "x"))
    refused(asker.post("/oauth/par", pairs), "invalid_request")


def test_row_18_parameters_in_the_address__rfc9126_2_1(asker: Party) -> None:
    refused(asker.post("/oauth/par?" + urlencode(asker.request()), {}), "invalid_request", "invalid_client")
    refused(asker.post("/oauth/par?client_id=" + asker.client_id, asker.request()), "invalid_request")


def test_row_18_a_form_of_another_kind__rfc9126_2_1(asker: Party) -> None:
    body = urlencode(asker.request()).encode()
    for kind in ("application/json", "multipart/form-data; boundary=x", "text/plain", None):
        answer = asker.raw("/oauth/par", data=body, content_type=kind)
        assert answer.status_code in {400, 415}, kind
    assert asker.raw("/oauth/par", data=b"client_id=\xff\xfe", content_type=FORM).status_code == 400


def test_row_18_an_assertion_for_another_form__rfc7523_2_2(asker: Party) -> None:
    form = asker.request() | {"client_assertion_type": ASSERTION_TYPE + " "}
    refused(asker.post("/oauth/par", form), "invalid_client")

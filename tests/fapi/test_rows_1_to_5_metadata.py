"""Checklist rows 1 to 5: what the server says of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from joserfc.jwk import KeySet

if TYPE_CHECKING:
    from portal.config import Settings
    from tests.fapi.wire import Wire

ALGORITHMS = {"ES256", "PS256", "EdDSA", "Ed25519"}
ADDRESSES = ("/.well-known/openid-configuration", "/.well-known/oauth-authorization-server")


@pytest.fixture(scope="module")
def metadata(wire: Wire) -> dict[str, Any]:
    found: dict[str, Any] = wire.get(ADDRESSES[0]).json
    return found


def test_row_1_both_documents_are_the_same__rfc8414_3_3(wire: Wire, here: Settings) -> None:
    answers = [wire.get(address) for address in ADDRESSES]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert {answer.headers["Content-Type"] for answer in answers} == {"application/json"}
    assert answers[0].content == answers[1].content
    assert answers[0].json["issuer"] == here.issuer


def test_row_1_every_endpoint_named_is_there__rfc8414_2(wire: Wire, metadata: dict[str, Any], here: Settings) -> None:
    named = {name: value for name, value in metadata.items() if name.endswith(("_endpoint", "_uri"))}
    assert {"token_endpoint", "authorization_endpoint", "userinfo_endpoint", "jwks_uri"} <= named.keys()
    for name, address in named.items():
        assert address.startswith(here.issuer + "/")
        # Grants are looked at one by one, below their endpoint.
        path = address.removeprefix(here.issuer) + ("/x" if name == "grant_management_endpoint" else "")
        there = {200, 303, 400, 401, 405} | ({404} if path.endswith("/x") else set())
        assert wire.get(path).status_code in there, name


def test_row_2_pushed_requests_are_required__fapi2_5_3_2_2_2(metadata: dict[str, Any], here: Settings) -> None:
    assert metadata["require_pushed_authorization_requests"] is True
    assert metadata["pushed_authorization_request_endpoint"] == here.issuer + "/oauth/par"


def test_row_3_nothing_weak_is_offered__fapi2_5_3_2_1_6(metadata: dict[str, Any]) -> None:
    assert metadata["code_challenge_methods_supported"] == ["S256"]
    assert metadata["response_types_supported"] == ["code"]
    assert metadata["authorization_response_iss_parameter_supported"] is True
    assert not {"implicit", "password"} & set(metadata["grant_types_supported"])
    for name, value in metadata.items():
        if name.endswith("_auth_methods_supported"):
            assert value == ["private_key_jwt"], name
        if name.endswith(("_signing_alg_values_supported", "_signing_alg_values")):
            assert set(value) <= ALGORITHMS, name


def test_row_4_only_public_strong_keys__fapi2_5_4_2_3(wire: Wire) -> None:
    answer = wire.get("/oauth/jwks")
    assert answer.status_code == 200
    keys = answer.json["keys"]
    assert keys
    assert len({key["kid"] for key in keys}) == len(keys)
    for key in keys:
        assert not {"d", "p", "q", "dp", "dq", "qi", "oth", "k"} & key.keys()
        assert (key["kty"], key["crv"]) == ("EC", "P-256")
    KeySet.import_key_set(answer.json)

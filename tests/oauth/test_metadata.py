"""What the server says of itself: RFC 8414, OpenID Connect Discovery, RFC 9728, RFC 7517."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

import pytest
from authlib.oauth2 import rfc9101, rfc9207
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata
from authlib.oidc import rpinitiated
from authlib.oidc.discovery import OpenIDProviderMetadata

from portal.oauth import errors
from portal.oauth.protection import RESOURCE_METADATA

if TYPE_CHECKING:
    from flask.testing import FlaskClient

    from portal.config import Settings


def document(http: FlaskClient, address: str) -> dict[str, Any]:
    answer = http.get(address)
    assert answer.status_code == 200
    return cast("dict[str, Any]", answer.json)


def test_both_documents_are_the_same(http: FlaskClient, settings: Settings) -> None:
    names = ("oauth-authorization-server", "openid-configuration")
    first, second = (document(http, f"/.well-known/{name}") for name in names)
    assert first == second
    assert first["issuer"] == settings.url


def test_the_profile_is_the_only_one(http: FlaskClient) -> None:
    said = document(http, "/.well-known/openid-configuration")
    assert said["require_pushed_authorization_requests"] is True
    assert said["authorization_response_iss_parameter_supported"] is True
    assert said["code_challenge_methods_supported"] == ["S256"]
    assert said["response_types_supported"] == ["code"]
    assert said["token_endpoint_auth_methods_supported"] == ["private_key_jwt"]
    afar = "urn:openid:params:grant-type:ciba"
    assert set(said["grant_types_supported"]) == {"authorization_code", "refresh_token", "client_credentials", afar}
    signing = [names for key, names in said.items() if key.endswith("signing_alg_values_supported")]
    algorithms = {name for names in signing for name in names}
    assert algorithms == {"ES256", "PS256", "EdDSA", "Ed25519"}


def test_what_a_request_may_be(http: FlaskClient) -> None:
    said = document(http, "/.well-known/openid-configuration")
    assert said["request_parameter_supported"] is True
    assert said["request_uri_parameter_supported"] is False
    assert said["require_signed_request_object"] is False
    assert set(said["request_object_signing_alg_values_supported"]) == {"ES256", "PS256", "EdDSA", "Ed25519"}
    assert said["response_modes_supported"] == ["query", "query.jwt", "jwt"]
    assert said["authorization_signing_alg_values_supported"] == ["ES256"]
    assert said["prompt_values_supported"] == ["none", "login", "consent", "select_account"]
    assert said["acr_values_supported"] == ["urn:ucm:acr:1", "urn:ucm:acr:2"]


def secure(said: dict[str, Any]) -> dict[str, Any]:
    """Return the document as it is in production: RFC 8414 wants https, a test's issuer is http on loopback."""
    return cast("dict[str, Any]", json.loads(json.dumps(said).replace("http://", "https://")))


@pytest.mark.parametrize(
    "kind",
    [AuthorizationServerMetadata, rfc9101.AuthorizationServerMetadata, rfc9207.AuthorizationServerMetadata,
     OpenIDProviderMetadata, rpinitiated.OpenIDProviderMetadata],
    ids=lambda kind: kind.__module__,
)  # fmt: skip
def test_authlib_finds_nothing_wrong(http: FlaskClient, kind: type[dict[str, Any]]) -> None:
    said = secure(document(http, "/.well-known/oauth-authorization-server"))
    # OpenID Connect Discovery wants RS256 among these, FAPI 2.0 section 5.4.1 forbids it: the stricter one holds.
    assert said["id_token_signing_alg_values_supported"] == ["ES256"]
    said["id_token_signing_alg_values_supported"].append("RS256")
    checks = [name for name in dir(kind) if name.startswith("validate_")]
    assert checks
    for name in checks:
        getattr(kind(said), name)()


def test_nothing_is_said_twice_or_left_empty(http: FlaskClient) -> None:
    # RFC 8414 section 3.2: members without a value are left out.
    for address in ("openid-configuration", "oauth-protected-resource"):
        for name, value in document(http, f"/.well-known/{address}").items():
            assert value or value is False, name
            if isinstance(value, list):
                assert len(set(value)) == len(value), name


def test_every_address_in_it_answers(http: FlaskClient, settings: Settings) -> None:
    said = document(http, "/.well-known/openid-configuration")
    for name, address in said.items():
        if name.endswith(("_endpoint", "_uri", "_documentation")):
            # One grant stands behind this address, never a list of them.
            behind = f"/{uuid4()}" if name == "grant_management_endpoint" else ""
            assert http.get(address.removeprefix(settings.url) + behind).status_code != 404, name


def test_keys_are_public(http: FlaskClient) -> None:
    keys = document(http, "/oauth/jwks")["keys"]
    assert keys
    assert len({key["kid"] for key in keys}) == len(keys)
    for key in keys:
        assert not {"d", "p", "q", "k"} & key.keys()


def test_the_api_names_its_server(http: FlaskClient, settings: Settings) -> None:
    # RFC 9728 sections 2, 3.1 and 4.
    said = document(http, RESOURCE_METADATA)
    assert said["resource"] == f"{settings.issuer}/api/v1"
    assert said["authorization_servers"] == [settings.issuer]
    assert said["dpop_bound_access_tokens_required"] is True
    assert document(http, "/.well-known/oauth-protected-resource") == said
    server = document(http, "/.well-known/oauth-authorization-server")
    assert server["protected_resources"] == [said["resource"]]
    assert set(said["scopes_supported"]) <= set(server["scopes_supported"])


@pytest.mark.parametrize("path", ["/api/v1/people/x", "/api/v1/pulls/00000000-0000-7000-8000-000000000000"])
def test_a_challenge_of_the_api_says_where_to_ask(http: FlaskClient, settings: Settings, path: str) -> None:
    # RFC 9728 section 5.1.
    challenge = http.get(path).headers["WWW-Authenticate"]
    assert challenge.startswith("DPoP ")
    assert f'resource_metadata="{settings.issuer}{RESOURCE_METADATA}"' in challenge
    assert "resource_metadata" not in http.get("/oauth/userinfo").headers["WWW-Authenticate"]


@pytest.mark.parametrize("address", ["openid-configuration", "oauth-authorization-server", "oauth-protected-resource"])
def test_they_may_be_kept_and_asked_about_again(http: FlaskClient, address: str) -> None:
    first = http.get(f"/.well-known/{address}")
    assert first.headers["Cache-Control"] == "public, max-age=300"
    again = http.get(f"/.well-known/{address}", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")


def test_public_sentences_fit_the_rfc() -> None:
    waiting = [errors.OAuthError]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        assert all(" " <= letter <= "~" and letter not in '"\\' for letter in kind.public), kind

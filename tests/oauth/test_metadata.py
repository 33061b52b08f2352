"""What the server says of itself: RFC 8414, OpenID Connect Discovery, RFC 9728, RFC 7517."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

from authlib.oauth2.rfc8414 import AuthorizationServerMetadata

from portal.oauth import errors

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


def test_authlib_finds_nothing_wrong(http: FlaskClient) -> None:
    said = dict(document(http, "/.well-known/oauth-authorization-server"))
    # RFC 8414 wants https; the demo's issuer is http on loopback.
    secure = {
        name: value.replace("http://", "https://") if isinstance(value, str) else value for name, value in said.items()
    }
    AuthorizationServerMetadata(secure).validate()


def test_every_address_in_it_answers(http: FlaskClient, settings: Settings) -> None:
    said = document(http, "/.well-known/openid-configuration")
    for name, address in said.items():
        if name.endswith(("_endpoint", "_uri")):
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
    said = document(http, "/.well-known/oauth-protected-resource")
    assert said["authorization_servers"] == [settings.issuer]
    assert said["dpop_bound_access_tokens_required"] is True
    assert document(http, "/.well-known/oauth-protected-resource/api/v1") == said


def test_public_sentences_fit_the_rfc() -> None:
    waiting = [errors.OAuthError]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        assert all(" " <= letter <= "~" and letter not in '"\\' for letter in kind.public), kind

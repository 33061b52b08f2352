"""What the server says of itself (RFC 8414, OpenID Connect Discovery) and of its API (RFC 9728)."""

from __future__ import annotations

from typing import Any

from portal.companies.metadata import CIBA
from portal.consumer.catalogue import CATALOGUE
from portal.identity import levels
from portal.oauth import (
    authentication_request,
    compact,
    encrypted,
    end_session,
    grant_management,
    registration,
    resource_indicators,
    response_modes,
    rich_authorization,
)
from portal.oauth.backchannel import DELIVERY_MODES
from portal.oauth.client_credentials import CLIENT_SCOPES
from portal.oauth.par import PERSON_SCOPES
from portal.vault import signing

_ALGORITHMS = list(compact.ALGORITHMS)
_FOR_ENGINEERS = "/docs/errors"
_PRIVACY = "/privacy"
_ABOUT_SIGNING_IN = ("sub", "auth_time", "acr", "amr")


def authorization_server(issuer: str) -> dict[str, Any]:
    """Return the document of both well-known addresses."""
    return {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/oauth/authorize",
        "pushed_authorization_request_endpoint": f"{issuer}/oauth/par",
        "token_endpoint": f"{issuer}/oauth/token",
        "revocation_endpoint": f"{issuer}/oauth/revoke",
        "introspection_endpoint": f"{issuer}/oauth/introspect",
        "userinfo_endpoint": f"{issuer}/oauth/userinfo",
        "registration_endpoint": issuer + registration.PATH,
        "jwks_uri": f"{issuer}/oauth/jwks",
        "service_documentation": issuer + _FOR_ENGINEERS,
        "op_policy_uri": issuer + _PRIVACY,
        "protected_resources": [resource_indicators.api_of(issuer)],
        **_requests(),
        **_grant_management(issuer),
        **_approvals(issuer),
        **_client_authentication(),
        **_people(),
        **_signing_in(issuer),
        **_signed_answers(),
    }


def protected_resource(issuer: str) -> dict[str, Any]:
    """Return the document of the API (RFC 9728 section 2)."""
    return {
        "resource": resource_indicators.api_of(issuer),
        "authorization_servers": [issuer],
        "jwks_uri": f"{issuer}/oauth/jwks",
        "scopes_supported": sorted(CLIENT_SCOPES),
        "bearer_methods_supported": ["header"],
        "dpop_signing_alg_values_supported": _ALGORITHMS,
        "dpop_bound_access_tokens_required": True,
        "authorization_details_types_supported": [rich_authorization.TYPE],
        "resource_signing_alg_values_supported": [signing.ALGORITHM],
        "resource_name": "People who share their details",
        "resource_documentation": issuer + _FOR_ENGINEERS,
        "resource_policy_uri": issuer + _PRIVACY,
    }


def _grant_management(issuer: str) -> dict[str, Any]:
    # Grant Management for OAuth 2.0 (draft 03) section 7.1.
    return {
        "grant_management_endpoint": f"{issuer}/oauth/grants",
        "grant_management_actions_supported": ["query", "revoke", *grant_management.ACTIONS],
        "grant_management_action_required": False,
    }


def _requests() -> dict[str, Any]:
    return {
        "require_pushed_authorization_requests": True,
        "response_types_supported": ["code"],
        "response_modes_supported": list(response_modes.SUPPORTED),
        "authorization_signing_alg_values_supported": [signing.ALGORITHM],
        "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials", CIBA],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,
        "authorization_details_types_supported": [rich_authorization.TYPE],
        "request_parameter_supported": True,
        "request_uri_parameter_supported": False,
        "require_signed_request_object": False,
        "request_object_signing_alg_values_supported": _ALGORITHMS,
        "dpop_signing_alg_values_supported": _ALGORITHMS,
        "scopes_supported": sorted(PERSON_SCOPES | CLIENT_SCOPES),
    }


def _approvals(issuer: str) -> dict[str, Any]:
    # CIBA Core 1.0 section 4.
    return {
        "backchannel_authentication_endpoint": f"{issuer}/oauth/bc-authorize",
        "backchannel_token_delivery_modes_supported": list(DELIVERY_MODES),
        "backchannel_user_code_parameter_supported": False,
    }


def _client_authentication() -> dict[str, Any]:
    return {
        f"{endpoint}_endpoint_auth_{name}": value
        for endpoint in ("token", "revocation", "introspection")
        for name, value in (("methods_supported", ["private_key_jwt"]), ("signing_alg_values_supported", _ALGORITHMS))
    }


def _signed_answers() -> dict[str, Any]:
    return {
        f"{answer}_{kind}_values_supported": [value]
        for answer in ("userinfo", "introspection")
        for kind, value in (
            ("signing_alg", signing.ALGORITHM),
            ("encryption_alg", encrypted.ALGORITHM),
            ("encryption_enc", encrypted.ENCODING),
        )
    }


def _signing_in(issuer: str) -> dict[str, Any]:
    return {
        "acr_values_supported": list(levels.VALUES),
        "prompt_values_supported": list(authentication_request.PROMPTS),
        "end_session_endpoint": issuer + end_session.ADDRESS,
        "id_token_encryption_alg_values_supported": [encrypted.ALGORITHM],
        "id_token_encryption_enc_values_supported": [encrypted.ENCODING],
    }


def _people() -> dict[str, Any]:
    return {
        "subject_types_supported": ["pairwise"],
        "claim_types_supported": ["normal"],
        "id_token_signing_alg_values_supported": [signing.ALGORITHM],
        "claims_supported": [*_ABOUT_SIGNING_IN, *(entry.claim for entry in CATALOGUE.values() if entry.claim)],
        "claims_parameter_supported": False,
        "ui_locales_supported": ["en"],
    }

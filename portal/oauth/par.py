"""Pushed authorization requests (RFC 9126): the only way to ask, checked before anybody is sent anywhere."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from authlib.oauth2.rfc6749.endpoint import Endpoint, EndpointRequest

from portal.consumer.catalogue import SCOPES
from portal.oauth import (
    authentication_request,
    grant_management,
    pace,
    parameters,
    pkce,
    request_object,
    resource_indicators,
    response_modes,
    rich_authorization,
    tokens,
)
from portal.oauth.errors import (
    InvalidProofError,
    InvalidRequestError,
    InvalidScopeError,
    UnauthorizedClientError,
    UnsupportedResponseTypeError,
)
from portal.oauth.models import PushedRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portal.companies.queries import ClientFacts
    from portal.oauth.request import MachineRequest
    from portal.oauth.rich_authorization import Asked

LIFE: Final = timedelta(seconds=60)
URI_PREFIX: Final = "urn:ietf:params:oauth:request_uri:"
PERSON_SCOPES: Final = frozenset({"openid", *SCOPES})
_THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)


class NotForCodeError(UnauthorizedClientError):
    """RFC 7591 section 2: `grant_types` says what the client may use."""


class RequestUriPushedError(InvalidRequestError):
    """RFC 9126 section 2.1 step 2."""

    public = "request_uri cannot be pushed."


class ResponseTypeMissingError(InvalidRequestError):
    public = "response_type is missing."


class RedirectUriMissingError(InvalidRequestError):
    public = "redirect_uri is missing."


class RedirectUriUnregisteredError(InvalidRequestError):
    """Compared as strings, character by character (RFC 9700 section 4.1.3)."""

    public = "redirect_uri is not registered for this client."


class StateError(InvalidRequestError):
    public = "state and nonce must be at most 512 visible ASCII characters."


class ScopeUnknownError(InvalidScopeError):
    public = "A requested scope is unknown."


class ThumbprintMalformedError(InvalidRequestError):
    public = "dpop_jkt must be the SHA-256 thumbprint of a JWK."


class ThumbprintDiffersError(InvalidProofError):
    """RFC 9449 section 10.1."""

    public = "dpop_jkt is not the thumbprint of the key in the DPoP proof."


@dataclass(kw_only=True)
class PushRequest(EndpointRequest):  # type: ignore[misc]  # Authlib ships no annotations
    """A pushed request that passed every check."""

    parameters: dict[str, Any]
    jkt: str | None


class PushedAuthorizationEndpoint(Endpoint):  # type: ignore[misc]  # Authlib ships no annotations
    """`POST /oauth/par`."""

    ENDPOINT_NAME = "pushed_authorization"

    def validate_request(self, request: MachineRequest) -> PushRequest:
        """Check everything that the authorization endpoint would, in this order (RFC 9126 section 2.1)."""
        client = request.authenticate_client()
        _check_registered(client)
        pace.check("par", client)
        _check_no_request_uri(request.parameters)
        sent = request_object.unpacked(request, client)
        _check_response_type(sent)
        mode = response_modes.chosen(sent, client.metadata)
        _check_redirect_uri(sent, client)
        challenge = pkce.check_challenge(sent.get("code_challenge"), sent.get("code_challenge_method"))
        _check_text(sent, "state")
        _check_text(sent, "nonce")
        resource_indicators.check(sent, request.issuer)
        scope = _scope(sent)
        asked = rich_authorization.read(
            request.session, client_id=client.client_id, text=sent.get("authorization_details"), scope=scope,
            issuer=request.issuer,
            scope_alone=True,
        )  # fmt: skip
        managed = grant_management.read(
            request.session, sent, client_id=client.client_id, purpose_id=asked.purpose.purpose_id, now=request.now
        )
        wishes = authentication_request.read(request.session, sent, client=client, issuer=request.issuer)
        jkt = _dpop_jkt(request, sent)
        kept = _kept(sent, scope, challenge, asked) | managed | wishes | {"response_mode": mode}
        return PushRequest(request, client, parameters=kept, jkt=jkt)

    def create_response(self, validated_request: PushRequest) -> tuple[int, dict[str, Any]]:
        """Keep the request and name it by an unguessable URI (RFC 9126 section 2.2)."""
        request = validated_request.request
        uri = URI_PREFIX + secrets.token_urlsafe(32)
        request.session.add(
            PushedRequest(
                uri_hash=tokens.hash_of(uri),
                client_id=validated_request.client.client_id,
                parameters=validated_request.parameters,
                dpop_jkt=validated_request.jkt,
                expires_at=request.now + LIFE,
            )
        )
        return 201, {"request_uri": uri, "expires_in": int(LIFE.total_seconds())}


def _check_registered(client: ClientFacts) -> None:
    if "authorization_code" not in client.metadata.grant_types:
        raise NotForCodeError


def _check_no_request_uri(sent: Mapping[str, str]) -> None:
    if "request_uri" in sent:
        raise RequestUriPushedError


def _check_response_type(sent: Mapping[str, str]) -> None:
    if "response_type" not in sent:
        raise ResponseTypeMissingError
    if sent["response_type"] != "code":
        raise UnsupportedResponseTypeError


def _check_redirect_uri(sent: Mapping[str, str], client: ClientFacts) -> None:
    if "redirect_uri" not in sent:
        raise RedirectUriMissingError
    if sent["redirect_uri"] not in client.redirect_uris:
        raise RedirectUriUnregisteredError


def _check_text(sent: Mapping[str, str], name: str) -> None:
    if not parameters.is_short_text(sent.get(name, "")):
        raise StateError


def _scope(sent: Mapping[str, str]) -> str:
    scopes = parameters.scopes(sent.get("scope", ""))
    if not PERSON_SCOPES.issuperset(scopes):
        raise ScopeUnknownError
    return " ".join(dict.fromkeys(scopes))


def _dpop_jkt(request: MachineRequest, sent: Mapping[str, str]) -> str | None:
    named = sent.get("dpop_jkt")
    if named is not None and not _THUMBPRINT.fullmatch(named):
        raise ThumbprintMalformedError
    if request.dpop is None:
        return named
    proven = request.proof().jkt
    if named not in (None, proven):
        raise ThumbprintDiffersError
    return proven


def _kept(sent: Mapping[str, str], scope: str, challenge: str, asked: Asked) -> dict[str, Any]:
    return {
        "redirect_uri": sent["redirect_uri"],
        "state": sent.get("state"),
        "nonce": sent.get("nonce"),
        "scope": scope,
        "code_challenge": challenge,
        **asked.kept(),
    }

"""Token introspection (RFC 7662), signed when asked (RFC 9701): a client learns what its own token is good for.

Whatever is not a live token of the client that asks is exactly `{"active": false}`: nobody learns why, nor that
somebody else's token exists.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from authlib.oauth2.rfc6749.endpoint import Endpoint, EndpointRequest

from portal.companies import queries as companies
from portal.consent import queries as consents
from portal.identity import levels
from portal.oauth import resource_indicators, rich_authorization, signed_answer, tokens
from portal.oauth.errors import InvalidRequestError

if TYPE_CHECKING:
    from portal.consent.models import Grant
    from portal.oauth.models import AccessToken, RefreshToken
    from portal.oauth.request import MachineRequest
    from portal.oauth.signed_answer import SignedAnswer

MEDIA_TYPE: Final = "application/token-introspection+jwt"
_INACTIVE: Final = {"active": False}


class TokenMissingError(InvalidRequestError):
    public = "token is missing."


@dataclass(kw_only=True)
class IntrospectionRequest(EndpointRequest):  # type: ignore[misc]  # Authlib ships no annotations
    """A question by an authenticated client; the token may be unknown or somebody else's."""

    token: str


class IntrospectionEndpoint(Endpoint):  # type: ignore[misc]  # Authlib ships no annotations
    """`POST /oauth/introspect`."""

    ENDPOINT_NAME = "introspection"

    def validate_request(self, request: MachineRequest) -> IntrospectionRequest:
        """Authenticate the client and find the parameter; a hint, known or not, changes nothing."""
        client = request.authenticate_client()
        if "token" not in request.parameters:
            raise TokenMissingError
        return IntrospectionRequest(request, client, token=request.parameters["token"])

    def create_response(self, validated_request: IntrospectionRequest) -> tuple[int, dict[str, Any] | SignedAnswer]:
        """Answer in JSON, or in a signed JWT when the client asked for one now or in its metadata."""
        said = _said(validated_request)
        return 200, _signed(validated_request, said) if _wants_jwt(validated_request) else said


def _said(asked: IntrospectionRequest) -> dict[str, Any]:
    request: MachineRequest = asked.request
    found = _live(asked)
    if found is None:
        return _INACTIVE
    if found.person_id is None or found.grant_id is None:
        return _of_token(found, request.issuer)
    grant = consents.grant(request.session, person_id=found.person_id, grant_id=found.grant_id)
    if grant is None or not _in_force(grant, request):
        return _INACTIVE
    return _of_token(found, request.issuer) | _of_person(asked, found, grant)


def _live(asked: IntrospectionRequest) -> AccessToken | RefreshToken | None:
    request: MachineRequest = asked.request
    session, client_id, now = request.session, asked.client.client_id, request.now
    access = tokens.live_access(session, tokens.hash_of(asked.token), now=now)
    if access is None:
        return tokens.live_refresh(session, asked.token, client_id=client_id, now=now)
    return access if access.client_id == client_id else None


def _in_force(grant: Grant, request: MachineRequest) -> bool:
    # A paused consent keeps its tokens, as at the token endpoint: what they get is nothing, until it goes on.
    return grant.state in consents.LIVE and (grant.expires_at is None or grant.expires_at > request.now)


def _of_token(found: AccessToken | RefreshToken, issuer: str) -> dict[str, Any]:
    said = {
        "active": True,
        "iss": issuer,
        "aud": resource_indicators.api_of(issuer),
        "client_id": found.client_id,
        "scope": found.scope,
        "iat": int(found.issued_at.timestamp()),
        "exp": int(found.expires_at.timestamp()),
    }
    # A refresh token is bound to its client, not to a key, and has no type (RFC 6749 section 5.1).
    jkt = getattr(found, "jkt", None)
    return said if jkt is None else said | {"token_type": "DPoP", "cnf": {"jkt": jkt}}


def _of_person(asked: IntrospectionRequest, found: AccessToken | RefreshToken, grant: Grant) -> dict[str, Any]:
    session = asked.request.session
    purpose = companies.purpose(session, grant.purpose_id)
    said: dict[str, Any] = {
        "sub": consents.sub_of(session, person_id=grant.person_id, company_id=asked.client.company_id),
        "grant_id": str(grant.grant_id),
        "authorization_details": rich_authorization.granted(purpose.code, grant) if purpose else [],
    }
    if found.authenticated_at is not None and found.level is not None:
        said |= {"auth_time": int(found.authenticated_at.timestamp()), "acr": levels.acr(found.level)}
    return said


def _wants_jwt(asked: IntrospectionRequest) -> bool:
    return MEDIA_TYPE in asked.request.accept or asked.client.metadata.introspection_signed_response_alg is not None


def _signed(asked: IntrospectionRequest, said: dict[str, Any]) -> SignedAnswer:
    # RFC 9701 section 5: what is said of the token stays inside, so that nothing takes this for an access token.
    request: MachineRequest = asked.request
    claims = {
        "iss": request.issuer,
        "aud": asked.client.client_id,
        "iat": int(request.now.timestamp()),
        "token_introspection": said,
    }
    return signed_answer.make(
        request.session,
        keyring=request.keyring,
        client_id=asked.client.client_id,
        claims=claims,
        typ="token-introspection+jwt",
        media_type=MEDIA_TYPE,
        sealed=asked.client.metadata.introspection_encrypted_response_alg is not None,
    )

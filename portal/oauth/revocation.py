"""Token revocation (RFC 7009): ends a token, never the consent behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from authlib.oauth2.rfc6749.endpoint import Endpoint, EndpointRequest

from portal.oauth import tokens
from portal.oauth.errors import InvalidRequestError

if TYPE_CHECKING:
    from portal.oauth.request import MachineRequest


class TokenMissingError(InvalidRequestError):
    public = "token is missing."


@dataclass(kw_only=True)
class RevocationRequest(EndpointRequest):  # type: ignore[misc]  # Authlib ships no annotations
    """A revocation by an authenticated client; the token may be unknown or somebody else's."""

    token: str


class RevocationEndpoint(Endpoint):  # type: ignore[misc]  # Authlib ships no annotations
    """`POST /oauth/revoke`."""

    ENDPOINT_NAME = "revocation"

    def validate_request(self, request: MachineRequest) -> RevocationRequest:
        """Authenticate the client and find the parameter; a hint, known or not, changes nothing."""
        client = request.authenticate_client()
        if "token" not in request.parameters:
            raise TokenMissingError
        return RevocationRequest(request, client, token=request.parameters["token"])

    def create_response(self, validated_request: RevocationRequest) -> tuple[int, dict[str, Any]]:
        """End the token if it is this client's; the answer is the same if it is not (RFC 7009 section 2.2)."""
        request = validated_request.request
        tokens.revoke(
            request.session, validated_request.token, client_id=validated_request.client.client_id, now=request.now
        )
        return 200, {}

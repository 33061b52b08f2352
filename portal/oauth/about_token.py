"""What revocation and introspection ask for alike: an authenticated client names one token.

RFC 7009 section 2.1 and RFC 7662 section 2.1; the hint, known or not, changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from authlib.oauth2.rfc6749.endpoint import Endpoint, EndpointRequest

from portal.oauth.errors import InvalidRequestError

if TYPE_CHECKING:
    from portal.oauth.request import MachineRequest


class TokenMissingError(InvalidRequestError):
    public = "token is missing."


@dataclass(kw_only=True)
class AboutToken(EndpointRequest):  # type: ignore[misc]  # Authlib ships no annotations
    """Who asks, and about which token: it may be unknown or somebody else's."""

    token: str


class AboutTokenEndpoint(Endpoint):  # type: ignore[misc]  # Authlib ships no annotations
    """An endpoint that takes one token."""

    def validate_request(self, request: MachineRequest) -> AboutToken:
        """Authenticate the client and find the parameter."""
        client = request.authenticate_client()
        if "token" not in request.parameters:
            raise TokenMissingError
        return AboutToken(request, client, token=request.parameters["token"])

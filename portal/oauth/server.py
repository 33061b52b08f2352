"""The authorization server: Authlib's frame finds the grant or endpoint, each a list of checks and one answer.

What of Authlib is used and what is not is written in `docs/decisions/0004-how-much-of-authlib.md`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from authlib.oauth2.rfc6749.authorization_server import AuthorizationServer as AuthlibServer

from portal.oauth.authorization_code import AuthorizationCodeGrant
from portal.oauth.backchannel import BackchannelEndpoint
from portal.oauth.backchannel_token import BackchannelGrant
from portal.oauth.client_credentials import ClientCredentialsGrant
from portal.oauth.errors import InvalidRequestError, UnsupportedGrantTypeError
from portal.oauth.introspection import IntrospectionEndpoint
from portal.oauth.par import PushedAuthorizationEndpoint
from portal.oauth.refresh_token import RefreshTokenGrant
from portal.oauth.revocation import RevocationEndpoint

if TYPE_CHECKING:
    from portal.oauth.request import MachineRequest
    from portal.oauth.token_endpoint import TokenGrant

GRANTS: Final = (AuthorizationCodeGrant, RefreshTokenGrant, ClientCredentialsGrant, BackchannelGrant)
ENDPOINTS: Final = (PushedAuthorizationEndpoint, RevocationEndpoint, IntrospectionEndpoint, BackchannelEndpoint)


class GrantTypeMissingError(InvalidRequestError):
    public = "grant_type is missing."


class AuthorizationServer(AuthlibServer):  # type: ignore[misc]  # Authlib ships no annotations
    """Authlib's dispatch over our own request; errors pass through it to the edge."""

    def create_oauth2_request(self, request: MachineRequest) -> MachineRequest:
        return request

    def handle_response(self, status: int, body: dict[str, Any], *_headers: object) -> tuple[int, dict[str, Any]]:
        return status, body

    def send_signal(self, *_args: object, **_kwargs: object) -> None:
        """Tell nobody: facts are announced by the services."""

    def get_token_grant(self, request: MachineRequest) -> TokenGrant:
        """Return the grant for the request's `grant_type`; missing and unknown are two errors."""
        named = request.parameters.get("grant_type")
        if named is None:
            raise GrantTypeMissingError
        if named not in {grant.GRANT_TYPE for grant in GRANTS}:
            raise UnsupportedGrantTypeError
        found: TokenGrant = super().get_token_grant(request)
        return found


def build() -> AuthorizationServer:
    """Return the server with its grants and its machine endpoints."""
    server = AuthorizationServer()
    for grant in GRANTS:
        server.register_grant(grant)
    for endpoint in ENDPOINTS:
        server.register_endpoint(endpoint)
    return server

"""Token revocation (RFC 7009): ends a token, never the consent behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from portal.oauth import tokens
from portal.oauth.about_token import AboutTokenEndpoint

if TYPE_CHECKING:
    from portal.oauth.about_token import AboutToken


class RevocationEndpoint(AboutTokenEndpoint):
    """`POST /oauth/revoke`."""

    ENDPOINT_NAME = "revocation"

    def create_response(self, validated_request: AboutToken) -> tuple[int, dict[str, Any]]:
        """End the token if it is this client's; the answer is the same if it is not (RFC 7009 section 2.2)."""
        request = validated_request.request
        tokens.revoke(
            request.session, validated_request.token, client_id=validated_request.client.client_id, now=request.now
        )
        return 200, {}

"""The client's own tokens (RFC 6749 section 4.4): for its pulls, its stream and its grants; never a refresh token."""

from __future__ import annotations

from typing import Any, Final

from portal.oauth import parameters, tokens
from portal.oauth.token_endpoint import ScopeWiderError, TokenGrant

DEFAULT_SCOPE: Final = "people:read"
CLIENT_SCOPES: Final = frozenset(
    {
        DEFAULT_SCOPE,
        "keys:manage",
        "purposes:manage",
        "streams:manage",
        "grants:manage",
        "grant_management_query",
        "grant_management_revoke",
    }
)


class ClientCredentialsGrant(TokenGrant):
    """`grant_type=client_credentials`."""

    GRANT_TYPE = "client_credentials"

    def check(self) -> None:
        scopes = parameters.scopes(self.request.parameters.get("scope", DEFAULT_SCOPE))
        if not CLIENT_SCOPES.issuperset(scopes):
            raise ScopeWiderError
        self.scope = " ".join(dict.fromkeys(scopes))

    def create_token_response(self) -> tuple[int, dict[str, Any]]:
        request = self.request
        token = tokens.issue_own_at_once(
            request.database_url, request.shown,
            client=self.caller, scope=self.scope, jkt=self.key.jkt, now=request.now,
        )  # fmt: skip
        return 200, self.bearing(token, self.scope)

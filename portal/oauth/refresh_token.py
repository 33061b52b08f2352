"""Refreshing (RFC 6749 section 6): the refresh token itself stays (FAPI 2.0 section 5.3.2.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from portal.oauth import parameters, tokens
from portal.oauth.errors import InvalidGrantError, InvalidRequestError
from portal.oauth.token_endpoint import ScopeWiderError, TokenGrant

if TYPE_CHECKING:
    from portal.oauth.models import RefreshToken


class RefreshTokenMissingError(InvalidRequestError):
    public = "refresh_token is missing."


class RefreshTokenUnknownError(InvalidGrantError):
    pass


class RefreshTokenGrant(TokenGrant):
    """`grant_type=refresh_token`."""

    GRANT_TYPE = "refresh_token"

    def check(self) -> None:
        self.refresh = self._refresh_token()
        self.consent = self.living_grant(self.refresh)
        self.scope = self._scope()

    def create_token_response(self) -> tuple[int, dict[str, Any]]:
        return 200, self.of_person(self.refresh, self.consent, self.scope)

    def _refresh_token(self) -> RefreshToken:
        token = self.request.parameters.get("refresh_token")
        if token is None:
            raise RefreshTokenMissingError
        request = self.request
        found = tokens.live_refresh(request.session, token, client_id=self.caller.client_id, now=request.now, hold=True)
        if found is None:
            raise RefreshTokenUnknownError(private="no live refresh token of this client")
        return found

    def _scope(self) -> str:
        # Narrower for this access token only: the grant itself stays as wide as it was given.
        scopes = parameters.scopes(self.request.parameters.get("scope", self.refresh.scope))
        if not set(self.refresh.scope.split()).issuperset(scopes):
            raise ScopeWiderError
        return " ".join(scopes)

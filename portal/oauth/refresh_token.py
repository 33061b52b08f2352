"""Refreshing (RFC 6749 section 6): the refresh token itself stays (FAPI 2.0 section 5.3.2.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from portal.oauth import parameters, statements, tokens
from portal.oauth.errors import InvalidGrantError, InvalidRequestError
from portal.oauth.token_endpoint import ConsentEndedError, ScopeWiderError, TokenGrant, check_in_force

if TYPE_CHECKING:
    from sqlalchemy import Row

    from portal.consent.models import Grant


class RefreshTokenMissingError(InvalidRequestError):
    public = "refresh_token is missing."


class RefreshTokenUnknownError(InvalidGrantError):
    pass


class RefreshTokenGrant(TokenGrant):
    """`grant_type=refresh_token`: one statement reads, one uses up what was shown and writes the new token."""

    GRANT_TYPE = "refresh_token"

    def check(self) -> None:
        token_hash = self._presented()
        self.row = self._read(token_hash)
        self.refresh = _of_row(token_hash, self.row)
        self.consent = self._consent()
        self.scope = self._scope()

    def create_token_response(self) -> tuple[int, dict[str, Any]]:
        request = self.request
        token = tokens.issue_refreshed(
            request.database_url, request.shown,
            client=self.caller, of=self.refresh, scope=self.scope, jkt=self.key.jkt, now=request.now,
        )  # fmt: skip
        if token is None:
            raise RefreshTokenUnknownError(private="it was ended at this moment")
        sub = self.row.sub or self.subject(self.refresh)
        return 200, self.about_person(token, self.scope, grant=self.consent, purpose=self.row.purpose, sub=sub)

    def _presented(self) -> bytes:
        token = self.request.parameters.get("refresh_token")
        if token is None:
            raise RefreshTokenMissingError
        return tokens.hash_of(token)

    def _read(self, token_hash: bytes) -> Row[Any]:
        now, caller = self.request.now, self.caller
        row: Row[Any] | None = statements.REFRESH.one(
            self.request.database_url,
            {
                "token_hash": token_hash, "client_id": caller.client_id, "company_id": caller.company_id,
                "now": now, "idle_since": now - tokens.REFRESH_IDLE,
            },
        )  # fmt: skip
        if row is None:
            raise RefreshTokenUnknownError(private="no live refresh token of this client")
        return row

    def _consent(self) -> Grant:
        # The row has every column of the consent's own table.
        found = None if self.row.grant_id is None else cast("Grant", self.row)
        if self.row.purpose is None:
            raise ConsentEndedError(private="there is no consent, or its purpose is gone")
        return check_in_force(found, now=self.request.now)

    def _scope(self) -> str:
        # Narrower for this access token only: the grant itself stays as wide as it was given.
        scopes = parameters.scopes(self.request.parameters.get("scope", self.refresh.scope))
        if not set(self.refresh.scope.split()).issuperset(scopes):
            raise ScopeWiderError
        return " ".join(scopes)


def _of_row(token_hash: bytes, row: Row[Any]) -> tokens.Refresh:
    return tokens.Refresh(
        token_hash=token_hash, person_id=row.token_person_id, grant_id=row.token_grant_id, scope=row.token_scope,
        code_hash=row.token_code_hash, authenticated_at=row.token_authenticated_at, level=row.token_level,
        used_at=row.token_used_at,
    )  # fmt: skip

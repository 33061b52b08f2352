"""Refreshing (RFC 6749 section 6): the refresh token itself stays (FAPI 2.0 section 5.3.2.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from portal.db import Prepared
from portal.oauth import parameters, tokens
from portal.oauth.errors import InvalidGrantError, InvalidRequestError
from portal.oauth.token_endpoint import ConsentEndedError, ScopeWiderError, TokenGrant, check_in_force

if TYPE_CHECKING:
    from sqlalchemy import Row

    from portal.consent.models import Grant

# The consent's own columns, and beside them what the answer needs of the token, the purpose and the subject.
_READ = Prepared("read_refresh_token", """
    SELECT g.*, r.person_id AS token_person, r.grant_id AS token_grant, r.scope AS token_scope, r.code_hash,
           r.authenticated_at, r.level AS token_level, r.used_at, p.code AS purpose, s.sub
      FROM refresh_token r
      LEFT JOIN "grant" g ON g.person_id = r.person_id AND g.grant_id = r.grant_id
      LEFT JOIN purpose p ON p.purpose_id = g.purpose_id
      LEFT JOIN subject s ON s.person_id = r.person_id AND s.company_id = :company_id
     WHERE r.token_hash = :token_hash AND r.client_id = :client_id
       AND r.revoked_at IS NULL AND r.expires_at > :now AND r.used_at > :idle_since
""")  # fmt: skip


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
        row: Row[Any] | None = _READ.one(
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
        token_hash=token_hash, person_id=row.token_person, grant_id=row.token_grant, scope=row.token_scope,
        code_hash=row.code_hash, authenticated_at=row.authenticated_at, level=row.token_level, used_at=row.used_at,
    )  # fmt: skip

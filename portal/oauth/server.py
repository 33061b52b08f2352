"""The token endpoint: Authlib's frame finds the grant, each grant is a list of checks and one answer.

What of Authlib is used and what is not is written in `docs/decisions/0004-how-much-of-authlib.md`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from authlib.oauth2.rfc6749.authorization_server import AuthorizationServer as AuthlibServer
from authlib.oauth2.rfc6749.grants import BaseGrant, TokenEndpointMixin

from portal.companies import queries as companies
from portal.consent import queries as consents
from portal.consent import services as consent
from portal.oauth import authorization_code, id_token, resource_indicators, rich_authorization, tokens
from portal.oauth.errors import InvalidGrantError, InvalidRequestError, InvalidScopeError, UnsupportedGrantTypeError
from portal.oauth.par import PushedAuthorizationEndpoint
from portal.oauth.revocation import RevocationEndpoint

if TYPE_CHECKING:
    from portal.companies.queries import ClientFacts
    from portal.consent.models import Grant
    from portal.oauth.dpop import Proof
    from portal.oauth.models import AuthorizationCode, RefreshToken
    from portal.oauth.request import MachineRequest

CLIENT_SCOPES: Final = frozenset({"people:read"})
_LIVING = ("active", "paused")


class GrantTypeMissingError(InvalidRequestError):
    public = "grant_type is missing."


class RefreshTokenMissingError(InvalidRequestError):
    public = "refresh_token is missing."


class RefreshTokenUnknownError(InvalidGrantError):
    pass


class ConsentEndedError(InvalidGrantError):
    """The person or the company ended it, or its time is over; the next call feels it."""


class ScopeWiderError(InvalidScopeError):
    pass


class TokenGrant(BaseGrant, TokenEndpointMixin):  # type: ignore[misc]  # Authlib ships no annotations
    """One grant type: authenticate, prove, check; then answer."""

    request: MachineRequest
    caller: ClientFacts
    key: Proof

    def validate_token_request(self) -> None:
        """Check, in this order: who asks, with which key, for which resource, and what."""
        self.caller = self.request.authenticate_client()
        self.key = self.request.proof()
        resource_indicators.check(self.request.parameters, self.request.issuer)
        self.check()

    def check(self) -> None:
        """Check what this grant type asks for."""
        raise NotImplementedError

    def _bearing(self, access_token: str, scope: str) -> dict[str, Any]:
        return {
            "access_token": access_token,
            "token_type": "DPoP",
            "expires_in": int(tokens.ACCESS_LIFE.total_seconds()),
            "scope": scope,
        }

    def _living_grant(self, of: AuthorizationCode | RefreshToken) -> Grant:
        grant = consents.grant(self.request.session, person_id=of.person_id, grant_id=of.grant_id)
        if grant is None or grant.state not in _LIVING:
            raise ConsentEndedError(private="the consent is not in force")
        if grant.expires_at is not None and grant.expires_at <= self.request.now:
            raise ConsentEndedError(private="the consent's time is over")
        return grant

    def _purpose_code(self, grant: Grant) -> str:
        purpose = companies.purpose(self.request.session, grant.purpose_id)
        if purpose is None:
            raise ConsentEndedError(private="the purpose is gone")
        return purpose.code

    def _of_person(self, of: AuthorizationCode | RefreshToken, grant: Grant, scope: str) -> dict[str, Any]:
        session = self.request.session
        token = tokens.issue_access(
            session, client=self.caller, of=of, scope=scope, jkt=self.key.jkt, now=self.request.now
        )
        return {
            **self._bearing(token, scope),
            "grant_id": str(grant.grant_id),
            "authorization_details": rich_authorization.granted(self._purpose_code(grant), grant.attributes),
            "sub": consent.subject(session, person_id=of.person_id, company_id=self.caller.company_id),
        }


class AuthorizationCodeGrant(TokenGrant):
    """`grant_type=authorization_code` (RFC 6749 section 4.1.3)."""

    GRANT_TYPE = "authorization_code"

    def check(self) -> None:
        request = self.request
        self.code = authorization_code.redeem(
            request.session,
            parameters=request.parameters,
            client_id=self.caller.client_id,
            jkt=self.key.jkt,
            now=request.now,
        )
        self.consent = self._living_grant(self.code)

    def create_token_response(self) -> tuple[int, dict[str, Any]]:
        session, now = self.request.session, self.request.now
        answer = self._of_person(self.code, self.consent, self.code.scope)
        ends = self.consent.expires_at
        answer["refresh_token"] = tokens.issue_refresh(session, code=self.code, ends=ends, now=now)
        if "openid" in self.code.scope.split():
            answer["id_token"] = self._id_token(answer["sub"])
        return 200, answer

    def _id_token(self, sub: str) -> str:
        return id_token.issue(
            self.request.session,
            keyring=self.request.keyring,
            issuer=self.request.issuer,
            client_id=self.caller.client_id,
            sub=sub,
            nonce=self.code.nonce,
            authenticated_at=self.code.authenticated_at,
            now=self.request.now,
        )


class RefreshTokenGrant(TokenGrant):
    """`grant_type=refresh_token` (RFC 6749 section 6); the token itself stays (FAPI 2.0 section 5.3.2.1)."""

    GRANT_TYPE = "refresh_token"

    def check(self) -> None:
        self.refresh = self._refresh_token()
        self.consent = self._living_grant(self.refresh)
        self.scope = self._scope()

    def create_token_response(self) -> tuple[int, dict[str, Any]]:
        return 200, self._of_person(self.refresh, self.consent, self.scope)

    def _refresh_token(self) -> RefreshToken:
        token = self.request.parameters.get("refresh_token")
        if token is None:
            raise RefreshTokenMissingError
        request = self.request
        found = tokens.live_refresh(request.session, token, client_id=self.caller.client_id, now=request.now)
        if found is None:
            raise RefreshTokenUnknownError(private="no live refresh token of this client")
        return found

    def _scope(self) -> str:
        # Narrower for this access token only: the grant itself stays as wide as it was given.
        scopes = self.request.parameters.get("scope", self.refresh.scope).split()
        if not set(self.refresh.scope.split()).issuperset(scopes):
            raise ScopeWiderError
        return " ".join(scopes)


class ClientCredentialsGrant(TokenGrant):
    """`grant_type=client_credentials` (RFC 6749 section 4.4): the client's own pulls; no refresh token."""

    GRANT_TYPE = "client_credentials"

    def check(self) -> None:
        scopes = self.request.parameters.get("scope", "people:read").split()
        if not CLIENT_SCOPES.issuperset(scopes):
            raise ScopeWiderError
        self.scope = " ".join(dict.fromkeys(scopes))

    def create_token_response(self) -> tuple[int, dict[str, Any]]:
        request = self.request
        token = tokens.issue_own(
            request.session, client=self.caller, scope=self.scope, jkt=self.key.jkt, now=request.now
        )
        return 200, self._bearing(token, self.scope)


GRANTS: Final = (AuthorizationCodeGrant, RefreshTokenGrant, ClientCredentialsGrant)


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
    """Return the server with its three grants and its machine endpoints."""
    server = AuthorizationServer()
    for grant in GRANTS:
        server.register_grant(grant)
    server.register_endpoint(PushedAuthorizationEndpoint)
    server.register_endpoint(RevocationEndpoint)
    return server

"""The token endpoint (RFC 6749 section 3.2): what every grant type checks first and answers with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from authlib.oauth2.rfc6749.grants import BaseGrant, TokenEndpointMixin

from portal.companies import queries as companies
from portal.consent import queries as consents
from portal.consent import services as consent
from portal.oauth import id_token, resource_indicators, rich_authorization, tokens
from portal.oauth.errors import InvalidGrantError, InvalidScopeError, UnauthorizedClientError

if TYPE_CHECKING:
    from datetime import datetime

    from portal.companies.queries import ClientFacts
    from portal.consent.models import Grant
    from portal.oauth.dpop import Proof
    from portal.oauth.request import MachineRequest
    from portal.oauth.tokens import Origin


class GrantTypeNotRegisteredError(UnauthorizedClientError):
    """RFC 7591 section 2: `grant_types` says what the client may use."""


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
        """Check, in this order: who asks, with which key, whether it may ask so, for which resource, and what."""
        self.caller = self.request.authenticate_client()
        self.key = self.request.proof()
        self._check_registered()
        resource_indicators.check(self.request.parameters, self.request.issuer)
        rich_authorization.check_absent(self.request.parameters)
        self.check()

    def check(self) -> None:
        """Check what this grant type asks for."""
        raise NotImplementedError

    def bearing(self, access_token: str, scope: str) -> dict[str, Any]:
        """Return the members that every answer has (RFC 6749 section 5.1, RFC 9449 section 5)."""
        return {
            "access_token": access_token,
            "token_type": "DPoP",
            "expires_in": int(tokens.ACCESS_LIFE.total_seconds()),
            "scope": scope,
        }

    def living_grant(self, of: Origin) -> Grant:
        """Return the consent behind a code or refresh token; raise `ConsentEndedError` when it is over."""
        grant = consents.grant(self.request.session, person_id=of.person_id, grant_id=of.grant_id)
        return check_in_force(grant, now=self.request.now)

    def of_person(self, of: Origin, grant: Grant, scope: str) -> dict[str, Any]:
        """Return an answer for one person: a token, what is granted, and who it is about."""
        session = self.request.session
        token = tokens.issue_access(
            session, client=self.caller, of=of, scope=scope, jkt=self.key.jkt, now=self.request.now
        )
        return self.about_person(token, scope, grant=grant, purpose=self._purpose_code(grant), sub=self.subject(of))

    def about_person(self, access_token: str, scope: str, *, grant: Grant, purpose: str, sub: str) -> dict[str, Any]:
        """Return the members of an answer for one person: of a consent for `purpose`, and who it is about."""
        return {
            **self.bearing(access_token, scope),
            "grant_id": str(grant.grant_id),
            "authorization_details": rich_authorization.granted(purpose, grant),
            "sub": sub,
        }

    def subject(self, of: Origin) -> str:
        """Return who the person is to the caller's company."""
        return consent.subject(self.request.session, person_id=of.person_id, company_id=self.caller.company_id)

    def id_token(self, of: Origin, sub: str, *, nonce: str | None) -> str:
        """Return the ID token that goes with an answer whose scope has `openid`."""
        return id_token.issue(
            self.request.session,
            keyring=self.request.keyring,
            issuer=self.request.issuer,
            client=self.caller,
            sub=sub,
            nonce=nonce,
            authenticated_at=of.authenticated_at,
            level=of.level,
            now=self.request.now,
        )

    def _check_registered(self) -> None:
        if self.GRANT_TYPE not in self.caller.metadata.grant_types:
            raise GrantTypeNotRegisteredError

    def _purpose_code(self, grant: Grant) -> str:
        purpose = companies.purpose(self.request.session, grant.purpose_id, version=grant.purpose_version)
        if purpose is None:
            raise ConsentEndedError(private="the purpose is gone")
        return purpose.code


def check_in_force(grant: Grant | None, *, now: datetime) -> Grant:
    """Return the consent; raise `ConsentEndedError` when there is none, it has ended, or its time is over."""
    if grant is None or grant.state not in consents.LIVE:
        raise ConsentEndedError(private="the consent is not in force")
    if grant.expires_at is not None and grant.expires_at <= now:
        raise ConsentEndedError(private="the consent's time is over")
    return grant

"""Token introspection (RFC 7662), signed when asked (RFC 9701): a client learns what its own token is good for.

Whatever is not a live token of the client that asks is exactly `{"active": false}`: nobody learns why, nor that
somebody else's token exists.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from portal.consent import services as consent
from portal.identity import levels
from portal.oauth import encrypted, resource_indicators, rich_authorization, signed_answer, statements, tokens
from portal.oauth.about_token import AboutTokenEndpoint
from portal.oauth.token_endpoint import ConsentEndedError, check_in_force

if TYPE_CHECKING:
    from sqlalchemy import Row

    from portal.consent.models import Grant
    from portal.oauth.about_token import AboutToken
    from portal.oauth.request import MachineRequest
    from portal.oauth.signed_answer import SignedAnswer

MEDIA_TYPE: Final = "application/token-introspection+jwt"
_INACTIVE: Final = {"active": False}


class IntrospectionEndpoint(AboutTokenEndpoint):
    """`POST /oauth/introspect`."""

    ENDPOINT_NAME = "introspection"

    def create_response(self, validated_request: AboutToken) -> tuple[int, dict[str, Any] | SignedAnswer]:
        """Answer in JSON, or in a signed JWT when the client asked for one now or in its metadata."""
        said = _said(validated_request)
        return 200, _signed(validated_request, said) if _wants_jwt(validated_request) else said


def _said(asked: AboutToken) -> dict[str, Any]:
    request: MachineRequest = asked.request
    row = _read(asked)
    if row.token_client_id is None:
        return _INACTIVE
    if row.token_person_id is None:
        return _of_token(row, request.issuer)
    grant = _in_force(row, request)
    return _INACTIVE if grant is None else _of_token(row, request.issuer) | _of_person(asked, row, grant)


def _read(asked: AboutToken) -> Row[Any]:
    request: MachineRequest = asked.request
    about = {
        "token_hash": tokens.hash_of(asked.token), "client_id": asked.client.client_id,
        "company_id": asked.client.company_id, "now": request.now, "idle_since": request.now - tokens.REFRESH_IDLE,
    }  # fmt: skip
    row: Row[Any] = statements.INTROSPECT.one(request.database_url, request.shown.parameters() | about)
    request.shown.settle(row)
    return row


def _in_force(row: Row[Any], request: MachineRequest) -> Grant | None:
    # A paused consent keeps its tokens, as at the token endpoint: what they get is nothing, until it goes on.
    if row.grant_id is None or row.purpose is None:
        return None
    try:
        # The row has every column of the consent's own table.
        return check_in_force(cast("Grant", row), now=request.now)
    except ConsentEndedError:
        return None


def _of_token(row: Row[Any], issuer: str) -> dict[str, Any]:
    said = {
        "active": True,
        "iss": issuer,
        "aud": resource_indicators.api_of(issuer),
        "client_id": row.token_client_id,
        "scope": row.token_scope,
        "iat": int(row.token_issued_at.timestamp()),
        "exp": int(row.token_expires_at.timestamp()),
    }
    # A refresh token is bound to its client, not to a key, and has no type (RFC 6749 section 5.1).
    return said if row.token_jkt is None else said | {"token_type": "DPoP", "cnf": {"jkt": row.token_jkt}}


def _of_person(asked: AboutToken, row: Row[Any], grant: Grant) -> dict[str, Any]:
    said: dict[str, Any] = {
        "sub": row.sub or _subject(asked, row),
        "grant_id": str(grant.grant_id),
        "authorization_details": rich_authorization.granted(row.purpose, grant),
    }
    if row.token_authenticated_at is not None and row.token_level is not None:
        said |= {"auth_time": int(row.token_authenticated_at.timestamp()), "acr": levels.acr(row.token_level)}
    return said


def _subject(asked: AboutToken, row: Row[Any]) -> str:
    return consent.subject(asked.request.session, person_id=row.token_person_id, company_id=asked.client.company_id)


def _wants_jwt(asked: AboutToken) -> bool:
    return MEDIA_TYPE in asked.request.accept or asked.client.metadata.introspection_signed_response_alg is not None


def _signed(asked: AboutToken, said: dict[str, Any]) -> SignedAnswer:
    # RFC 9701 section 5: what is said of the token stays inside, so that nothing takes this for an access token.
    request: MachineRequest = asked.request
    claims = {
        "iss": request.issuer,
        "aud": asked.client.client_id,
        "iat": int(request.now.timestamp()),
        "token_introspection": said,
    }
    wants_sealed = asked.client.metadata.introspection_encrypted_response_alg is not None
    return signed_answer.make(
        request.session,
        keyring=request.keyring,
        claims=claims,
        typ="token-introspection+jwt",
        media_type=MEDIA_TYPE,
        to=encrypted.recipient(request.session, asked.client.client_id) if wants_sealed else None,
    )

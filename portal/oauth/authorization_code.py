"""Authorization codes (RFC 6749 section 4.1.2): sixty seconds, used once, bound to everything they came from."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import select, update

from portal.oauth import pkce, tokens
from portal.oauth.errors import InvalidGrantError, InvalidRequestError
from portal.oauth.models import AuthorizationCode
from portal.oauth.token_endpoint import TokenGrant

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.orm import Session

    from portal.oauth.models import PushedRequest

LIFE: Final = timedelta(seconds=60)


class CodeMissingError(InvalidRequestError):
    public = "code is missing."


class CodeUnknownError(InvalidGrantError):
    pass


class CodeUsedError(InvalidGrantError):
    pass


class CodeExpiredError(InvalidGrantError):
    pass


class RedirectUriDiffersError(InvalidGrantError):
    pass


class KeyDiffersError(InvalidGrantError):
    """RFC 9449 section 10."""


class AuthorizationCodeGrant(TokenGrant):
    """`grant_type=authorization_code` (RFC 6749 section 4.1.3)."""

    GRANT_TYPE = "authorization_code"

    def check(self) -> None:
        request = self.request
        self.code = redeem(
            request.session,
            parameters=request.parameters,
            client_id=self.caller.client_id,
            jkt=self.key.jkt,
            now=request.now,
        )
        self.consent = self.living_grant(self.code)

    def create_token_response(self) -> tuple[int, dict[str, Any]]:
        session, now = self.request.session, self.request.now
        answer = self.of_person(self.code, self.consent, self.code.scope)
        if "refresh_token" in self.caller.metadata.grant_types:
            ends = self.consent.expires_at
            answer["refresh_token"] = tokens.issue_refresh(
                session, client=self.caller, of=self.code, ends=ends, now=now
            )
        if "openid" in self.code.scope.split():
            answer["id_token"] = self.id_token(self.code, answer["sub"], nonce=self.code.nonce)
        return 200, answer


def issue(
    session: Session,
    *,
    pushed: PushedRequest,
    person_id: UUID,
    grant_id: UUID,
    authenticated_at: datetime,
    level: int,
    now: datetime,
) -> str:
    """Return a new code for what `pushed` asked and the person answered with the grant."""
    code = secrets.token_urlsafe(32)
    asked: dict[str, Any] = pushed.parameters
    session.add(
        AuthorizationCode(
            code_hash=tokens.hash_of(code), client_id=pushed.client_id, person_id=person_id, grant_id=grant_id,
            redirect_uri=asked["redirect_uri"], scope=asked["scope"], nonce=asked["nonce"],
            code_challenge=asked["code_challenge"], dpop_jkt=pushed.dpop_jkt,
            authenticated_at=authenticated_at, level=level, expires_at=now + LIFE,
        )
    )  # fmt: skip
    return code


def redeem(
    session: Session, *, parameters: Mapping[str, str], client_id: str, jkt: str, now: datetime
) -> AuthorizationCode:
    """Return the code's row, used up by this call and by no other; raise the first check that fails."""
    row = _find(session, parameters, client_id)
    _check_unused(session, row, now)
    _check_age(row, now)
    _check_redirect_uri(row, parameters)
    _check_key(row, jkt)
    pkce.check_verifier(parameters.get("code_verifier"), row.code_challenge)
    _use(session, row, now)
    return row


def _find(session: Session, parameters: Mapping[str, str], client_id: str) -> AuthorizationCode:
    if "code" not in parameters:
        raise CodeMissingError
    code_hash = tokens.hash_of(parameters["code"])
    row = session.scalar(select(AuthorizationCode).where(AuthorizationCode.code_hash == code_hash))
    if row is None or row.client_id != client_id:
        raise CodeUnknownError(private="no such code of this client")
    return row


def _check_unused(session: Session, row: AuthorizationCode, now: datetime) -> None:
    if row.used_at is not None:
        tokens.revoke_of_code(session, row.code_hash, now=now)
        raise CodeUsedError(private="the code was used before: its tokens are ended")


def _check_age(row: AuthorizationCode, now: datetime) -> None:
    if row.expires_at <= now:
        raise CodeExpiredError(private="the code is older than a minute")


def _check_redirect_uri(row: AuthorizationCode, parameters: Mapping[str, str]) -> None:
    # OAuth 2.1 clients leave it out (draft section 10.2): PKCE binds the code more tightly.
    if parameters.get("redirect_uri", row.redirect_uri) != row.redirect_uri:
        raise RedirectUriDiffersError(private="redirect_uri is not the one of the request")


def _check_key(row: AuthorizationCode, jkt: str) -> None:
    if row.dpop_jkt not in (None, jkt):
        raise KeyDiffersError(private="the proof is by another key than the request named")


def _use(session: Session, row: AuthorizationCode, now: datetime) -> None:
    # The database settles the race: a second redemption waits here for the first and then finds nothing to use.
    unused = (AuthorizationCode.code_hash == row.code_hash, AuthorizationCode.used_at.is_(None))
    statement = update(AuthorizationCode).where(*unused).values(used_at=now)
    statement = statement.execution_options(synchronize_session=False)
    if session.scalar(statement.returning(AuthorizationCode.code_hash)) is None:
        tokens.revoke_of_code(session, row.code_hash, now=now)
        raise CodeUsedError(private="the code was used by a request at the same moment")

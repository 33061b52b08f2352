"""Routes for machines: a DPoP-bound access token with the right scope, proven on every call (RFC 9449 section 7)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from flask import g, request

from portal.companies import queries as companies
from portal.consent.rules import PROVED_WITHIN
from portal.identity import levels
from portal.oauth import dpop, tokens
from portal.oauth.compact import ALGORITHMS
from portal.oauth.errors import (
    InsufficientAuthenticationError,
    InsufficientScopeError,
    InvalidProofError,
    InvalidTokenError,
    KeyDiffersError,
    OAuthError,
    TokenUnknownError,
)
from portal.oauth.resource_indicators import api_of
from portal.web import context
from portal.web.access import marked
from portal.web.problems import problem

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from uuid import UUID

    from flask import Response
    from flask.typing import ResponseReturnValue
    from sqlalchemy.orm import Session

    from portal.oauth.dpop import Proof
    from portal.oauth.models import AccessToken

# The well-known address (RFC 9728 section 3.1) of what the API says of itself.
RESOURCE_METADATA: Final = "/.well-known/oauth-protected-resource/api/v1"
_UNAUTHORIZED: Final = 401
View = TypeVar("View", bound="Callable[..., Any]")
_CREDENTIALS = re.compile(r"(?P<scheme>[A-Za-z]+) +(?P<token>[A-Za-z0-9._~+/-]+=*)", re.ASCII)
_LONGEST = 256


class TokenMissingError(InvalidTokenError):
    """No credentials at all: a bare challenge without an error code (RFC 6750 section 3.1)."""

    public = "This needs an access token."


class SchemeError(InvalidTokenError):
    public = "The access token is bound to a key: send it with the scheme DPoP and a proof."


class ClientNotActiveError(InvalidTokenError):
    pass


@dataclass(frozen=True, kw_only=True)
class TokenInfo:
    """Who calls: a client of a company, for a person when `person_id` and `grant_id` are there."""

    client_id: str
    company_id: UUID
    person_id: UUID | None
    grant_id: UUID | None
    scope: str
    jkt: str


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """A token and a proof that fit each other; the database has not been asked yet."""

    token_hash: bytes
    proof: Proof


def token_required(scope: str) -> Callable[[View], View]:
    """Guard a route by an access token with `scope`; the view finds a `TokenInfo` in `g.token`."""

    def guard(view: View) -> View:
        @wraps(view)
        def guarded(*args: object, **kwargs: object) -> ResponseReturnValue:
            try:
                g.token = _admit(scope)
            except OAuthError as error:
                return challenge(error, scope)
            return cast("ResponseReturnValue", view(*args, **kwargs))

        return marked(cast("View", guarded), f"token:{scope}")

    return guard


def credentials() -> Credentials:
    """Return what the request presents, checked as far as can be without the database.

    A route whose own statement finds the token and uses the proof up calls this instead of `token_required`.
    """
    return presented(
        request.headers.get("Authorization"), request.headers.get("DPoP"),
        method=request.method, url=context.settings().issuer + request.path, now=context.now(),
    )  # fmt: skip


def presented(authorization: str | None, proof: str | None, *, method: str, url: str, now: datetime) -> Credentials:
    """Return what the two headers of a request present, checked as `credentials` checks."""
    token = _token(authorization)
    if not proof:
        raise InvalidProofError("A DPoP proof is required.")
    checked = dpop.verify(proof, method=method, url=url, now=now, access_token=token)
    return Credentials(token_hash=tokens.hash_of(token), proof=checked)


def challenge(error: OAuthError, scope: str) -> Response:
    """Return the refusal with its `WWW-Authenticate: DPoP` challenge (RFC 9449 section 7.1)."""
    context.fail()
    status = 403 if isinstance(error, InsufficientScopeError) else 401
    code = error.code.replace("_", "-")
    response = problem(status, code, error.public)
    response.headers["WWW-Authenticate"] = _challenge(error, scope) + _where_to_ask(status)
    return response


def _where_to_ask(status: int) -> str:
    # RFC 9728 section 5.1; userinfo lies outside the resource that the metadata are about.
    issuer = context.settings().issuer
    inside = (issuer + request.path).startswith(api_of(issuer) + "/")
    return f', resource_metadata="{issuer}{RESOURCE_METADATA}"' if inside and status == _UNAUTHORIZED else ""


def _admit(scope: str) -> TokenInfo:
    shown = credentials()
    session, now = context.session(), context.now()
    row = tokens.live_access(session, shown.token_hash, now=now)
    _check_token(row, shown.proof)
    dpop.use(session, shown.proof)
    if row is None or scope not in row.scope.split():
        raise InsufficientScopeError
    _check_client(session, row.client_id)
    return TokenInfo(
        client_id=row.client_id, company_id=row.company_id, person_id=row.person_id,
        grant_id=row.grant_id, scope=row.scope, jkt=row.jkt,
    )  # fmt: skip


def _check_client(session: Session, client_id: str) -> None:
    # A token lives ten minutes, a suspension holds from the next call.
    client = companies.client(session, client_id)
    if client is None or not client.active:
        raise ClientNotActiveError


def _check_token(row: AccessToken | None, proof: Proof) -> None:
    if row is None:
        raise TokenUnknownError
    if row.jkt != proof.jkt:
        raise KeyDiffersError(private="the proof is by another key than the token's")


def _token(header: str | None) -> str:
    if header is None:
        raise TokenMissingError
    found = _CREDENTIALS.fullmatch(header)
    if found is None or len(header) > _LONGEST:
        raise TokenUnknownError(private="the Authorization header is malformed")
    if found["scheme"].lower() != "dpop":
        raise SchemeError
    return found["token"]


def _challenge(error: OAuthError, scope: str) -> str:
    parts = [] if isinstance(error, TokenMissingError) else [f'error="{error.code}"']
    if isinstance(error, InsufficientScopeError):
        parts.append(f'scope="{scope}"')
    if isinstance(error, InsufficientAuthenticationError):
        parts += [f'acr_values="{levels.acr(levels.TWO_PROOFS)}"', f"max_age={PROVED_WITHIN // timedelta(seconds=1)}"]
    parts.append(f'algs="{" ".join(ALGORITHMS)}"')
    return "DPoP " + ", ".join(parts)

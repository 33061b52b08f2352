"""Routes for machines: a DPoP-bound access token with the right scope, proven on every call (RFC 9449 section 7)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from flask import g, request

from portal.consent.rules import PROVED_WITHIN
from portal.db import Prepared
from portal.identity import levels
from portal.oauth import dpop, tokens
from portal.oauth.compact import ALGORITHMS
from portal.oauth.dpop import ProofReplayedError
from portal.oauth.errors import (
    InsufficientAuthenticationError,
    InsufficientScopeError,
    InvalidProofError,
    InvalidTokenError,
    KeyDiffersError,
    OAuthError,
    TokenExpiredError,
    TokenUnknownError,
)
from portal.oauth.resource_indicators import api_of
from portal.web import context, limits
from portal.web.access import marked
from portal.web.problems import problem

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from uuid import UUID

    from flask import Response
    from flask.typing import ResponseReturnValue
    from sqlalchemy import Row

    from portal.oauth.dpop import Proof

# The well-known address (RFC 9728 section 3.1) of what the API says of itself.
RESOURCE_METADATA: Final = "/.well-known/oauth-protected-resource/api/v1"
_UNAUTHORIZED: Final = 401
View = TypeVar("View", bound="Callable[..., Any]")
_CREDENTIALS = re.compile(r"(?P<scheme>[A-Za-z]+) +(?P<token>[A-Za-z0-9._~+/-]+=*)", re.ASCII)
_LONGEST = 256
# Where what went wrong in front of Flask waits for the view, which answers it.
FAILURE: Final = "portal.failure"
# The proof is used up with the look at its token, and by itself: it stays used when the call is then refused.  A
# proof that is not by the token's key is not, or anybody who saw the token could use up its owner's.
_ADMIT = Prepared("admit", """
    WITH held AS (
        SELECT t.client_id, t.company_id, t.person_id, t.grant_id, t.scope, t.jkt, t.expires_at > :now AS in_time,
               c.state = 'active' AND co.state <> 'suspended' AS client_active
          FROM access_token t
          JOIN client c ON c.client_id = t.client_id
          JOIN company co ON co.company_id = c.company_id
         WHERE t.token_hash = :token_hash AND t.revoked_at IS NULL),
    fresh AS (
        INSERT INTO used_proof (proof_hash, expires_at)
        SELECT :proof_hash, :proof_expires_at FROM held WHERE jkt = :jkt AND in_time
            ON CONFLICT DO NOTHING RETURNING proof_hash)
    SELECT held.*, EXISTS (SELECT FROM fresh) AS fresh FROM held
""")  # fmt: skip


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
    proof: Proof


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
            if wait := limits.pace_api(g.token.client_id):
                return limits.too_many(wait)
            return cast("ResponseReturnValue", view(*args, **kwargs))

        return marked(cast("View", guarded), f"token:{scope}")

    return guard


def credentials() -> Credentials:
    """Return what the request presents, checked as far as can be without the database.

    A route whose own statement finds the token and uses the proof up calls this instead of `token_required`.
    Raises what has gone wrong already where such a call is first tried in front of Flask (`sync.counter`).
    """
    if failure := request.environ.get(FAILURE):
        raise cast("Exception", failure)
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
    if not isinstance(error, TokenExpiredError) and (shut := limits.failed(error.code)):
        return shut
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
    row = _held(context.settings().database_url, shown, context.now())
    _check_key(row, shown.proof)
    _check_fresh(row)
    _check_scope(row, scope)
    _check_client(row)
    return TokenInfo(
        client_id=row.client_id, company_id=row.company_id, person_id=row.person_id,
        grant_id=row.grant_id, scope=row.scope, proof=shown.proof,
    )  # fmt: skip


def _held(url: str, shown: Credentials, now: datetime) -> Row[Any]:
    proof = shown.proof
    row: Row[Any] | None = _ADMIT.one(
        url,
        {
            "token_hash": shown.token_hash, "now": now, "jkt": proof.jkt,
            "proof_hash": proof.proof_hash, "proof_expires_at": proof.expires_at,
        },
    )  # fmt: skip
    if row is None:
        raise TokenUnknownError
    if not row.in_time:
        raise TokenExpiredError
    return row


def _check_key(row: Row[Any], proof: Proof) -> None:
    if row.jkt != proof.jkt:
        raise KeyDiffersError(private="the proof is by another key than the token's")


def _check_fresh(row: Row[Any]) -> None:
    if not row.fresh:
        raise ProofReplayedError


def _check_scope(row: Row[Any], scope: str) -> None:
    if scope not in row.scope.split():
        raise InsufficientScopeError


def _check_client(row: Row[Any]) -> None:
    # A token lives ten minutes, a suspension holds from the next call.
    if not row.client_active:
        raise ClientNotActiveError


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

"""Client authentication by a signed assertion, `private_key_jwt` (RFC 7523 section 3, FAPI 2.0 section 5.3.2.1).

Every failure is `invalid_client` with one sentence, so that nobody learns which clients exist.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from portal import db
from portal.companies import proofs
from portal.oauth import compact, known_clients, replay
from portal.oauth.compact import MalformedError
from portal.oauth.dpop import is_number
from portal.oauth.errors import ClientKeyUnknownError, InvalidClientError, InvalidRequestError
from portal.oauth.replay import Use

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime

    from portal.companies.queries import ClientFacts
    from portal.oauth.compact import Compact
    from portal.oauth.known_clients import Known

TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
LONGEST_LIFE: Final = timedelta(minutes=5)
TOLERANCE: Final = timedelta(seconds=10)
_CLIENT_ID = re.compile(r"[A-Za-z0-9_.-]{1,128}", re.ASCII)
_TYPES = ("JWT", "client-authentication+jwt")
_LONGEST_JTI = 512


class TwoMethodsError(InvalidRequestError):
    """RFC 6749 section 2.3."""

    public = "Authenticate by client_assertion only."


class AssertionMissingError(InvalidClientError):
    pass


class AssertionMalformedError(InvalidClientError):
    pass


class AssertionTypeError(InvalidClientError):
    pass


class AssertionIssuerError(InvalidClientError):
    pass


class AssertionSignatureError(InvalidClientError):
    pass


class AssertionAudienceError(InvalidClientError):
    pass


class AssertionTimeError(InvalidClientError):
    pass


class AssertionIdError(InvalidClientError):
    pass


class ClientDiffersError(InvalidClientError):
    """RFC 7521 section 4.2."""


class ClientNotActiveError(InvalidClientError):
    pass


def authenticate(
    url: str, *, parameters: Mapping[str, str], authorization: str | None, issuer: str, now: datetime
) -> tuple[ClientFacts, Use]:
    """Return the client that signed the assertion in `parameters`, and the assertion, which is to be used up.

    Clients are looked up in the database at `url`.
    """
    _check_one_method(parameters, authorization)
    parsed = _parsed(parameters)
    _check_type(parsed)
    client_id = _client_id(parsed)
    _check_same_client(client_id, parameters)
    known = known_clients.find(url, client_id)
    kid = _signer(parsed, known.keys if known else (), client_id)
    _check_audience(parsed, issuer)
    _check_times(parsed, now)
    client = _active(known)
    _check_algorithm(parsed, client.metadata.token_endpoint_auth_signing_alg)
    use = _once(parsed, client_id, now)
    if known is not None and kid in known.unused:
        _note_first_use(url, client_id, kid, now)
    return client, use


def _check_one_method(parameters: Mapping[str, str], authorization: str | None) -> None:
    if authorization is not None or "client_secret" in parameters:
        raise TwoMethodsError


def _parsed(parameters: Mapping[str, str]) -> Compact:
    if parameters.get("client_assertion_type") != TYPE or "client_assertion" not in parameters:
        raise AssertionMissingError(private="no assertion")
    try:
        return compact.parse(parameters["client_assertion"])
    except MalformedError as error:
        raise AssertionMalformedError(private=str(error)) from error


def _check_type(parsed: Compact) -> None:
    # A request object or a DPoP proof of the same client says so in its type, and is no authentication.
    if parsed.header.get("typ", "JWT") not in _TYPES:
        raise AssertionTypeError(private="typ is of another kind of JWT")


def _client_id(parsed: Compact) -> str:
    issuer = parsed.claims.get("iss")
    if not isinstance(issuer, str) or not _CLIENT_ID.fullmatch(issuer) or parsed.claims.get("sub") != issuer:
        raise AssertionIssuerError(private="iss and sub are not the same client id")
    return issuer


def _check_same_client(client_id: str, parameters: Mapping[str, str]) -> None:
    if parameters.get("client_id", client_id) != client_id:
        raise ClientDiffersError(private="client_id is another client's")


def _signer(parsed: Compact, registered: Collection[Mapping[str, Any]], client_id: str) -> str:
    named = parsed.header.get("kid")
    if named is not None and all(named != jwk.get("kid") for jwk in registered):
        raise ClientKeyUnknownError(client_id)
    for jwk in registered:
        if named in (None, jwk.get("kid")) and _signed(parsed, jwk):
            return str(jwk["kid"])
    raise AssertionSignatureError(private="no registered key made the signature")


def _note_first_use(url: str, client_id: str, kid: str, now: datetime) -> None:
    # Once in a key's life, in a transaction of its own: whatever becomes of the request, its holder has signed.
    with db.transaction(url) as session:
        proofs.signed(session, client_id=client_id, kid=kid, now=now)


def _signed(parsed: Compact, jwk: Mapping[str, Any]) -> bool:
    try:
        compact.verify(parsed, compact.public_key(dict(jwk)))
    except MalformedError:
        return False
    return True


def _check_algorithm(parsed: Compact, registered: str | None) -> None:
    # OpenID Connect Registration section 2; EdDSA is the older name of Ed25519 (RFC 9864).
    used = {"EdDSA": "Ed25519"}.get(parsed.header["alg"], parsed.header["alg"])
    if registered is not None and used != {"EdDSA": "Ed25519"}.get(registered, registered):
        raise AssertionSignatureError(private="the client registered another algorithm")


def _check_audience(parsed: Compact, issuer: str) -> None:
    # A list, or the address of an endpoint, could have been meant for another server as well.
    if parsed.claims.get("aud") != issuer:
        raise AssertionAudienceError(private="aud is not the issuer as one string")


def _check_times(parsed: Compact, now: datetime) -> None:
    expires = parsed.claims.get("exp")
    latest = (now + LONGEST_LIFE + TOLERANCE).timestamp()
    if not is_number(expires) or not now.timestamp() < expires <= latest:
        raise AssertionTimeError(private="exp is missing, past or too far ahead")
    for name in ("iat", "nbf"):
        moment = parsed.claims.get(name, 0)
        if not is_number(moment) or moment > (now + TOLERANCE).timestamp():
            raise AssertionTimeError(private=f"{name} is in the future")


def _active(known: Known | None) -> ClientFacts:
    if known is None or not known.facts.active:
        raise ClientNotActiveError(private="the client is suspended")
    return known.facts


def _once(parsed: Compact, client_id: str, now: datetime) -> Use:
    jti = parsed.claims.get("jti")
    if not isinstance(jti, str) or not 0 < len(jti) <= _LONGEST_JTI:
        raise AssertionIdError(private="no jti")
    return Use(
        proof_hash=replay.fingerprint("assertion", client_id, jti),
        expires_at=now + LONGEST_LIFE + 2 * TOLERANCE,
        replayed=AssertionIdError,
    )

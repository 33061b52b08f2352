"""Demonstrating proof of possession (RFC 9449): the checks of section 4.3, in its order."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeGuard
from urllib.parse import quote, unquote, urlsplit

from portal.companies import keys
from portal.oauth import compact, replay
from portal.oauth.compact import MalformedError
from portal.oauth.errors import InvalidProofError, InvalidRequestError
from portal.oauth.replay import Use
from portal.vault import base64url

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.orm import Session

    from portal.oauth.compact import Compact, VerifyKey

MAX_AGE: Final = timedelta(seconds=60)
KEPT: Final = timedelta(seconds=180)
_LONGEST_JTI = 512
_LARGEST_NUMBER = 2**53
_DEFAULT_PORTS = {"https": 443, "http": 80}
# A claim that is null is there: whoever sends one meant to send a key.
_ABSENT: Final = object()


class ProofMissingError(InvalidRequestError):
    """Not `invalid_dpop_proof`: there is none (RFC 9449 section 5; keycloak#34842)."""

    public = "A DPoP proof is required."


class ProofMalformedError(InvalidProofError):
    public = "The DPoP proof is not a well-formed signed JWT."


class ProofTypeError(InvalidProofError):
    public = "The DPoP proof must have typ dpop+jwt."


class ProofKeyError(InvalidProofError):
    public = "The DPoP proof must hold a public key and be signed by it with ES256, PS256 or EdDSA."


class ProofMethodError(InvalidProofError):
    public = "The DPoP proof is for another HTTP method."


class ProofAddressError(InvalidProofError):
    public = "The DPoP proof is for another address."


class ProofAgeError(InvalidProofError):
    public = "The DPoP proof is not from the last minute."


class ProofIdError(InvalidProofError):
    public = "The DPoP proof needs a jti."


class ProofTokenError(InvalidProofError):
    public = "The DPoP proof is for another access token."


class ProofReplayedError(InvalidProofError):
    public = "The DPoP proof was used before."


class OneTimeKeyError(InvalidProofError):
    public = "epk in the DPoP proof must be a public key to seal to: one JWK, P-256 or X25519."


@dataclass(frozen=True)
class Proof:
    """A good proof: the key's RFC 7638 thumbprint, and what the replay store must know of it.

    `epk` is the claim of that name as it was sent, a private key perhaps; `one_time_key` reads it.
    """

    jkt: str
    proof_hash: bytes
    expires_at: datetime
    epk: object = field(default=_ABSENT, repr=False)

    @property
    def once(self) -> Use:
        """The proof as something to use up (RFC 9449 section 11.1)."""
        return Use(proof_hash=self.proof_hash, expires_at=self.expires_at, replayed=ProofReplayedError)


def use(session: Session, proof: Proof) -> None:
    """Use the proof up in the session's own transaction; raise `ProofReplayedError` when it was used before."""
    try:
        replay.use(session, proof.proof_hash, proof.expires_at)
    except replay.ReplayedError as error:
        raise ProofReplayedError from error


def verify(header: str | None, *, method: str, url: str, now: datetime, access_token: str | None = None) -> Proof:
    """Check the `DPoP` header against `method`, `url` (without query) and, at a resource, the access token.

    Raises an `InvalidProofError` that names the check; whether it was used before, the database knows alone.
    """
    parsed = _parsed(header)
    _check_type(parsed)
    key = _signed_by_its_key(parsed)
    _check_method(parsed, method)
    _check_address(parsed, url)
    _check_age(parsed, now)
    _check_token(parsed, access_token)
    jkt = compact.thumbprint(key)
    fingerprint = replay.fingerprint("dpop", jkt, _jti(parsed))
    return Proof(jkt, fingerprint, now + KEPT, epk=parsed.claims.get("epk", _ABSENT))


def one_time_key(proof: Proof) -> Mapping[str, Any] | None:
    """Return `{"kid", "jwk"}` of the public key that the answer is sealed to as well, None where the proof names none.

    The proof is signed, and is for one request, so whoever holds the token's key chooses it and nobody else can.
    It opens nothing alone: what is sealed to it is sealed to the client's registered key.  Its `kid` is
    its RFC 7638 thumbprint.  Raises `OneTimeKeyError` for what a company could not register either.
    """
    if proof.epk is _ABSENT:
        return None
    if not isinstance(proof.epk, dict) or "kty" not in proof.epk:
        raise OneTimeKeyError
    try:
        [key] = keys.check({"use": keys.ENCRYPTION} | {name: v for name, v in proof.epk.items() if name != "kid"})
    except keys.KeySetError as error:
        raise OneTimeKeyError(private=error.pointer) from error
    if key.use != keys.ENCRYPTION:
        raise OneTimeKeyError
    return {"kid": key.kid, "jwk": key.jwk}


def _parsed(header: str | None) -> Compact:
    # Two DPoP headers arrive joined by a comma, which no compact JWS holds: they are malformed as well.
    if not header:
        raise ProofMissingError
    try:
        return compact.parse(header)
    except MalformedError as error:
        raise ProofMalformedError(private=str(error)) from error


def _check_type(parsed: Compact) -> None:
    if parsed.header.get("typ") != "dpop+jwt":
        raise ProofTypeError


def _signed_by_its_key(parsed: Compact) -> VerifyKey:
    try:
        key = compact.public_key(parsed.header.get("jwk"))
        compact.verify(parsed, key)
    except MalformedError as error:
        raise ProofKeyError(private=str(error)) from error
    return key


def _check_method(parsed: Compact, method: str) -> None:
    if parsed.claims.get("htm") != method:
        raise ProofMethodError


def _check_address(parsed: Compact, url: str) -> None:
    htu = parsed.claims.get("htu")
    if not isinstance(htu, str) or (htu != url and _normal(htu) != _normal(url)):
        raise ProofAddressError


def _check_age(parsed: Compact, now: datetime) -> None:
    issued = parsed.claims.get("iat")
    if not is_number(issued) or abs(now.timestamp() - issued) > MAX_AGE.total_seconds():
        raise ProofAgeError


def _jti(parsed: Compact) -> str:
    jti = parsed.claims.get("jti")
    if not isinstance(jti, str) or not 0 < len(jti) <= _LONGEST_JTI:
        raise ProofIdError
    return jti


def _check_token(parsed: Compact, access_token: str | None) -> None:
    if access_token is None:
        return
    expected = base64url.encode(hashlib.sha256(access_token.encode()).digest())
    claimed = parsed.claims.get("ath")
    if not isinstance(claimed, str) or not hmac.compare_digest(claimed.encode("utf-8", "replace"), expected.encode()):
        raise ProofTokenError


def is_number(value: object) -> TypeGuard[float]:
    """Say whether `value` is a JSON number (RFC 7519 NumericDate) that arithmetic can hold exactly."""
    # Python counts booleans as integers, and an integer of 400 digits overflows where it meets a float.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST_NUMBER


def _normal(url: str) -> tuple[str, str, int | None, str] | None:
    # RFC 9449 section 4.3 step 9: query and fragment do not count; RFC 3986 section 6.2.2 and 6.2.3 do.
    try:
        parts = urlsplit(url)
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
        # JSON can hold half of a surrogate pair, which has no form in an address.
        path = quote(unquote(parts.path)) or "/"
    except ValueError:
        return None
    if parts.username is not None or not parts.hostname:
        return None
    return parts.scheme, parts.hostname, port, path

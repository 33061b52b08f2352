"""Nested JWTs (RFC 7519 section 5.2): what the portal signed, sealed to the client that asked for it.

One algorithm for all: `ECDH-ES+A256KW` with `A256GCM` (RFC 7518 sections 4.6 and 5.3), to a key on P-256 or X25519.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from portal.companies import queries as companies
from portal.oauth.errors import InvalidRequestError
from portal.vault import envelope

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

ALGORITHM: Final = "ECDH-ES+A256KW"
ENCODING: Final = "A256GCM"


class EncryptionKeyMissingError(InvalidRequestError):
    """The client asked for encryption in its metadata, and has no live key to encrypt to."""

    public = "The client has no encryption key registered."


class Recipient(NamedTuple):
    """A client's public key that something is sealed to."""

    kid: str
    jwk: dict[str, Any]


def recipient(session: Session, client_id: str) -> Recipient:
    """Return the client's newest encryption key; raise `EncryptionKeyMissingError`."""
    found = companies.encryption_key(session, client_id)
    if found is None:
        raise EncryptionKeyMissingError
    return Recipient(*found)


def seal(jws: str, to: Recipient) -> str:
    """Return `jws` as a compact JWE (RFC 7516), whose header is `{alg, enc, kid, cty: JWT, epk}`."""
    return envelope.seal_whole(jws.encode(), cty="JWT", kid=to.kid, jwk=to.jwk)

"""The portal's signature: compact JWS (RFC 7515), ES256 only, assembled here because every push pays for it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)
from joserfc.jwk import ECKey
from sqlalchemy import select, text

from portal.vault import base64url
from portal.vault.keyring import SIGNING
from portal.vault.models import SigningKey

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.orm import Session

    from portal.vault.keyring import Keyring

ALGORITHM: Final = "ES256"
_COORDINATE_BYTES = 32
_CREATE_LOCK = 0x55434D01
_ES256 = ec.ECDSA(SHA256())
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True)
class Signer:
    """Signs with one key; `kid` is its RFC 7638 thumbprint."""

    kid: str
    _key: ec.EllipticCurvePrivateKey = field(repr=False)

    def sign(self, claims: dict[str, Any], *, typ: str) -> str:
        """Return the compact JWS of `claims` with protected header `{alg: ES256, kid, typ}`."""
        signed = _header(self.kid, typ) + "." + base64url.encode(_json(claims))
        r, s = decode_dss_signature(self._key.sign(signed.encode(), _ES256))
        return signed + "." + base64url.encode(r.to_bytes(_COORDINATE_BYTES) + s.to_bytes(_COORDINATE_BYTES))


def ensure(session: Session, *, keyring: Keyring, now: datetime) -> None:
    """Make the first signing key if there is none; two starters at once make one."""
    session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _CREATE_LOCK})
    if session.scalar(select(SigningKey.kid).where(SigningKey.retired_at.is_(None)).limit(1)) is None:
        session.add(_generate(keyring, now))


def current(session: Session, *, keyring: Keyring) -> Signer:
    """Return the signer of the newest key that is not retired; parsed once per process."""
    row = session.execute(
        select(SigningKey.kid, SigningKey.keyring_version, SigningKey.wrapped_private)
        .where(SigningKey.retired_at.is_(None))
        .order_by(SigningKey.created_at.desc())
        .limit(1)
    ).one()
    return _parse(keyring, row.kid, row.keyring_version, row.wrapped_private)


def of_row(keyring: Keyring, kid: str, version: int, wrapped: bytes) -> Signer:
    """Return the signer from the columns of a key row that a larger statement already read."""
    return _parse(keyring, kid, version, wrapped)


def public_jwks(session: Session) -> dict[str, Any]:
    """Return the JWK Set (RFC 7517 section 5) of every key a verifier may still meet."""
    keys = session.scalars(select(SigningKey.public_jwk).order_by(SigningKey.created_at.desc()))
    return {"keys": list(keys)}


def _generate(keyring: Keyring, now: datetime) -> SigningKey:
    private = ec.generate_private_key(ec.SECP256R1())
    jwk = ECKey.import_key(private.public_key())
    kid = jwk.thumbprint()
    der = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    version, wrapped = keyring.wrap(SIGNING, der, context=kid.encode())
    public = {**jwk.as_dict(private=False), "kid": kid, "use": "sig", "alg": ALGORITHM}
    return SigningKey(
        kid=kid,
        public_jwk=public,
        keyring_version=version,
        wrapped_private=wrapped,
        created_at=now,
        signs_from=now,
        retired_at=None,
    )


@lru_cache(maxsize=16)
def _parse(keyring: Keyring, kid: str, version: int, wrapped: bytes) -> Signer:
    key = load_der_private_key(keyring.unwrap(SIGNING, version, wrapped, context=kid.encode()), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("a signing key is not an elliptic-curve key")
    return Signer(kid, key)


@lru_cache(maxsize=64)
def _header(kid: str, typ: str) -> str:
    return base64url.encode(_json({"alg": ALGORITHM, "kid": kid, "typ": typ}))


def _json(value: dict[str, Any]) -> bytes:
    return _ENCODER.encode(value).encode()

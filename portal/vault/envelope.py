"""Field-level encryption to a company.

Every value is a compact JWE of its own (RFC 7516; `alg: dir`, `enc: A256GCM`, a one-time key), whose `kid` is
`attribute#version`, so that both are authenticated.  The one-time keys travel once per message as a JWK Set
inside one JWE to the company's registered key (`ECDH-ES+A256KW`, P-256 or X25519, RFC 7518 section 4.6).
Assembled here, because every push pays for it; any JOSE library opens it.

Messages that leave in one request share one key agreement, and nothing else does
(docs/decisions/0013-one-loop-sends-without-threads.md).
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import aes_key_wrap
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from portal.errors import InvalidError
from portal.vault import base64url

if TYPE_CHECKING:
    from collections.abc import Mapping

_KEY_BYTES = 32
_NONCE_BYTES = 12
_SECRET_BYTES = _KEY_BYTES + _NONCE_BYTES
_DRAWN = 8
_TAG_BYTES = 16
_COORDINATE_BYTES = 32
_WRAP = "ECDH-ES+A256KW"
_OTHER_INFO = len(_WRAP).to_bytes(4) + _WRAP.encode() + bytes(4) + bytes(4) + (_KEY_BYTES * 8).to_bytes(4)


class UnusableKeyError(InvalidError):
    code = "unusable-key"
    public = "The encryption key must be a public P-256 or X25519 key."


@dataclass(frozen=True, slots=True)
class Field:
    """One value on its way out: its JSON text, and the version of it."""

    version: int
    value: str = field(repr=False)


class _Secret(NamedTuple):
    """A key that encrypts once, and the nonce for it."""

    key: bytes
    nonce: bytes


@dataclass(frozen=True, slots=True)
class Envelope:
    """`values` maps each attribute to its JWE; `keys` is the JWE of the JWK Set that opens them."""

    values: dict[str, str]
    keys: str


@dataclass(frozen=True, slots=True)
class _Agreement:
    """A key that wraps content keys, by an ephemeral key that is made for it and kept nowhere; `epk` is public."""

    key: bytes = field(repr=False)
    epk: Mapping[str, str]


class Sealing:
    """Seals what leaves in one request: one key agreement with each of the keys it is sealed to."""

    def __init__(self) -> None:
        self._agreed: dict[bytes, _Agreement] = {}
        self._ways: dict[tuple[str, str, bytes], tuple[bytes, str]] = {}
        self._unused: list[_Secret] = []

    def seal(self, fields: Mapping[str, Field], *, kid: str, jwk: Mapping[str, str]) -> Envelope:
        """Seal `fields` to the company's public `jwk` named `kid`; raise `UnusableKeyError` for a bad key."""
        secrets = {name: self._secret() for name in fields}
        values = {name: _seal_field(name, field, secrets[name]) for name, field in fields.items()}
        key_set = {
            "keys": [
                {"kty": "oct", "kid": f"{name}#{fields[name].version}", "use": "enc", "k": base64url.encode(secret.key)}
                for name, secret in secrets.items()
            ]
        }
        return Envelope(
            values=values, keys=self.seal_whole(orjson.dumps(key_set), cty="jwk-set+json", kid=kid, jwk=jwk)
        )

    def seal_whole(self, plain: bytes, *, cty: str, kid: str, jwk: Mapping[str, str]) -> str:
        """Return `plain`, a thing of content type `cty`, as one JWE to the company's public `jwk` named `kid`."""
        secret = self._secret()
        wrapping, header = self._way(kid, cty, orjson.dumps(jwk))
        return _compact(header, aes_key_wrap(wrapping, secret.key), secret, plain)

    def _way(self, kid: str, cty: str, jwk: bytes) -> tuple[bytes, str]:
        """Return the key that wraps content keys to `jwk`, and the protected header that says so."""
        known = self._ways.get((kid, cty, jwk))
        if known is None:
            agreed = self._agreed.get(jwk)
            if agreed is None:
                agreed = self._agreed[jwk] = _agree(recipient(jwk))
            parts = {"alg": _WRAP, "enc": "A256GCM", "kid": kid, "cty": cty, "epk": agreed.epk}
            known = self._ways[kid, cty, jwk] = agreed.key, _protected(parts)
        return known

    def _secret(self) -> _Secret:
        # One call to the system for the randomness of several messages.
        if not self._unused:
            drawn = os.urandom(_DRAWN * _SECRET_BYTES)
            parts = [drawn[start : start + _SECRET_BYTES] for start in range(0, len(drawn), _SECRET_BYTES)]
            self._unused = [_Secret(part[:_KEY_BYTES], part[_KEY_BYTES:]) for part in parts]
        return self._unused.pop()


def seal(fields: Mapping[str, Field], *, kid: str, jwk: Mapping[str, str]) -> Envelope:
    """Seal one message's `fields` as `Sealing.seal` does, by a key agreement of its own."""
    return Sealing().seal(fields, kid=kid, jwk=jwk)


def seal_whole(plain: bytes, *, cty: str, kid: str, jwk: Mapping[str, str]) -> str:
    """Return `plain` as `Sealing.seal_whole` does, by a key agreement of its own."""
    return Sealing().seal_whole(plain, cty=cty, kid=kid, jwk=jwk)


@lru_cache(maxsize=4096)
def recipient(jwk: bytes) -> ec.EllipticCurvePublicKey | x25519.X25519PublicKey:
    """Parse a public JWK (RFC 7518 section 6.2, RFC 8037); raise `UnusableKeyError` for any other."""
    try:
        members = orjson.loads(jwk)
        x = base64url.decode(members["x"])
        if (members["kty"], members["crv"]) == ("OKP", "X25519"):
            key = x25519.X25519PublicKey.from_public_bytes(x)
            # A point of small order agrees with nobody (RFC 7748 section 6.1); better refused than met later.
            x25519.X25519PrivateKey.generate().exchange(key)
            return key
        if (members["kty"], members["crv"]) == ("EC", "P-256"):
            y = base64url.decode(members["y"])
            numbers = ec.EllipticCurvePublicNumbers(int.from_bytes(x), int.from_bytes(y), ec.SECP256R1())
            return numbers.public_key()
    except (KeyError, ValueError, TypeError) as error:
        raise UnusableKeyError(private=type(error).__name__) from error
    raise UnusableKeyError


def _seal_field(name: str, field: Field, secret: _Secret) -> str:
    return _compact(_field_header(f"{name}#{field.version}"), b"", secret, field.value.encode())


@lru_cache(maxsize=4096)
def _field_header(kid: str) -> str:
    return _protected({"alg": "dir", "enc": "A256GCM", "kid": kid, "cty": "json"})


def _agree(public: ec.EllipticCurvePublicKey | x25519.X25519PublicKey) -> _Agreement:
    # RFC 7518 section 4.6 asks for a fresh ephemeral key per agreement.
    if isinstance(public, x25519.X25519PublicKey):
        ephemeral = x25519.X25519PrivateKey.generate()
        raw = ephemeral.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        epk = {"kty": "OKP", "crv": "X25519", "x": base64url.encode(raw)}
        return _Agreement(_derive(ephemeral.exchange(public)), epk)
    private = ec.generate_private_key(ec.SECP256R1())
    point = private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    x, y = point[1 : 1 + _COORDINATE_BYTES], point[1 + _COORDINATE_BYTES :]
    epk = {"kty": "EC", "crv": "P-256", "x": base64url.encode(x), "y": base64url.encode(y)}
    return _Agreement(_derive(private.exchange(ec.ECDH(), public)), epk)


def _derive(shared: bytes) -> bytes:
    # Concat KDF with empty PartyUInfo and PartyVInfo (RFC 7518 section 4.6.2); a key of one hash is one round.
    return hashlib.sha256((1).to_bytes(4) + shared + _OTHER_INFO).digest()


def _protected(header: dict[str, Any]) -> str:
    return base64url.encode(orjson.dumps(header))


def _compact(protected: str, wrapped: bytes, secret: _Secret, plain: bytes) -> str:
    sealed = AESGCM(secret.key).encrypt(secret.nonce, plain, protected.encode())
    key, nonce = base64url.encode(wrapped), base64url.encode(secret.nonce)
    body, tag = base64url.encode(sealed[:-_TAG_BYTES]), base64url.encode(sealed[-_TAG_BYTES:])
    return f"{protected}.{key}.{nonce}.{body}.{tag}"

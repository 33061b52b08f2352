"""Compact JWS (RFC 7515 section 7.1) read strictly: what a proof or an assertion may look like at all.

Strict means: three parts of plain base64url, JSON objects without duplicate members, no `crit`, an algorithm
of the profile (FAPI 2.0 section 5.4.1) that fits the key, and a key of the right kind and size.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from portal.vault import base64url

if TYPE_CHECKING:
    from collections.abc import Mapping

ALGORITHMS: Final = ("ES256", "PS256", "EdDSA", "Ed25519")
_LONGEST = 8192
_COORDINATE_BYTES = 32
_ES256 = ec.ECDSA(SHA256())
_SHAPE = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", re.ASCII)
_SECRET_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_PUBLIC_MEMBERS = {"EC": ("crv", "x", "y"), "RSA": ("n", "e"), "OKP": ("crv", "x")}
_RSA_BITS = range(2048, 8193)
_RSA_LARGEST_EXPONENT = 2**32

VerifyKey = ECKey | RSAKey | OKPKey


class MalformedError(ValueError):
    """Not a compact JWS of this profile; the text names the reason and never what was sent."""


@dataclass(frozen=True)
class Compact:
    """A parsed, not yet verified JWS: header and claims, and the bytes the signature is over."""

    header: Mapping[str, Any]
    claims: Mapping[str, Any]
    signed: bytes = field(repr=False)
    signature: bytes = field(repr=False)


def parse(text: str) -> Compact:
    """Take `text` apart; raise `MalformedError` for anything but a well-formed compact JWS."""
    if len(text) > _LONGEST or not _SHAPE.fullmatch(text):
        raise MalformedError("not a compact JWS")
    header, claims, signature = text.split(".")
    parsed = Compact(_object(header), _object(claims), text.rpartition(".")[0].encode(), _bytes(signature))
    if "crit" in parsed.header or "b64" in parsed.header:
        raise MalformedError("critical header members are not understood")
    return parsed


def read_json(text: str) -> Any:  # noqa: ANN401 - whatever JSON holds
    """Return the value of JSON `text`; raise `MalformedError` for duplicate members, NaN and deep nesting."""
    try:
        return _DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        raise MalformedError("not JSON") from error


def public_key(jwk: object) -> VerifyKey:
    """Return the public key of a JWK (RFC 7517) that one of the profile's algorithms can use."""
    if not isinstance(jwk, dict) or _SECRET_MEMBERS & jwk.keys():
        raise MalformedError("not a public JWK")
    kty = jwk.get("kty")
    names = _PUBLIC_MEMBERS.get(kty) if isinstance(kty, str) else None
    if names is None or not all(isinstance(jwk.get(name), str) and jwk[name].isascii() for name in names):
        raise MalformedError("not a key of a supported kind")
    return _import(str(kty), tuple((name, jwk[name]) for name in names))


def verify(parsed: Compact, key: VerifyKey) -> None:
    """Raise `MalformedError` unless `key` made the signature, with the algorithm the header names."""
    algorithm = parsed.header.get("alg")
    if algorithm not in algorithms_of(key):
        raise MalformedError("the algorithm is not allowed with this key")
    try:
        good = _signed_by(key, str(algorithm), parsed)
    except (JoseError, ValueError) as error:
        raise MalformedError("the signature cannot be checked") from error
    if not good:
        raise MalformedError("the signature is wrong")


def thumbprint(key: VerifyKey) -> str:
    """Return the RFC 7638 thumbprint of a key that `public_key` made; it is kept with the key as its name."""
    key.ensure_kid()
    return str(key.kid)


def algorithms_of(key: VerifyKey) -> tuple[str, ...]:
    """Return the algorithms that `key` may be used with."""
    if isinstance(key, ECKey):
        return ("ES256",)
    return ("PS256",) if isinstance(key, RSAKey) else ("EdDSA", "Ed25519")


def _signed_by(key: VerifyKey, algorithm: str, parsed: Compact) -> bool:
    if not isinstance(key, ECKey):
        return JWSRegistry.algorithms[algorithm].verify(parsed.signed, parsed.signature, key)
    # ES256 (RFC 7518 section 3.4) comes with every request: r and s, 32 bytes each.
    if len(parsed.signature) != 2 * _COORDINATE_BYTES:
        return False
    r, s = parsed.signature[:_COORDINATE_BYTES], parsed.signature[_COORDINATE_BYTES:]
    try:
        key.public_key.verify(encode_dss_signature(int.from_bytes(r), int.from_bytes(s)), parsed.signed, _ES256)
    except InvalidSignature:
        return False
    return True


@lru_cache(maxsize=4096)
def _import(kty: str, members: tuple[tuple[str, str], ...]) -> VerifyKey:
    # Parsing a key costs more than checking a signature with it, and a client keeps its key for long.
    jwk: dict[str, str | list[str]] = {"kty": kty, **dict(members)}
    try:
        if kty == "RSA":
            return _sized(RSAKey.import_key(jwk))
        key = ECKey.import_key(jwk) if kty == "EC" else OKPKey.import_key(jwk)
        key.public_key  # noqa: B018 - reading it parses the point, which is what must succeed here
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise MalformedError("the key cannot be read") from error
    if jwk["crv"] != ("P-256" if kty == "EC" else "Ed25519"):
        raise MalformedError("the key is on another curve")
    return key


def _sized(key: RSAKey) -> RSAKey:
    public = key.public_key
    if not isinstance(public, RSAPublicKey) or public.key_size not in _RSA_BITS:
        raise MalformedError("the RSA key has the wrong size")
    if public.public_numbers().e > _RSA_LARGEST_EXPONENT:
        raise MalformedError("the RSA exponent is too large")
    return key


def _object(part: str) -> dict[str, Any]:
    try:
        text = _bytes(part).decode()
    except UnicodeDecodeError as error:
        raise MalformedError("not UTF-8") from error
    value = read_json(text)
    if not isinstance(value, dict):
        raise MalformedError("not a JSON object")
    return value


def _bytes(part: str) -> bytes:
    try:
        decoded = base64url.decode(part)
    except ValueError as error:
        raise MalformedError("not base64url") from error
    if base64url.encode(decoded) != part:
        raise MalformedError("not canonical base64url")
    return decoded


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise MalformedError("a JSON member appears twice")
    return found


def _refuse_constant(name: str) -> None:
    raise MalformedError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_refuse_constant)

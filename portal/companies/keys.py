"""Checking the public keys of a client (RFC 7517): what is stored can be used, and is public."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import orjson

from portal.errors import InvalidError
from portal.vault import base64url, envelope

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

SIGNING, ENCRYPTION = "sig", "enc"
# The member of a JWK that names the department which holds the key (RFC 7517 section 4 lets others be added).
GROUP = "ucm_group"
ALGORITHMS = ("ES256", "PS256", "EdDSA", "Ed25519")
KEYS = 20
TEXT_BYTES = 32_768

_PRIVATE = ("d", "p", "q", "dp", "dq", "qi", "oth", "k")
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+")
_KID = re.compile(r"[\x21-\x7e]{1,128}")
_GROUP = re.compile(r"[a-z][a-z0-9-]{0,31}")
_COORDINATE_BYTES = 32
# As strong as P-256 (NIST SP 800-57 part 1, table 2); FAPI 2.0 section 5.4.1 asks for 2048 at least.
_RSA_BITS = range(3072, 8193)
_EXPONENTS = range(65_537, 1 << 32, 2)
_MEMBERS = {"EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x"), "RSA": ("e", "kty", "n")}
# What each kind of key is good for, and the algorithms it may name (RFC 7518, RFC 8037, RFC 9864).
_ALGORITHMS = {
    (SIGNING, "EC", "P-256"): ("ES256",),
    (SIGNING, "OKP", "Ed25519"): ("Ed25519", "EdDSA"),
    (SIGNING, "RSA", None): ("PS256",),
    (ENCRYPTION, "EC", "P-256"): ("ECDH-ES+A256KW",),
    (ENCRYPTION, "OKP", "X25519"): ("ECDH-ES+A256KW",),
}
_FIT = {
    SIGNING: "A signing key must be EC P-256, Ed25519, or RSA of at least 3072 bits.",
    ENCRYPTION: "An encryption key must be EC P-256 or X25519.",
}
_P256 = 2**256 - 2**224 + 2**192 + 2**96 - 1
_P25519 = 2**255 - 19
_D25519 = -121665 * pow(121666, -1, _P25519) % _P25519


class KeySetError(InvalidError):
    """A JWK Set cannot be used (RFC 7591 section 3.2.2: invalid_client_metadata)."""

    code = "invalid-keys"


class PrivateKeyError(KeySetError):
    """What was sent or fetched as a public key is a private one."""


@dataclass(frozen=True, kw_only=True)
class PublicKey:
    """A key as it is stored: only public members, with its `kid` and `use`; `group` is empty but for a department's."""

    kid: str
    use: str
    jwk: dict[str, Any]
    thumbprint: str
    group: str = ""

    def of_group(self, group: str) -> PublicKey:
        """Return it as the key of a department (`group` as `group_name` lets pass), unless it is one's already."""
        if self.use != ENCRYPTION or self.group or not group:
            return self
        return replace(self, group=group, jwk={**self.jwk, GROUP: group})


def read(text: str) -> object:
    """Return the JSON in `text`; raise `KeySetError` when it is too long or no JSON."""
    if len(text.encode()) > TEXT_BYTES:
        raise KeySetError(f"A key set is at most {TEXT_BYTES // 1024} KB.", pointer="/jwks")
    try:
        return json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise KeySetError("This is not JSON. Paste the whole JWK Set, from { to }.", pointer="/jwks") from None


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    # Two readers of the same key set could take different ones of two members with one name (RFC 8259 section 4).
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found


def check(jwks: object) -> list[PublicKey]:
    """Return the keys of a JWK Set, or of a single JWK; raise `KeySetError` pointing at the first bad part."""
    members = _members(jwks)
    return _each_once([_key(member, pointer=f"/jwks/keys/{position}") for position, member in enumerate(members)])


def usable(jwks: object) -> list[PublicKey]:
    """Return the keys of a set that was fetched; one that is of no use here is meant for somebody else.

    RFC 7517 section 5 has them passed over; a private key is refused all the same.  Raises `KeySetError`.
    """
    found = []
    for position, member in enumerate(_members(jwks)):
        try:
            found.append(_key(member, pointer=f"/jwks/keys/{position}"))
        except PrivateKeyError:
            raise
        except KeySetError:
            continue
    return _each_once(found)


def _each_once(found: list[PublicKey]) -> list[PublicKey]:
    kids = [key.kid for key in found]
    thumbprints = [key.thumbprint for key in found]
    for position, key in enumerate(found):
        if key.kid in kids[:position]:
            raise KeySetError("Two keys have the same kid.", pointer=f"/jwks/keys/{position}/kid")
        if key.thumbprint in thumbprints[:position]:
            raise KeySetError("The same key is there twice: use one for each purpose.",
                              pointer=f"/jwks/keys/{position}")  # fmt: skip
    return found


def complete(kinds: Collection[tuple[str, str]]) -> None:
    """Check that keys of these kinds, (use, group) each, suffice for a client; raise `KeySetError` for what is missing.

    One to sign and one to encrypt must belong to no department: what no department is named for is sealed to it.
    """
    for use, act in ((SIGNING, "sign in to this portal"), (ENCRYPTION, "open what you are sent")):
        if (use, "") in kinds:
            continue
        also = f" and without {GROUP}" if any(kind[0] == use for kind in kinds) else ""
        raise KeySetError(f'Add a key with "use": "{use}"{also}, with which you {act}.', pointer="/jwks/keys")


def group_name(given: object, *, pointer: str) -> str:
    """Return the name of a department, or nothing when none is given; raise `KeySetError`."""
    if given in (None, ""):
        return ""
    if not isinstance(given, str) or not _GROUP.fullmatch(given):
        raise KeySetError("Name a department by a to z, 0 to 9 and hyphens, a letter first, at most 32.",
                          pointer=pointer)  # fmt: skip
    return given


def _members(jwks: object) -> list[object]:
    if isinstance(jwks, dict) and "kty" in jwks:
        return [jwks]
    members = jwks.get("keys") if isinstance(jwks, dict) else None
    if not isinstance(members, list) or not members:
        raise KeySetError('A JWK Set is an object with a list of "keys".', pointer="/jwks")
    if len(members) > KEYS:
        raise KeySetError(f"Send at most {KEYS} keys.", pointer="/jwks/keys")
    return members


def _key(member: object, *, pointer: str) -> PublicKey:
    if not isinstance(member, dict):
        raise KeySetError("Each key is an object.", pointer=pointer)
    _refuse_private(member, pointer=pointer)
    use, kty = member.get("use"), member.get("kty")
    if not isinstance(use, str) or use not in _FIT:
        raise KeySetError('Say what the key is for: "use" is "sig" or "enc".', pointer=f"{pointer}/use")
    algorithms = _algorithms(use, kty, member.get("crv"))
    if not algorithms:
        raise KeySetError(_FIT[use], pointer=f"{pointer}/kty")
    if member.get("alg", algorithms[0]) not in algorithms:
        raise KeySetError(f'For this key, "alg" is {algorithms[0]}.', pointer=f"{pointer}/alg")
    public = {name: member.get(name) for name in _MEMBERS[cast("str", kty)]}
    _check_numbers(use, public, pointer=pointer)
    thumbprint = _thumbprint(public)
    kid = _kid(member.get("kid", thumbprint), pointer=pointer)
    group = group_name(member.get(GROUP), pointer=f"{pointer}/{GROUP}") if use == ENCRYPTION else ""
    found = PublicKey(kid=kid, use=use, thumbprint=thumbprint,
                      jwk={**public, "kid": kid, "use": use, "alg": algorithms[0]})  # fmt: skip
    return found.of_group(group)


def _algorithms(use: str, kty: object, crv: object) -> tuple[str, ...]:
    # Members of any type may come in; only texts are looked up.
    curve = None if kty == "RSA" else crv
    if not isinstance(kty, str) or not isinstance(curve, str | None):
        return ()
    return _ALGORITHMS.get((use, kty, curve), ())


def _refuse_private(member: Mapping[str, object], *, pointer: str) -> None:
    for name in _PRIVATE:
        if name in member:
            raise PrivateKeyError(
                f'This is a private key: it has the member "{name}". Send the public half only, and replace this key, '
                "for it has now left your hands.",
                pointer=f"{pointer}/{name}",
            )


def _kid(kid: object, *, pointer: str) -> str:
    if not isinstance(kid, str) or not _KID.fullmatch(kid):
        raise KeySetError("A kid is a text of at most 128 printable characters.", pointer=f"{pointer}/kid")
    return kid


def _check_numbers(use: str, public: Mapping[str, object], *, pointer: str) -> None:
    numbers = {name: _number(value) for name, value in public.items() if name not in {"kty", "crv"}}
    for name, number in numbers.items():
        if number is None:
            raise KeySetError(f'"{name}" must be base64url without padding.', pointer=f"{pointer}/{name}")
    known = {name: number for name, number in numbers.items() if number is not None}
    if public["kty"] == "RSA":
        _check_rsa(known, pointer=pointer)
    elif any(len(number) != _COORDINATE_BYTES for number in known.values()):
        raise KeySetError("Each coordinate of this key is 32 bytes long.", pointer=f"{pointer}/x")
    elif public["kty"] == "EC" and any(int.from_bytes(number) >= _P256 for number in known.values()):
        # OpenSSL takes them modulo the prime: one key would have two thumbprints (SEC 1 section 3.2.2.1).
        raise KeySetError("A coordinate is too large for P-256.", pointer=f"{pointer}/x")
    elif public.get("crv") == "Ed25519":
        _check_ed25519(known["x"], pointer=pointer)
    else:
        _check_point(use, public, pointer=pointer)


def _number(value: object) -> bytes | None:
    if not isinstance(value, str) or not _BASE64URL.fullmatch(value):
        return None
    try:
        decoded = base64url.decode(value)
    except ValueError:
        return None
    return decoded if base64url.encode(decoded) == value else None


def _check_rsa(numbers: Mapping[str, bytes], *, pointer: str) -> None:
    modulus, exponent = int.from_bytes(numbers["n"]), int.from_bytes(numbers["e"])
    if modulus.bit_length() not in _RSA_BITS or not modulus % 2:
        raise KeySetError(_FIT[SIGNING], pointer=f"{pointer}/n")
    if exponent not in _EXPONENTS:
        raise KeySetError("Use the exponent 65537 (AQAB).", pointer=f"{pointer}/e")


def _check_ed25519(encoded: bytes, *, pointer: str) -> None:
    # RFC 8032 section 5.1.3: y names a point only when (y² - 1) / (d y² + 1) is a square.
    y = int.from_bytes(encoded, "little") & (1 << 255) - 1
    square = (y * y - 1) * pow(_D25519 * y * y + 1, -1, _P25519) % _P25519
    if y >= _P25519 or square == 0 or pow(square, (_P25519 - 1) // 2, _P25519) != 1:
        raise KeySetError("This is not a point of Ed25519.", pointer=f"{pointer}/x")


def _check_point(use: str, public: Mapping[str, object], *, pointer: str) -> None:
    # Shown now, rather than at the first message, that it can be sealed to.
    try:
        envelope.recipient(orjson.dumps(public))
    except envelope.UnusableKeyError:
        curve = public["crv"]
        raise KeySetError(f"This is not a point of {curve} that a key of use {use} can be.",
                          pointer=f"{pointer}/x") from None  # fmt: skip


def _thumbprint(public: Mapping[str, object]) -> str:
    # RFC 7638 section 3: the required members, sorted, without spaces.
    canonical = json.dumps(dict(sorted(public.items())), separators=(",", ":"))
    return base64url.encode(hashlib.sha256(canonical.encode()).digest())

"""The key-encryption keys, by purpose and version, from a file only its owner can read.

A provider wraps and unwraps; it never hands a key out, so that a key service can take the file's place.
"""

from __future__ import annotations

import json
import os
import stat
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from portal.errors import MisconfiguredError, PortalError

if TYPE_CHECKING:
    from pathlib import Path

PROFILE = "profile"
INDEX = "index"
SIGNING = "signing"
SESSION = "session"
PURPOSES = (PROFILE, INDEX, SIGNING, SESSION)
_KEY_BYTES = 32
_NONCE_BYTES = 12


class KeyringExposedError(MisconfiguredError):
    code = "keyring-exposed"
    public = "The keyring file can be read by others than its owner: run chmod 600 on it."


class SealBrokenError(PortalError):
    """A ciphertext does not belong where it was found, or its key is another; one error for every cause."""

    code = "seal-broken"
    status = 500
    public = "A stored detail could not be opened."


class Keyring(Protocol):
    """What the vault asks of a key provider: a file, or a key service; hashable, one object a process."""

    def __hash__(self) -> int: ...

    def wrap(self, purpose: str, key: bytes, *, context: bytes) -> tuple[int, bytes]:
        """Return (version of the wrapping key, wrapped key); `context` is authenticated, not stored."""

    def unwrap(self, purpose: str, version: int, wrapped: bytes, *, context: bytes) -> bytes:
        """Return the key; raise `SealBrokenError` for a wrong version, context or byte."""

    def derive(self, purpose: str, info: bytes) -> bytes:
        """Return 32 bytes that only this purpose's first key can derive (HKDF-Expand, RFC 5869)."""


@dataclass(frozen=True, eq=False)
class FileKeyring:
    """A keyring in a JSON file: `{purpose: {"current": n, "keys": {n: base64}}}`."""

    keys: dict[str, dict[int, bytes]] = field(repr=False)
    current: dict[str, int]

    def wrap(self, purpose: str, key: bytes, *, context: bytes) -> tuple[int, bytes]:
        version = self.current[purpose]
        nonce = os.urandom(_NONCE_BYTES)
        return version, nonce + AESGCM(self.keys[purpose][version]).encrypt(nonce, key, context)

    def unwrap(self, purpose: str, version: int, wrapped: bytes, *, context: bytes) -> bytes:
        kek = self.keys[purpose].get(version)
        if kek is None:
            raise SealBrokenError(private=f"no {purpose} key of version {version}")
        try:
            return AESGCM(kek).decrypt(wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], context)
        except (InvalidTag, ValueError) as error:
            raise SealBrokenError(private=f"{purpose} key of version {version} does not open it") from error

    def derive(self, purpose: str, info: bytes) -> bytes:
        first = self.keys[purpose][min(self.keys[purpose])]
        return HKDFExpand(algorithm=SHA256(), length=_KEY_BYTES, info=info).derive(first)


def create(path: Path) -> None:
    """Write a new keyring with one key per purpose, mode 0600; never overwrite one."""
    content = {
        purpose: {"current": 1, "keys": {"1": b64encode(os.urandom(_KEY_BYTES)).decode()}} for purpose in PURPOSES
    }
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(content, file, indent=1)


@cache
def load(path: Path) -> FileKeyring:
    """Read the keyring; raise `KeyringExposedError` or `MisconfiguredError` rather than start unsafely."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise KeyringExposedError
        content = json.loads(path.read_text())
        keys = {purpose: _keys_of(content[purpose]["keys"]) for purpose in PURPOSES}
        current = {purpose: int(content[purpose]["current"]) for purpose in PURPOSES}
        _ = [keys[purpose][version] for purpose, version in current.items()]
    except FileNotFoundError as error:
        raise MisconfiguredError("The keyring file does not exist.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise MisconfiguredError("The keyring file is damaged.") from error
    return FileKeyring(keys=keys, current=current)


def _keys_of(encoded: dict[str, str]) -> dict[int, bytes]:
    keys = {int(version): b64decode(value, validate=True) for version, value in encoded.items()}
    if any(len(key) != _KEY_BYTES for key in keys.values()):
        raise ValueError("a key has the wrong length")
    return keys

"""A person's vault: one root key a person, one sealed value an attribute version.

A sealed value is `suite byte ‖ nonce ‖ AES-256-GCM(padded plaintext)`, with person, attribute and version as
additional authenticated data, so that no ciphertext can be moved or swapped unnoticed, nor an old one shown under
a newer version.  Whoever can write to the database could put an old value back together with its old version.
"""

from __future__ import annotations

import hmac
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from sqlalchemy import delete

from portal.vault.keyring import PROFILE, SealBrokenError
from portal.vault.models import PersonKey

if TYPE_CHECKING:
    from collections.abc import Collection
    from uuid import UUID

    from sqlalchemy.orm import Session

    from portal.vault.keyring import Keyring

_SUITE = b"\x01"
_NONCE_BYTES = 12
_KEY_BYTES = 32
_BLOCK = 32
_PAD = b"\x80"


@dataclass(frozen=True)
class PersonVault:
    """Seals and opens the values of one person; its key stays out of every `repr`."""

    person_id: UUID
    _aead: AESGCM = field(repr=False)

    def seal(self, attribute: str, version: int, value: str) -> bytes:
        """Return `value` sealed for this person's `attribute` at `version`; the length is hidden to 32 bytes."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._aead.encrypt(nonce, _pad(value.encode()), self._bound_to(attribute, version))
        return _SUITE + nonce + sealed

    def open(self, attribute: str, version: int, sealed: bytes) -> str:
        """Return the value; raise `SealBrokenError` if it was sealed for anything else."""
        if sealed[:1] != _SUITE:
            raise SealBrokenError(private="unknown suite")
        nonce, body = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        try:
            return _unpad(self._aead.decrypt(nonce, body, self._bound_to(attribute, version))).decode()
        except (InvalidTag, ValueError) as error:
            raise SealBrokenError(private=f"{attribute} version {version}") from error

    def _bound_to(self, attribute: str, version: int) -> bytes:
        parts = (b"ucm-value-v1", self.person_id.bytes, attribute.encode(), version.to_bytes(8))
        return b"".join(len(part).to_bytes(2) + part for part in parts)


def create(session: Session, *, keyring: Keyring, person_id: UUID) -> PersonVault:
    """Make and store the root key of a new person."""
    root = os.urandom(_KEY_BYTES)
    version, wrapped = keyring.wrap(PROFILE, root, context=person_id.bytes)
    session.add(
        PersonKey(
            person_id=person_id, keyring_version=version, wrapped_root=wrapped, commitment=_expand(root, b"commit")
        )
    )
    return PersonVault(person_id, AESGCM(_expand(root, b"values")))


def shred(session: Session, *, person_ids: Collection[UUID]) -> None:
    """Delete the root keys of `person_ids`: whatever was sealed for them can never be opened again."""
    session.execute(delete(PersonKey).where(PersonKey.person_id.in_(person_ids)))


def unlock(session: Session, *, keyring: Keyring, person_id: UUID) -> PersonVault:
    """Return the vault of `person_id`; raise `SealBrokenError` when its key is gone or does not open."""
    row = session.get(PersonKey, person_id)
    if row is None:
        raise SealBrokenError(private="no key: the person was erased")
    return unlock_row(keyring, person_id, row.keyring_version, row.wrapped_root, row.commitment)


def unlock_row(keyring: Keyring, person_id: UUID, version: int, wrapped: bytes, commitment: bytes) -> PersonVault:
    """Return the vault from the columns of a key row that a larger statement already read."""
    root = keyring.unwrap(PROFILE, version, wrapped, context=person_id.bytes)
    if not hmac.compare_digest(_expand(root, b"commit"), commitment):
        raise SealBrokenError(private="the root key is not the one committed to")
    return PersonVault(person_id, AESGCM(_expand(root, b"values")))


def _expand(root: bytes, label: bytes) -> bytes:
    return HKDFExpand(algorithm=SHA256(), length=_KEY_BYTES, info=b"ucm-person-" + label).derive(root)


def _pad(plain: bytes) -> bytes:
    # ISO/IEC 7816-4: a one bit, then zeros, to the next multiple of the block.
    return (plain + _PAD).ljust(-(-(len(plain) + 1) // _BLOCK) * _BLOCK, b"\x00")


def _unpad(padded: bytes) -> bytes:
    plain, mark, rest = padded.rpartition(_PAD)
    if not mark or rest.strip(b"\x00"):
        raise ValueError("padding is broken")
    return plain

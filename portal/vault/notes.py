"""Signed notes (C2SP signed-note 1.0): text that anybody can check who knows a name and a key, Ed25519 (RFC 8032) only.

A signature of type 1 is over the text; one of type 4 is a witness's, over the text and the time that it saw it at
(C2SP tlog-cosignature 1.0).
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from portal.errors import PortalError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

LOG: Final = 1
WITNESS: Final = 4
MOST_SIGNATURES = 32
_ID_BYTES, _TIME_BYTES, _KEY_BYTES, _SIGNATURE_BYTES = 4, 8, 32, 64
_LINE = re.compile(r"— (?P<name>[^\s+]+) (?P<signature>[A-Za-z0-9+/]+={0,2})")
_NAME = re.compile(r"[^\s+]+")
_VKEY = re.compile(r"(?P<name>[^\s+]+)\+(?P<id>[0-9a-f]{8})\+(?P<key>[A-Za-z0-9+/]+={0,2})")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")


class NoteRefusedError(PortalError):
    """What was shown is no note, or nobody who is known has signed it."""

    code = "note-refused"
    public = "This is not a note that a known key has signed."


class VerifierUnreadableError(PortalError):
    """A verifier key is not written as it should be, or is for a kind of signature that is not known."""

    code = "verifier-unreadable"
    public = "This is not a key for checking a log: it looks like name+8 digits+base64."


@dataclass(frozen=True)
class Verifier:
    """Who signs: a name, the kind of signature (`LOG` or `WITNESS`) and 32 bytes of public key."""

    name: str
    kind: int
    public: bytes

    @classmethod
    def read(cls, text: str) -> Self:
        """Return the one that is written as `name+id+base64` (signed-note, verifier keys).

        Raises `VerifierUnreadableError`.
        """
        found = _VKEY.fullmatch(text.strip())
        material = _decoded(found["key"]) if found else b""
        if found is None or len(material) != 1 + _KEY_BYTES or material[0] not in {LOG, WITNESS}:
            raise VerifierUnreadableError
        made = cls(found["name"], material[0], material[1:])
        if made.key_id.hex() != found["id"]:
            raise VerifierUnreadableError(private="the id is not that of the key")
        return made

    @property
    def key_id(self) -> bytes:
        """Return the four bytes that a signature begins with: enough to find the key by, not to trust it."""
        return sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public).digest()[:_ID_BYTES]

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{b64encode(bytes([self.kind]) + self.public).decode()}"

    def verifies(self, text: str, signature: bytes) -> bool:
        """Return whether these bytes, without the key's id, are its signature of `text`."""
        at, signed = (signature[:_TIME_BYTES], signature[_TIME_BYTES:]) if self.kind == WITNESS else (b"", signature)
        if len(signed) != _SIGNATURE_BYTES:
            return False
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signed, _message(text, at))
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(frozen=True)
class Signer:
    """Signs as `name` with 32 bytes of private key."""

    name: str
    _private: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            message = "the name of a key has no spaces and no plus"
            raise ValueError(message)

    def verifier(self, kind: int = LOG) -> Verifier:
        return Verifier(self.name, kind, self._key.public_key().public_bytes_raw())

    def sign(self, text: str) -> str:
        """Return the line of a signature of `text`, which ends with a line break as the line does."""
        return _line(self.verifier(), self._key.sign(_message(text, b"")))

    def cosign(self, text: str, *, at: datetime) -> str:
        """Return the line of a witness's signature, which says that it saw `text` at this time."""
        seen = int(at.timestamp()).to_bytes(_TIME_BYTES)
        return _line(self.verifier(WITNESS), seen + self._key.sign(_message(text, seen)))

    @property
    def _key(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self._private)


class Note(NamedTuple):
    """A note's text and those who are known to have signed it, by name and kind."""

    text: str
    signed_by: frozenset[Verifier]


def new_key() -> bytes:
    """Return 32 bytes of a new private key."""
    return Ed25519PrivateKey.generate().private_bytes_raw()


def signed(text: str, *lines: str) -> str:
    """Return the note: its text, an empty line, and the lines of its signatures."""
    return text + "\n" + "".join(lines)


def opened(note: str, *known: Verifier) -> Note:
    """Return what a note says and who of `known` has signed it; signatures of others are passed over.

    Raises `NoteRefusedError` where none of them has, or where a signature that names one of them is not theirs.
    """
    text, lines = _taken_apart(note)
    by_name: Mapping[tuple[str, bytes], Verifier] = {(each.name, each.key_id): each for each in known}
    found = set()
    for line in lines:
        name, signature = _signature(line)
        verifier = by_name.get((name, signature[:_ID_BYTES]))
        if verifier is None:
            continue
        if not verifier.verifies(text, signature[_ID_BYTES:]):
            raise NoteRefusedError(private=f"the signature of {name} is not theirs")
        found.add(verifier)
    if not found:
        raise NoteRefusedError(private="nobody known has signed it")
    return Note(text, frozenset(found))


def _taken_apart(note: str) -> tuple[str, list[str]]:
    text, gap, signatures = note.rpartition("\n\n")
    if not gap or not text or not signatures.endswith("\n") or _CONTROL.search(note):
        raise NoteRefusedError(private="there is no text, no empty line or no signature")
    lines = signatures[:-1].split("\n")
    if len(lines) > MOST_SIGNATURES:
        raise NoteRefusedError(private="there are too many signatures")
    return text + "\n", lines


def _signature(line: str) -> tuple[str, bytes]:
    found = _LINE.fullmatch(line)
    signature = _decoded(found["signature"]) if found else b""
    if found is None or len(signature) <= _ID_BYTES:
        raise NoteRefusedError(private="a signature is not written as one")
    return found["name"], signature


def _message(text: str, at: bytes) -> bytes:
    header = f"cosignature/v1\ntime {int.from_bytes(at)}\n" if at else ""
    return (header + text).encode()


def _line(verifier: Verifier, signature: bytes) -> str:
    return f"— {verifier.name} {b64encode(verifier.key_id + signature).decode()}\n"


def _decoded(text: str) -> bytes:
    # What is not written as it would be written again is not read: two texts never say one signature.
    try:
        data = b64decode(text, validate=True)
    except ValueError:
        return b""
    return data if b64encode(data).decode() == text else b""

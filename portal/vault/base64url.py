"""Base64url without padding (RFC 7515 appendix C)."""

from __future__ import annotations

from base64 import urlsafe_b64decode
from binascii import b2a_base64

_SAFE = bytes.maketrans(b"+/", b"-_")


def encode(data: bytes) -> str:
    return b2a_base64(data, newline=False).translate(_SAFE, b"=").decode()


def decode(text: str) -> bytes:
    """Return the bytes; raise `ValueError` for text that is not base64url."""
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))

"""Base64url without padding (RFC 7515 appendix C)."""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64

_SAFE = bytes.maketrans(b"+/", b"-_")
_PLAIN = bytes.maketrans(b"-_", b"+/")


def encode(data: bytes) -> str:
    return b2a_base64(data, newline=False).translate(_SAFE, b"=").decode()


def decode(text: str) -> bytes:
    """Return the bytes; raise `ValueError` for text that is not base64url."""
    padded = text + "=" * (-len(text) % 4)
    return a2b_base64(padded.encode("ascii").translate(_PLAIN))

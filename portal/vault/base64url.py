"""Base64url without padding (RFC 7515 appendix C)."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode


def encode(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    """Return the bytes; raise `ValueError` for text that is not base64url."""
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))

"""The portal's public keys (RFC 7517), for whoever verifies ID tokens and security event tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from portal.vault import signing

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


def document(session: Session) -> dict[str, Any]:
    """Return the JWK Set; it never holds a private member."""
    return signing.public_jwks(session)

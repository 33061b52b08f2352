"""The portal's public keys (RFC 7517), for whoever verifies ID tokens and security event tokens.

Verifiers may keep them for `MAX_AGE`: far less than a key is published before it signs (`signing.LEAD`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from portal.vault import signing

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

MAX_AGE: Final = 300


def document(session: Session) -> dict[str, Any]:
    """Return the JWK Set; it never holds a private member."""
    return signing.public_jwks(session)

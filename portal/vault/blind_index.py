"""Finding a person by a sign-in identifier without storing it: a keyed, full-length index."""

from __future__ import annotations

import hmac
import unicodedata
from typing import TYPE_CHECKING

from portal.vault.keyring import INDEX

if TYPE_CHECKING:
    from portal.vault.keyring import Keyring


def of_email(keyring: Keyring, email: str) -> bytes:
    """Return the 32-byte HMAC-SHA-256 of the address, case and Unicode form put aside."""
    canonical = unicodedata.normalize("NFKC", email.strip()).casefold()
    return hmac.digest(keyring.derive(INDEX, b"email"), canonical.encode(), "sha256")

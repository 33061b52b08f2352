"""How surely somebody has proved who they are, as `acr` values (OpenID Connect Core section 2, RFC 9470)."""

from __future__ import annotations

from typing import Final

ONE_PROOF: Final = 1
TWO_PROOFS: Final = 2
_ACR: Final = {ONE_PROOF: "urn:ucm:acr:1", TWO_PROOFS: "urn:ucm:acr:2"}
VALUES: Final = tuple(_ACR.values())


def acr(level: int) -> str:
    """Return the `acr` value of a level: 1 is a password or a code by e-mail, 2 is both."""
    return _ACR[level]


def level_of(acr_value: str) -> int | None:
    """Return the level that an `acr` value names; None for one that is not ours."""
    return next((level for level, value in _ACR.items() if value == acr_value), None)

"""The number that people quote of a receipt; pure Python, no I/O."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from uuid import UUID

_NUMBER: Final = re.compile(r"R-\d{4}-([0-9A-F]{8})-\d{1,9}")


def of(grant_id: UUID, version: int, year: int) -> str:
    """Return "R-2026-1A2B3C4D-2": the year it began, the grant, its version."""
    return f"R-{year}-{grant_id.hex[-8:].upper()}-{version}"


def tail(number: str) -> str | None:
    """Return the end of the id of the grant that a number is of, as a UUID is written; None for what is no number."""
    found = _NUMBER.fullmatch(number.strip().upper())
    return found.group(1).lower() if found else None

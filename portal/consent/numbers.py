"""The number that people quote of a receipt; pure Python, no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uuid import UUID


def of(grant_id: UUID, version: int, year: int) -> str:
    """Return "R-2026-1A2B3C4D-2": the year it began, the grant, its version."""
    return f"R-{year}-{grant_id.hex[-8:].upper()}-{version}"

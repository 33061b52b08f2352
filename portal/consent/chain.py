"""The chain that a grant's versions form: each one's hash covers its content and the hash before it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Iterable

    from portal.consent.models import GrantVersion

START = bytes(32)
COVERED = ("grant_id", "version", "at", "step", "actor", "state", "mode", "attributes", "expires_at", "shown")
# Versions made before these were kept have none, and their hashes stay good.
COVERED_WHEN_KEPT = ("retention_days", "level", "pulls_a_day")


def digest(members: dict[str, Any], *, previous: bytes) -> bytes:
    """Return SHA-256 over the canonical JSON (sorted, compact, UTF-8) of a version and `previous`."""
    covered = {name: members[name] for name in COVERED} | {"previous": previous.hex()}
    covered |= {name: members[name] for name in COVERED_WHEN_KEPT if members[name] is not None}
    text = json.dumps(covered, ensure_ascii=False, separators=(",", ":"), sort_keys=True, default=_plain)
    return sha256(text.encode()).digest()


def intact(versions: Iterable[GrantVersion]) -> bool:
    """Say whether `versions`, oldest first, are whole, in order and unchanged."""
    previous = START
    for number, version in enumerate(versions, start=1):
        members = {name: getattr(version, name) for name in (*COVERED, *COVERED_WHEN_KEPT)}
        known = version.version == number and version.previous_hash == previous
        if not known or version.hash != digest(members, previous=previous):
            return False
        previous = version.hash
    return True


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(type(value).__name__)

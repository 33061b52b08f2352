"""The chain that a grant's versions form: each one's hash covers its content and the hash before it, and is signed."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from portal.vault import record_keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from portal.consent.models import GrantVersion

START = bytes(32)
TYP: Final = "consent-step+jws"
COVERED = ("grant_id", "version", "at", "step", "actor", "state", "mode", "attributes", "expires_at", "shown")
# Versions made before these were kept have none, and their hashes stay good.
COVERED_WHEN_KEPT = ("retention_days", "level", "pulls_a_day", "about")


def text(members: Mapping[str, Any], *, previous: bytes) -> bytes:
    """Return the canonical JSON (sorted, compact, UTF-8) of a version and the hash before it: what is signed."""
    covered = {name: members[name] for name in COVERED} | {"previous": previous.hex()}
    covered |= {name: members[name] for name in COVERED_WHEN_KEPT if members[name] is not None}
    return json.dumps(covered, ensure_ascii=False, separators=(",", ":"), sort_keys=True, default=_plain).encode()


def hash_of(said: bytes) -> bytes:
    """Return the SHA-256 of what `text` returns."""
    return sha256(said).digest()


def intact(versions: Iterable[GrantVersion]) -> bool:
    """Say whether `versions`, oldest first, are whole, in order and unchanged."""
    previous = START
    for number, version in enumerate(versions, start=1):
        known = version.version == number and version.previous_hash == previous
        if not known or version.hash != hash_of(text(_members(version), previous=previous)):
            return False
        previous = version.hash
    return True


def token(version: GrantVersion) -> str | None:
    """Return a version as the compact JWS (RFC 7515) of its text; None for one from before versions were signed."""
    if version.signature is None:
        return None
    return record_keys.attached(version.signature, text(_members(version), previous=version.previous_hash))


def signed(versions: Iterable[GrantVersion], keys: Mapping[str, Any]) -> bool:
    """Say whether every version that bears a signature is signed by one of `keys`, a JWK Set."""
    try:
        for version in versions:
            if (whole := token(version)) is not None:
                record_keys.opened(whole, keys, typ=TYP)
    except record_keys.SignatureRefusedError:
        return False
    return True


def _members(version: GrantVersion) -> dict[str, Any]:
    return {name: getattr(version, name) for name in (*COVERED, *COVERED_WHEN_KEPT)}


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(type(value).__name__)

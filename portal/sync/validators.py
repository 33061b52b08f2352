"""Whether a company's copy is current: the validator of an answer (RFC 9110 section 8.8.3) and what is asked by it.

Two answers about the same details are never the same bytes, so the validator is weak.  It is keyed: nobody can make
one up, and it says nothing to whoever comes by it.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from portal.vault import base64url
from portal.vault.keyring import SESSION

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Row
    from werkzeug.datastructures import ETags

    from portal.vault.keyring import Keyring

_BYTES = 16


def opaque(keyring: Keyring, row: Row[Any], names: Iterable[str], sealed_to: Iterable[str]) -> str:
    """Return what stands for an answer with the details `names` of a row of `PULL`, sealed to the keys `sealed_to`.

    It changes with the consent, with each of these details and with the keys, and with nothing else of the person.
    """
    told = [f"{row.grant_id.hex} {row.grant_version}"]
    for name in sorted(names):
        entry = row.entries[name]
        told.append(f"{name} {entry['version']} {entry['confirmed_at']}")
    told += sorted(sealed_to)
    return base64url.encode(blake2b("\n".join(told).encode(), key=_key(keyring), digest_size=_BYTES).digest())


def header(validator: str) -> str:
    """Return the validator as the header `ETag` carries it."""
    return f'W/"{validator}"'


def unchanged(validator: str, held: ETags | None) -> bool:
    """Say whether one of `If-None-Match` is of this answer, compared weakly (section 13.1.2); `*` is of every one."""
    return held is not None and held.contains_weak(validator)


@lru_cache(maxsize=4)
def _key(keyring: Keyring) -> bytes:
    return keyring.derive(SESSION, b"validators")

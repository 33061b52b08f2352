"""A request that may be repeated without being done twice (draft-ietf-httpapi-idempotency-key-header-07).

A client whose connection broke does not know whether it was heard.  With the same `Idempotency-Key` it asks again
and is told of what it began the first time.  The key is kept as its SHA-256, for each client by itself.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert

from portal.errors import InvalidError, PortalError
from portal.sync.models import IdempotencyKey

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.orm import Session

# A String of RFC 9651 section 3.3.3, as the draft has it, or the same without quotes, as many clients send it.
_KEY = re.compile(r'"([\x20\x21\x23-\x5b\x5d-\x7e]{1,255})"|([\x21\x23-\x2b\x2d-\x7e]{1,255})')


class KeyMalformedError(PortalError):
    """The header is no key of the draft's section 2.1."""

    code = "idempotency-key-malformed"
    status = 400
    public = 'Idempotency-Key must be one text of at most 255 printable characters, like "8e03978e-40d5-43e8-bc93".'


class KeyReusedError(InvalidError):
    """The same key came with another request (the draft's section 2.7)."""

    code = "idempotency-key-reused"
    public = "This Idempotency-Key was sent with another request. Make a new key for a new request."


class Key(NamedTuple):
    """A client's key, and what it asked with it, both as SHA-256."""

    key_hash: bytes
    fingerprint: bytes


def read(header: str | None, asked: Mapping[str, Any]) -> Key | None:
    """Return the key of a request that asks for `asked`; None without one.  Raises `KeyMalformedError`."""
    if header is None:
        return None
    found = _KEY.fullmatch(header.strip())
    if found is None:
        raise KeyMalformedError
    return Key(_digest(found[1] or found[2]), _digest(json.dumps(asked, sort_keys=True)))


def known(session: Session, key: Key, *, client_id: str, now: datetime) -> UUID | None:
    """Return the pull that this client began with `key`; raise `KeyReusedError` when it was another request.

    The caller lets one request of a client in at a time, so of many at once the first is known to all others.
    """
    row = session.scalar(
        select(IdempotencyKey).where(
            IdempotencyKey.client_id == client_id,
            IdempotencyKey.key_hash == key.key_hash,
            IdempotencyKey.expires_at > now,
        )
    )
    if row is None:
        return None
    if not hmac.compare_digest(row.fingerprint, key.fingerprint):
        raise KeyReusedError
    return row.pull_id


def keep(session: Session, key: Key, *, client_id: str, pull_id: UUID, expires_at: datetime) -> None:
    """Remember what a key began until `expires_at`; one that is over is begun anew."""
    kept = {"fingerprint": key.fingerprint, "pull_id": pull_id, "expires_at": expires_at}
    row = insert(IdempotencyKey).values(client_id=client_id, key_hash=key.key_hash, **kept)
    session.execute(row.on_conflict_do_update(index_elements=["client_id", "key_hash"], set_=kept))


def forget(session: Session, *, now: datetime) -> None:
    """Delete the keys that are over."""
    over = delete(IdempotencyKey).where(IdempotencyKey.expires_at <= now)
    session.execute(over.execution_options(synchronize_session=False))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()

"""What an entry of the log says, and how it is hidden: the tree holds a salted hash and nothing else."""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import orjson

if TYPE_CHECKING:
    from uuid import UUID

VERSION: Final = 1
# What is said of a row, member by member: a column that is added later must not change what was said before.
OF_DISCLOSURE: Final = """jsonb_build_object(
    'disclosure_id', d.disclosure_id, 'person_id', d.person_id, 'at', d.at, 'outcome', d.outcome,
    'company_id', x.company_id, 'client_id', x.client_id, 'company_name', x.company_name, 'purpose', x.purpose,
    'grant_id', d.grant_id, 'grant_version', d.grant_version, 'channel', d.channel, 'reason', d.reason,
    'asked', d.asked, 'given', d.given, 'message_id', d.message_id)"""
OF_OUTCOME: Final = """jsonb_build_object(
    'disclosure_id', o.disclosure_id, 'person_id', o.person_id, 'at', o.at, 'outcome', o.outcome,
    'reported_at', o.reported_at, 'detail', o.detail, 'milliseconds', o.milliseconds)"""
_PREFIX: Final = b"ucm-disclosure-v1\0"


def content(said: dict[str, Any], *, n: int, previous: bytes) -> bytes:
    """Return an entry's content: what is `said` of the row, as JSON with its members by name (RFC 8785).

    `n` counts the person's entries from 1, `previous` is the hash of the one before, empty for the first: an entry
    that is left out, or put elsewhere, leaves a gap.
    """
    return orjson.dumps({**said, "v": VERSION, "n": n, "previous": previous.hex()}, option=orjson.OPT_SORT_KEYS)


def blind(secret: bytes, *, disclosure_id: UUID, outcome: str) -> bytes:
    """Return the 32 bytes that hide one entry of a person: with them it can be checked, and no other entry read."""
    return hmac.digest(secret, disclosure_id.bytes + outcome.encode(), "sha256")


def hidden(said: bytes, *, by: bytes) -> bytes:
    """Return what stands in the tree for an entry with this content, hidden by 32 bytes of its own."""
    return _PREFIX + sha256(by + said).digest()

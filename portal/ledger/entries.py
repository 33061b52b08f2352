"""What an entry of the log says, and how it is hidden: the tree holds a salted hash and nothing else."""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

if TYPE_CHECKING:
    from uuid import UUID

# What is said of a row, member by member: a column that is added later must not change what was said before, and what
# is said otherwise gets another `v`.  The second one says which keys the values were sealed to.
OF_DISCLOSURE: Final = """(jsonb_build_object(
    'v', 1, 'disclosure_id', d.disclosure_id, 'at', d.at, 'outcome', d.outcome,
    'company_id', x.company_id, 'client_id', x.client_id, 'company_name', x.company_name, 'purpose', x.purpose,
    'grant_id', d.grant_id, 'grant_version', d.grant_version, 'channel', d.channel, 'reason', d.reason,
    'asked', d.asked, 'given', d.given, 'message_id', d.message_id)
    || CASE WHEN d.sealed_to IS NULL THEN jsonb_build_object()
            ELSE jsonb_build_object('v', 2, 'sealed_to', d.sealed_to) END)"""
OF_OUTCOME: Final = """jsonb_build_object(
    'v', 1, 'disclosure_id', o.disclosure_id, 'at', o.at, 'outcome', o.outcome, 'reported_at', o.reported_at,
    'detail', o.detail, 'milliseconds', o.milliseconds)"""
_PREFIX: Final = b"ucm-disclosure-v1\0"


class Blinds(NamedTuple):
    """What hides one entry of a person, 32 bytes each: `said` what happened, `place` where it stands among theirs.

    With `said` alone a company checks that what it was told is in the log, and learns neither how many entries the
    person has nor which of them is the one before.
    """

    said: bytes
    place: bytes


def blinds(secret: bytes, *, disclosure_id: UUID, outcome: str) -> Blinds:
    """Return those of one entry, of its person's secret: no other entry can be read with them."""
    entry = disclosure_id.bytes + outcome.encode()
    return Blinds(hmac.digest(secret, b"said" + entry, "sha256"), hmac.digest(secret, b"place" + entry, "sha256"))


def said_hash(said: dict[str, Any], *, blind: bytes) -> bytes:
    """Return the hidden hash of what is said of a row, as JSON with its members by name (RFC 8785)."""
    return sha256(blind + orjson.dumps(said, option=orjson.OPT_SORT_KEYS)).digest()


def place_hash(n: int, *, previous: bytes, blind: bytes) -> bytes:
    """Return the hidden hash of an entry's place: it leaves a gap if it is left out, or put elsewhere.

    `n` counts the person's entries from 1 (eight bytes, the highest first), `previous` is the hash of the leaf before,
    empty for the first.
    """
    return sha256(blind + n.to_bytes(8) + previous).digest()


def entry(said: bytes, place: bytes) -> bytes:
    """Return what stands in the tree, of the two hidden hashes."""
    return _PREFIX + sha256(said + place).digest()

"""Every proof and assertion once: the database settles who came first.

A request first shows what it has, and every check that needs no database is made; then one statement uses it up,
often together with what comes of it.  Used up it stays, whatever becomes of the request.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy.dialects.postgresql import insert

from portal.db import Prepared
from portal.oauth.errors import OAuthError
from portal.oauth.models import UsedProof

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Row
    from sqlalchemy.orm import Session

# What `Shown.parameters` fills and `Shown.settle` reads.  An assertion comes before a proof in every statement, so
# that two requests never wait for each other in a ring.
FRESH: Final = """
    fresh AS (
        INSERT INTO used_proof (proof_hash, expires_at)
        SELECT shown.proof_hash, shown.expires_at
          FROM (VALUES (CAST(:first_hash AS bytea), CAST(:first_until AS timestamptz)),
                       (CAST(:second_hash AS bytea), CAST(:second_until AS timestamptz)))
               AS shown (proof_hash, expires_at)
         WHERE shown.proof_hash IS NOT NULL
            ON CONFLICT DO NOTHING RETURNING proof_hash)"""
WHICH: Final = """
    SELECT EXISTS (SELECT FROM fresh WHERE proof_hash = CAST(:first_hash AS bytea)) AS first,
           EXISTS (SELECT FROM fresh WHERE proof_hash = CAST(:second_hash AS bytea)) AS second"""
_MOST = 2
_USE = Prepared("use_shown", f"WITH {FRESH} {WHICH}")


class ReplayedError(OAuthError):
    """The same proof or assertion came before; whoever asked turns it into the error of its own document."""

    code = "invalid_request"
    public = "This has been used before."


@dataclass(frozen=True, kw_only=True)
class Use:
    """One thing to use up, kept until `expires_at`; `replayed` is its document's error for a second use."""

    proof_hash: bytes
    expires_at: datetime
    replayed: type[OAuthError]


@dataclass
class Shown:
    """What one request has shown and not used up yet: an assertion, a proof, or both, in this order."""

    waiting: list[Use] = field(default_factory=list)

    def add(self, use: Use) -> None:
        if len(self.waiting) == _MOST:
            raise ValueError("a request shows one assertion and one proof")
        self.waiting.append(use)

    def parameters(self) -> dict[str, Any]:
        """Return the parameters of `FRESH` and `WHICH`, and how many there are to be used up."""
        first, second = (*self.waiting, None, None)[:_MOST]
        return {
            "first_hash": first and first.proof_hash, "first_until": first and first.expires_at,
            "second_hash": second and second.proof_hash, "second_until": second and second.expires_at,
            "shown": len(self.waiting),
        }  # fmt: skip

    def settle(self, row: Row[Any]) -> None:
        """Take the statement's word for what was fresh; raise the error of the first that was not."""
        waiting, self.waiting = self.waiting, []
        for use, fresh in zip(waiting, (row.first, row.second), strict=False):
            if not fresh:
                raise use.replayed(private="it was used before")

    def use_up(self, url: str) -> None:
        """Use up whatever waits, in a transaction of its own in the database at `url`; raise as `settle`."""
        if self.waiting:
            self.settle(_USE.one(url, self.parameters()))


def fingerprint(kind: str, owner: str, jti: str) -> bytes:
    """Return the SHA-256 that stands for `jti` of `owner`: a client id or a key thumbprint.

    JSON keeps the three apart and has an ASCII form for every string, lone surrogates included.
    """
    return hashlib.sha256(json.dumps([kind, owner, jti]).encode()).digest()


def use(session: Session, proof_hash: bytes, expires_at: datetime) -> None:
    """Note that the proof is used until `expires_at`; raise `ReplayedError` when it was used before."""
    statement = insert(UsedProof).values(proof_hash=proof_hash, expires_at=expires_at)
    # RETURNING says whether the row is ours: a second request with the same proof waits for the first one.
    if session.scalar(statement.on_conflict_do_nothing().returning(UsedProof.proof_hash)) is None:
        raise ReplayedError

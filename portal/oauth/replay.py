"""Every proof and assertion once: the database settles who came first."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from sqlalchemy.dialects.postgresql import insert

from portal.oauth.errors import OAuthError
from portal.oauth.models import UsedProof

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.orm import Session


class ReplayedError(OAuthError):
    """The same proof or assertion came before; whoever asked turns it into the error of its own document."""

    code = "invalid_request"
    public = "This has been used before."


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

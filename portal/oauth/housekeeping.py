"""What the authorization server forgets: whatever is over leaves in batches, so that no table grows with traffic."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, cast

from sqlalchemy import delete, select

from portal.oauth.models import (
    AccessToken,
    AuthorizationCode,
    BackchannelRequest,
    PushedRequest,
    RefreshToken,
    UsedProof,
)

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import CursorResult, Delete
    from sqlalchemy.orm import InstrumentedAttribute, Session

# A code used a second time must still find the tokens that came of it.
KEPT_AFTER_EXPIRY: Final = timedelta(days=1)
_BATCH = 500
# Busy days leave more than a batch behind, and a tidy that is due every half minute must keep up with them.
_ROUNDS = 40
_TABLES: Final[tuple[tuple[Any, InstrumentedAttribute[bytes]], ...]] = (
    (UsedProof, UsedProof.proof_hash),
    (PushedRequest, PushedRequest.uri_hash),
    (AuthorizationCode, AuthorizationCode.code_hash),
    (AccessToken, AccessToken.token_hash),
    (RefreshToken, RefreshToken.token_hash),
    (BackchannelRequest, BackchannelRequest.request_hash),
)


def forget(session: Session, *, now: datetime) -> None:
    """Delete what expired more than a day ago, at most 20 000 rows a table and call."""
    for table, key in _TABLES:
        statement = _oldest(table, key, now - KEPT_AFTER_EXPIRY)
        for _ in range(_ROUNDS):
            if not cast("CursorResult[Any]", session.execute(statement)).rowcount:
                break


def _oldest(table: Any, key: InstrumentedAttribute[bytes], before: datetime) -> Delete:  # noqa: ANN401 - a model
    batch = select(key).where(table.expires_at < before).limit(_BATCH).with_for_update(skip_locked=True)
    return delete(table).where(key.in_(batch)).execution_options(synchronize_session=False)

"""What the authorization server forgets: whatever is over leaves in batches, so that no table grows with traffic."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, cast

from sqlalchemy import any_, delete, func, literal_column, select

from portal.oauth.models import (
    AccessToken,
    AuthorizationCode,
    BackchannelRequest,
    PushedRequest,
    RefreshToken,
    UsedProof,
)
from portal.oauth.tokens import REFRESH_IDLE

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import ColumnElement, CursorResult
    from sqlalchemy.orm import Session

# An access token or a proof that has expired means nothing any more; of the rest a company may still ask what
# became of it, and a code used a second time must find itself.
KEPT_AFTER_EXPIRY: Final = timedelta(days=1)
_BATCH = 2000
# Every token and every call leaves a row or two behind, and a tidy that is due every half minute must keep up.
_ROUNDS = 50
_TABLES: Final[tuple[tuple[Any, timedelta], ...]] = (
    (UsedProof, timedelta()),
    (AccessToken, timedelta()),
    (PushedRequest, KEPT_AFTER_EXPIRY),
    (AuthorizationCode, KEPT_AFTER_EXPIRY),
    (RefreshToken, KEPT_AFTER_EXPIRY),
    (BackchannelRequest, KEPT_AFTER_EXPIRY),
)


def forget(session: Session, *, now: datetime) -> None:
    """Delete what is over, at most 100 000 rows a table and call."""
    for table, kept in _TABLES:
        _forget(session, table, table.expires_at < now - kept)
    _forget(session, RefreshToken, RefreshToken.used_at < now - REFRESH_IDLE - KEPT_AFTER_EXPIRY)


def _forget(session: Session, table: Any, over: ColumnElement[bool]) -> None:  # noqa: ANN401 - a model
    # By the rows' places: whatever the size of the table, a batch touches no more than itself.
    place: ColumnElement[Any] = literal_column("ctid")
    batch = select(place).select_from(table).where(over).limit(_BATCH).with_for_update(skip_locked=True)
    statement = delete(table).where(place == any_(func.array(batch.scalar_subquery())))
    for _ in range(_ROUNDS):
        done = session.execute(statement, execution_options={"synchronize_session": False})
        if cast("CursorResult[Any]", done).rowcount < _BATCH:
            break

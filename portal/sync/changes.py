"""Whom a client was told about since some place in its stream: for one that lost what it had, and reads it again.

It names people and says nothing of them: what they share now is pulled, and the consent is asked then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from portal.errors import InvalidError
from portal.sync import poll_statements, polling, queries
from portal.vault import base64url

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Row
    from sqlalchemy.orm import Session

    from portal.sync.models import Stream

AT_ONCE = 500
_PLACE_BYTES = 8


class CursorError(InvalidError):
    """It was not given out for the stream that the client has now."""

    code = "cursor-unknown"
    public = "Take `after` from an earlier answer of this stream, or leave it out."


class Change(NamedTuple):
    """Somebody of whom there was something to tell, under this grant."""

    sub: str
    grant_id: UUID


class Changes(NamedTuple):
    """Some changes in the order of the stream, where to go on, and whether there are more by now."""

    found: list[Change]
    after: str
    more: bool


def since(session: Session, *, client_id: str, after: str | None) -> Changes:
    """Return who was changed behind the cursor `after`, in the order in which it was committed.

    A change that was not committed when a cursor was made stands behind it, whenever it began.  Raises
    `NoStreamError` or `CursorError`.
    """
    stream = queries.stream_of(session, client_id=client_id)
    if stream is None:
        raise polling.NoStreamError
    place = _place(stream, after) if after else 0
    rows = _behind(session, client_id, place)
    if len(rows) <= AT_ONCE:
        # Only who has come to the end asks for what has no place yet: to look for that is to look at everybody.
        polling.number(session, client_id=client_id, settled=True)
        rows = _behind(session, client_id, place)
    shown = rows[:AT_ONCE]
    last = shown[-1].position if shown else place
    return Changes([Change(row.sub, row.grant_id) for row in shown], _cursor(stream, last), len(rows) > AT_ONCE)


def _behind(session: Session, client_id: str, place: int) -> Sequence[Row[Any]]:
    values = {"client_id": client_id, "after": place, "limit": AT_ONCE + 1}
    return session.execute(poll_statements.CHANGED, values).all()


def _cursor(stream: Stream, place: int) -> str:
    return base64url.encode(stream.stream_id.bytes + place.to_bytes(_PLACE_BYTES))


def _place(stream: Stream, cursor: str) -> int:
    try:
        given = base64url.decode(cursor)
        known, place = UUID(bytes=given[:-_PLACE_BYTES]), int.from_bytes(given[-_PLACE_BYTES:])
    except ValueError as error:
        raise CursorError(pointer="/after", private=type(error).__name__) from error
    if known != stream.stream_id or place >= 2**63:
        raise CursorError(pointer="/after")
    return place

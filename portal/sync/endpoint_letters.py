"""What letters to a company say about its streams, as things stand when they are sent (`companies/letters.py`)."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from portal.companies import letters
from portal.companies import queries as companies
from portal.companies.letters import Words
from portal.sync import deliveries, queries

if TYPE_CHECKING:
    from sqlalchemy import Row
    from sqlalchemy.orm import Session

    from portal.config import Settings
    from portal.sync.models import Stream

DISABLED: Final = "disabled"
HELD: Final = "held"
_LAST_WARNING = "failing-3"
# Nothing has arrived for an hour, a day, four days.
WARNINGS: Final = ("failing-1", "failing-2", _LAST_WARNING)
KINDS: Final = (*WARNINGS, DISABLED, HELD)
_MOST_DISABLED: Final = 3
_TEMPLATES = {DISABLED: "endpoint_disabled", HELD: "messages_held"}


def write(session: Session, *, client_id: str, kind: str, about: datetime) -> None:
    """Write one letter of `KINDS` about the moment `about`, once however many workers see why.

    An endpoint that comes and goes is written about once a day, that it was turned off three times.
    """
    letters.write_once(
        session, client_id=client_id, kind=kind, about={"at": about.isoformat()},
        once=f"{client_id} {kind} {about.isoformat()}", most=_MOST_DISABLED if kind == DISABLED else 1,
    )  # fmt: skip


def words(session: Session, row: Row[Any], settings: Settings) -> Words | None:
    """Word a letter; None when what it is about is over."""
    client, stream = companies.client(session, row.client_id), queries.stream_of(session, client_id=row.client_id)
    if client is None or stream is None or client.ended:
        return None
    held = deliveries.backlog(session, client_id=row.client_id).held
    about = datetime.fromisoformat(row.about["at"])
    if not _still_so(row.kind, about, stream, held):
        return None
    return Words(_TEMPLATES.get(row.kind, "endpoint_failing"), {
        "app": client.name, "since": letters.moment(about), "held": held,
        "last": row.kind == _LAST_WARNING,
        "problem": stream.reason if row.kind == DISABLED else stream.last_problem,
        "page": f"{settings.url}/org/deliveries/endpoints/{client.client_id}",
    })  # fmt: skip


def _still_so(kind: str, about: datetime, stream: Stream, held: int) -> bool:
    if kind == DISABLED:
        return stream.state == DISABLED
    return held > 0 if kind == HELD else stream.failing_since == about

"""How many statements some work costs the database."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import event

from portal import db

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portal.config import Settings


@contextmanager
def statements(settings: Settings) -> Iterator[list[str]]:
    """Gather every statement that the process sends while the block runs."""
    seen: list[str] = []

    def note(*arguments: object) -> None:
        seen.append(str(arguments[2]))

    engine = db.engine(settings.database_url)
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", note)

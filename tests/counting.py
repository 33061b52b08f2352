"""How many statements some work costs the database."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import event

from portal import db
from portal.db import Prepared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

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


@contextmanager
def prepared() -> Iterator[list[Prepared]]:
    """Gather every prepared statement that the process sends while the block runs: `statements` sees none of them."""
    seen: list[Prepared] = []
    ways = {name: getattr(Prepared, name) for name in ("one", "all", "within")}

    def noting(name: str) -> Callable[[Prepared, object, Mapping[str, object]], object]:
        def note(statement: Prepared, where: object, parameters: Mapping[str, object]) -> object:
            seen.append(statement)
            return ways[name](statement, where, parameters)

        return note

    for name in ways:
        setattr(Prepared, name, noting(name))
    try:
        yield seen
    finally:
        for name, way in ways.items():
            setattr(Prepared, name, way)

"""One hash of each table, to see that a request left everything as it was."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import text

from portal import db

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

# Columns that a mere look may renew: when a browser was last seen, when a pushed request was first opened.
RENEWED = {"browser_session": ("seen_at",), "pushed_request": ("opened_at",)}
_TABLES = """
    SELECT relname FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
"""
# A write has moved this on by the time it is answered, unless its table is unlogged.
_WRITTEN = text("SELECT pg_current_wal_insert_lsn()")
_UNLOGGED = text("SELECT count(*) FROM pg_class WHERE relpersistence = 'u'")


class State:
    """What the database at `url` holds."""

    def __init__(self, url: str) -> None:
        self._engine = db.engine(url)
        self._seen: tuple[str, dict[str, str]] = "", {}
        with self._engine.connect() as connection:
            assert connection.scalar(_UNLOGGED) == 0

    def hashes(self) -> dict[str, str]:
        """Return a hash of each table, anew only where anything has been written since the last time."""
        with self._engine.connect() as connection:
            written = str(connection.scalar(_WRITTEN))
            if written != self._seen[0]:
                names = connection.scalars(text(_TABLES)).all()
                found = connection.execute(text(" UNION ALL ".join(map(_hash, names))))
                self._seen = written, {row.name: row.hash for row in found}
            return self._seen[1]

    def holds(self, words: str) -> bool:
        """Say whether any column of any row has `words` in it."""
        with self._engine.connect() as connection:
            names = connection.scalars(text(_TABLES)).all()
            parts = (f'SELECT 1 FROM "{name}" t WHERE strpos(to_jsonb(t)::text, :words) > 0' for name in names)  # noqa: S608 - names from the catalogue
            return connection.execute(text(" UNION ALL ".join(parts)), {"words": words}).first() is not None

    @contextmanager
    def kept(self, *, but: Collection[str] = ()) -> Iterator[None]:
        """Fail when a table other than `but` differs at the end of the block from its beginning."""
        before = self.hashes()
        yield
        after = self.hashes()
        assert {name for name in before if after[name] != before[name]} <= set(but)


def _hash(table: str) -> str:
    row = f"(to_jsonb(t) - array[{','.join(repr(name) for name in RENEWED.get(table, ()))}]::text[])::text"
    return (
        f"SELECT '{table}' AS name, coalesce(md5(string_agg({row}, '' ORDER BY {row})), '') AS hash FROM \"{table}\" t"  # noqa: S608 - names from the catalogue
    )

"""Room for tests that commit other signing keys than the suite's."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import delete, insert, select, update

from portal import db
from portal.vault.models import SigningKey

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import timedelta

    from portal.config import Settings


@contextmanager
def put_back(settings: Settings) -> Iterator[None]:
    """Leave the suite's keys as they were."""
    with db.transaction(settings.database_url) as session:
        kept = [dict(row) for row in session.execute(select(SigningKey.__table__)).mappings()]
    try:
        yield
    finally:
        with db.transaction(settings.database_url) as session:
            session.execute(delete(SigningKey))
            session.execute(insert(SigningKey), kept)


def pass_time(settings: Settings, span: timedelta) -> None:
    """Make every key older by `span`, as if that much time had passed."""
    times = {name: getattr(SigningKey, name) - span for name in ("created_at", "signs_from", "retired_at")}
    with db.transaction(settings.database_url) as session:
        session.execute(update(SigningKey).values(times))

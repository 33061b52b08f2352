"""What is promised for after the commit happens then: not at a savepoint, not after a rollback."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from portal import db

if TYPE_CHECKING:
    from portal.config import Settings


def test_a_savepoint_neither_runs_nor_forgets_what_waits_for_the_commit(settings: Settings) -> None:
    done: list[str] = []
    with db.transaction(settings.database_url) as session:
        session.execute(text("SELECT 1"))
        db.after_commit(session, lambda: done.append("rung"))
        with session.begin_nested():
            session.execute(text("SELECT 1"))
        assert done == []
        with pytest.raises(ZeroDivisionError), session.begin_nested():
            raise ZeroDivisionError
        assert done == []
    assert done == ["rung"]


def test_a_rollback_forgets_it(settings: Settings) -> None:
    done: list[str] = []
    with db.sessions(settings.database_url)() as session:
        session.execute(text("SELECT 1"))
        db.after_commit(session, lambda: done.append("rung"))
        session.rollback()
        session.execute(text("SELECT 1"))
        session.commit()
    assert done == []

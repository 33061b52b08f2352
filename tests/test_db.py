"""What waits for a commit, and the statements that commit by themselves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from psycopg import errors
from sqlalchemy import text

from portal import db

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

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


def test_a_prepared_statement_reads_what_it_was_given(settings: Settings) -> None:
    every = db.Prepared(
        "every",
        """
        SELECT CAST(:flag AS boolean) AS flag, CAST(:bytes AS bytea) AS bytes, CAST(:id AS uuid) AS id,
               CAST(:at AS timestamptz) AS at, CAST(:big AS bigint) AS big, CAST(:small AS int) AS small,
               CAST(:words AS text) AS words, CAST(:tree AS jsonb) AS tree, CAST(:none AS text) AS none,
               CAST(:words AS text) || '::x' AS twice
        """,
    )
    at = datetime(2026, 11, 22, 5, 30, 1, 234567, tzinfo=timezone(timedelta(hours=2)))
    given = {
        "flag": True, "bytes": bytes(range(256)), "id": uuid4(), "at": at, "big": -(2**40), "small": 7,
        "words": "Zoë \\ 'quoted' 漢", "tree": '{"a": ["ü", 1, null]}', "none": None,
    }  # fmt: skip
    for _ in range(2):
        row = every.one(settings.database_url, given)
        assert row._asdict() == given | {"tree": {"a": ["ü", 1, None]}, "twice": f"{given['words']}::x"}
        assert row.at.tzinfo is UTC


@pytest.mark.parametrize("rows", [1, 2])
def test_what_is_empty_is_not_what_is_missing(settings: Settings, rows: int) -> None:
    empty = db.Prepared(
        f"empty_{rows}",
        """
        SELECT '' AS words, ''::bytea AS bytes, false AS flag, 0 AS number, NULL::text AS none
          FROM generate_series(1, CAST(:rows AS int))
        """,
    )
    found = empty.all(settings.database_url, {"rows": rows})
    assert [tuple(row) for row in found] == [("", b"", False, 0, None)] * rows


def test_a_prepared_statement_without_a_row_is_none(settings: Settings) -> None:
    nothing = db.Prepared("nothing", "SELECT 1 AS x WHERE CAST(:no AS int) = 1")
    assert nothing.one(settings.database_url, {"no": 2}) is None


def test_a_failing_statement_tells_no_value_and_the_next_one_works(settings: Settings) -> None:
    cast = db.Prepared("cast", "SELECT CAST(CAST(:words AS text) AS int) AS x")
    with pytest.raises(errors.InvalidTextRepresentation) as caught:
        cast.one(settings.database_url, {"words": "Ada Byrne"})
    assert "Ada" not in str(caught.value)
    assert cast.one(settings.database_url, {"words": "5"}).x == 5


def test_a_connection_that_died_costs_one_request(settings: Settings) -> None:
    own = db.Prepared("own", "SELECT pg_backend_pid() AS pid")
    pid = own.one(settings.database_url, {}).pid
    with db.sessions(settings.database_owner_url)() as session:
        session.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
    with pytest.raises(errors.OperationalError):
        own.one(settings.database_url, {})
    assert own.one(settings.database_url, {}).pid != pid


def test_a_prepared_statement_takes_lists_and_returns_every_row(settings: Settings) -> None:
    rows = db.Prepared(
        "rows",
        """
        SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:words AS text[]), CAST(:numbers AS int[]))
            AS t(id, words, number), CAST('{"a": 1}' AS jsonb) AS same
        """,
    )
    ids, words = [uuid4(), uuid4(), uuid4()], ['a "quoted" \\ word', "{x,y}", None]
    found = rows.all(settings.database_url, {"ids": ids, "words": words, "numbers": [1, -2, None]})
    assert [(row.id, row.words, row.number) for row in found] == list(zip(ids, words, [1, -2, None], strict=True))
    # What a join repeats is read once.
    assert found[0].same is found[2].same


def test_a_prepared_statement_is_a_part_of_the_sessions_transaction(settings: Settings) -> None:
    mark = db.Prepared("mark", "SELECT txid_current()::text AS number, current_setting('TimeZone') AS zone")
    with db.transaction(settings.database_url) as session:
        [first] = mark.within(session, {})
        assert session.scalar(text("SELECT txid_current()::text")) == first.number
        assert mark.within(session, {})[0].number == first.number
    with db.transaction(settings.database_url) as session:
        assert mark.within(session, {})[0].number != first.number
        assert first.zone == "UTC"


def test_what_a_prepared_statement_did_is_rolled_back(settings: Settings) -> None:
    lock = db.Prepared("lock_row", "SELECT pg_advisory_xact_lock(42)::text AS held")
    tried = text("SELECT pg_try_advisory_xact_lock(42)")
    with db.sessions(settings.database_url)() as session, db.sessions(settings.database_url)() as other:
        lock.within(session, {})
        assert not other.scalar(tried)
        session.rollback()
        assert other.scalar(tried)


def test_a_prepared_statement_outlives_a_rollback(settings: Settings) -> None:
    one = db.Prepared("one_more", "SELECT 1 AS x")
    with db.sessions(settings.database_url)() as session:
        # So often that the driver prepares it as well, and makes the server forget all when it rolls back.
        for _ in range(8):
            session.execute(text("SELECT 2"))
        for undo in (session.rollback, session.begin_nested):
            assert one.within(session, {})[0].x == 1
            undo()
        session.rollback()
        assert one.within(session, {})[0].x == 1


def transaction_of(session: Session) -> str:
    return str(session.scalar(text("SELECT pg_current_xact_id()")))


def test_a_step_is_repeated_while_there_is_more_each_in_a_transaction_of_its_own(settings: Settings) -> None:
    seen: list[str] = []

    def step(session: Session) -> bool:
        seen.append(transaction_of(session))
        return len(seen) < 3

    assert db.repeat(settings.database_url, step, seconds=60) is False
    assert len(set(seen)) == 3


def test_whoever_has_no_time_takes_one_step_and_says_that_there_is_more(settings: Settings) -> None:
    seen: list[str] = []

    def step(session: Session) -> bool:
        seen.append(transaction_of(session))
        return True

    assert db.repeat(settings.database_url, step, seconds=0) is True
    assert len(seen) == 1


def test_every_connection_reads_by_index_and_says_the_time_in_utc(settings: Settings) -> None:
    """What is set does not go with a rollback, nor with the connection's return to the pool."""
    set_up = "SELECT current_setting('random_page_cost') AS cost, current_setting('TimeZone') AS zone"
    for engine in (db.engine(settings.database_url), db.at_once(settings.database_url)):
        for _ in range(2):
            with engine.connect() as connection:
                connection.rollback()
                assert tuple(connection.execute(text(set_up)).one()) == ("1.1", "UTC")
    assert db.Prepared("set_up", set_up).one(settings.database_url, {}).cost == "1.1"

"""Whatever is committed stands in the log once, in the order of one process, however transactions overlap."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest
from hypothesis import settings as hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from portal import db
from portal.ledger import sequencer, services
from portal.ledger.sequencer import LogAheadError
from portal.ledger.services import NewOutcome
from tests.ledger.log_place import ORIGIN, Place, check

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.orm import Session


def test_a_log_begins_empty(place: Place) -> None:
    assert place.grow() == 0
    assert check(place) == []


def test_everything_is_added_once_in_its_order(place: Place) -> None:
    person_id = uuid4()
    rows = [place.new(person_id, reason=f"№ {number}") for number in range(70)]
    for row in rows:
        place.log(row)
    assert (place.grow(), place.grow()) == (70, 70)
    assert [each.disclosure_id for each in check(place)] == [row.disclosure_id for row in rows]


def test_an_outcome_is_an_entry_of_its_own_behind_what_it_is_of(place: Place) -> None:
    row = place.new()
    outcome = NewOutcome(
        person_id=row.person_id,
        at=row.at,
        disclosure_id=row.disclosure_id,
        outcome="completed",
        detail="202",
        milliseconds=12,
    )
    with db.transaction(place.url) as session:
        services.report(session, outcome, now=db.now())
        services.record(session, row)
    assert place.grow() == 2
    assert [each.said["outcome"] for each in check(place)] == ["sending", "completed"]


def test_a_row_and_an_outcome_that_say_the_same_are_two_entries(place: Place) -> None:
    row = place.new(outcome="completed")
    outcome = NewOutcome(
        person_id=row.person_id,
        at=row.at,
        disclosure_id=row.disclosure_id,
        outcome="completed",
        detail="",
        milliseconds=0,
    )
    with db.transaction(place.url) as session:
        services.record(session, row)
        services.report(session, outcome, now=db.now())
    assert place.grow() == len(check(place)) == 2


def test_what_was_open_when_the_log_grew_is_added_when_it_is_committed(place: Place) -> None:
    early, late, never = place.new(), place.new(), place.new()
    with open_transaction(place) as first, open_transaction(place) as second:
        services.record(first, early)
        services.record(second, never)
        place.log(late)
        assert place.grow() == 1
        first.commit()
        second.rollback()
    assert (place.grow(), place.grow()) == (2, 2)
    assert [each.disclosure_id for each in check(place)] == [late.disclosure_id, early.disclosure_id]


def test_while_one_process_grows_the_log_another_leaves_it(place: Place) -> None:
    place.log(place.new())
    with open_transaction(place) as first:
        assert sequencer.grow(first, origin=ORIGIN, now=db.now()) == 1
        assert place.grow() is None
        first.commit()
    assert place.grow() == 1


def test_what_a_growth_does_is_nothing_until_it_is_committed(place: Place) -> None:
    place.log(place.new(), place.new())
    with open_transaction(place) as session:
        assert sequencer.grow(session, origin=ORIGIN, now=db.now()) == 2
        session.rollback()
    assert place.grow() == 2
    assert len(check(place)) == 2


def test_a_log_that_has_seen_more_than_its_database_stands_still(place: Place) -> None:
    place.log(place.new())
    place.grow()
    with db.transaction(place.url) as session:
        session.execute(text("UPDATE log SET seen = '1:4000000000:'"))
    with pytest.raises(LogAheadError):
        place.grow()


def test_a_new_name_is_a_new_log_of_everything(place: Place) -> None:
    place.log(place.new(), place.new())
    place.grow()
    with db.transaction(place.url) as session:
        assert sequencer.grow(session, origin="example.org/log/2", now=db.now()) == 2
    with db.transaction(place.url) as session:
        assert [*session.execute(text("SELECT log_id, size FROM log ORDER BY log_id"))] == [(1, 2), (2, 2)]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE log_entry SET leaf = leaf + 1",
        "DELETE FROM log_entry",
        "TRUNCATE log_entry",
        "DELETE FROM log_tile",
        "TRUNCATE log_tile",
        "UPDATE log_tile SET number = number + 1",
        "UPDATE log_tile SET hashes = substr(hashes, 2)",
        "UPDATE log_tile SET hashes = set_byte(hashes, 0, 255 - get_byte(hashes, 0))",
        "DELETE FROM log",
    ],
)
def test_nobody_rewrites_the_tree(place: Place, statement: str) -> None:
    place.log(place.new(), place.new())
    place.grow()
    with (
        pytest.raises(ProgrammingError, match=r"permission denied|only added to"),
        db.transaction(place.url) as session,
    ):
        session.execute(text(statement))
    assert len(check(place)) == 2


def test_a_changed_row_no_longer_is_what_the_log_says(place: Place) -> None:
    place.log(place.new(), place.new())
    place.grow()
    last = "(SELECT disclosure_id FROM log_entry WHERE leaf = 1)"
    place.as_owner(f"UPDATE disclosure SET given = '{{}}' WHERE disclosure_id = {last}")  # noqa: S608
    with pytest.raises(AssertionError):
        check(place)


class Overlapping(RuleBasedStateMachine):
    """People's rows are written by transactions that overlap in any way, while the log grows in between."""

    place: Place

    def __init__(self) -> None:
        super().__init__()
        self.open: list[tuple[Session, set[UUID]]] = []
        self.committed: set[UUID] = set()
        self.people = [uuid4(), uuid4()]
        with db.transaction(self.place.url) as session:
            self.before = set(session.scalars(text("SELECT disclosure_id FROM disclosure")))

    @precondition(lambda self: len(self.open) < 4)
    @rule()
    def begin(self) -> None:
        self.open.append((db.sessions(self.place.url)(), set()))

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def write(self, data: st.DataObject) -> None:
        session, written = data.draw(st.sampled_from(self.open))
        row = self.place.new(data.draw(st.sampled_from(self.people)))
        services.record(session, row)
        written.add(row.disclosure_id)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), keeps=st.booleans())
    def end(self, data: st.DataObject, *, keeps: bool) -> None:
        session, written = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        (session.commit if keeps else session.rollback)()
        session.close()
        self.committed |= written if keeps else set()

    @rule()
    def grow(self) -> None:
        assert self.place.grow() is not None

    @invariant()
    def nothing_is_logged_that_was_not_committed(self) -> None:
        with db.transaction(self.place.url) as session:
            added = list(session.scalars(text("SELECT disclosure_id FROM log_entry")))
        assert len(added) == len(set(added))
        assert set(added) <= self.before | self.committed

    def teardown(self) -> None:
        for session, _ in self.open:
            session.rollback()
            session.close()
        self.place.grow()
        assert {each.disclosure_id for each in check(self.place)} == self.before | self.committed


def test_however_transactions_overlap_each_row_is_added_once(place: Place) -> None:
    Overlapping.place = place
    run_state_machine_as_test(Overlapping, settings=hypothesis(max_examples=20, stateful_step_count=20, deadline=None))


@contextmanager
def open_transaction(place: Place) -> Iterator[Session]:
    with db.sessions(place.url)() as session:
        yield session

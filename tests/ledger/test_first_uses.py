"""The first time that an organisation gets anything of a person: found at once, marked, and written about once."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, text

from portal import db
from portal.ledger import first_uses, services
from portal.ledger.models import FirstUse
from portal.ledger.services import NewDisclosure, NewOutcome

if TYPE_CHECKING:
    from tests.ledger.log_place import Place


def look(place: Place) -> None:
    with db.transaction(place.url) as session:
        first_uses.look(session)


def known(place: Place, person_id: UUID) -> set[UUID]:
    with db.transaction(place.url) as session:
        return first_uses.of_person(session, person_id=person_id)


def company(place: Place) -> None:
    """Let whatever is logged next be by another organisation."""
    words: dict[str, Any] = {"company_id": uuid4(), "client_id": "c", "company_name": "Gym", "purpose": "let you in"}
    with db.transaction(place.url) as session:
        place.context_id = services.context(session, **words)


def report(place: Place, row: NewDisclosure, outcome: str) -> None:
    became: dict[str, Any] = {
        "at": row.at,
        "disclosure_id": row.disclosure_id,
        "outcome": outcome,
        "detail": "",
        "milliseconds": 1,
    }
    with db.transaction(place.url) as session:
        services.report(session, NewOutcome(person_id=row.person_id, **became), now=db.now())


@pytest.mark.parametrize(
    ("members", "reported", "counts"),
    [
        ({"outcome": "completed", "channel": "pull"}, "", True),
        ({}, "completed", True),
        ({}, "unknown", True),
        ({}, "failed", False),
        ({}, "", False),
        ({"outcome": "denied", "given": {}}, "", False),
        ({"outcome": "completed", "channel": "staff", "given": {}}, "", False),
        ({"outcome": "completed", "channel": "consent", "given": {}}, "", False),
    ],
)
def test_what_may_have_arrived_is_a_first_use(
    place: Place,
    members: dict[str, Any],
    reported: str,
    counts: bool,  # noqa: FBT001 - pytest hands it over by name
) -> None:
    row = place.new(uuid4(), **members)
    place.log(row)
    look(place)
    if reported:
        report(place, row, reported)
        look(place)
    assert known(place, row.person_id) == ({row.disclosure_id} if counts else set())


def test_each_organisation_has_one_first_use_of_each_person(place: Place) -> None:
    one, other = uuid4(), uuid4()
    rows = [
        place.new(who, outcome="completed", at=db.now() - timedelta(seconds=n)) for n in (1, 2) for who in (one, other)
    ]
    place.log(*rows)
    look(place)
    place.log(place.new(one, outcome="completed"))
    company(place)
    elsewhere = place.new(one, outcome="completed")
    place.log(elsewhere)
    look(place)
    look(place)
    assert known(place, one) == {rows[2].disclosure_id, elsewhere.disclosure_id}
    assert known(place, other) == {rows[3].disclosure_id}


def test_what_is_committed_late_is_not_missed(place: Place) -> None:
    late = place.new(uuid4(), outcome="completed")
    with db.transaction(place.url) as session:
        services.record(session, late)
        place.log(place.new(outcome="completed"))
        look(place)
    look(place)
    assert known(place, late.person_id) == {late.disclosure_id}


def test_two_who_look_at_once_do_not_wait_for_each_other(place: Place) -> None:
    with db.transaction(place.url) as session:
        first_uses.look(session)
        look(place)


def test_a_person_is_taken_to_be_written_to_once_for_all_of_theirs(place: Place) -> None:
    person_id = uuid4()
    place.log(place.new(person_id, outcome="completed"))
    company(place)
    place.log(place.new(person_id, outcome="completed"))
    look(place)
    with db.transaction(place.url) as session:
        assert first_uses.pending(session)
        assert first_uses.take(session) == person_id
        assert first_uses.take(session) is None
        session.execute(text("UPDATE first_use SET leased_until = now() - interval '1 second'"))
        assert first_uses.take(session) == person_id
        first_uses.told(session, person_id=person_id)
        session.execute(text("UPDATE first_use SET leased_until = NULL"))
        assert not first_uses.pending(session)
        assert first_uses.take(session) is None


def test_nobody_is_written_to_about_what_is_long_past(place: Place) -> None:
    row = place.new(uuid4(), outcome="completed", at=db.now() - timedelta(days=2))
    place.log(row)
    look(place)
    with db.transaction(place.url) as session:
        assert session.scalar(select(FirstUse.told_at).where(FirstUse.person_id == row.person_id)) is not None
        assert not first_uses.pending(session)


def test_a_database_that_counts_anew_is_looked_at_from_now_on(place: Place) -> None:
    place.as_owner("UPDATE first_use_watch SET seen = '9000000:9000000:'")
    look(place)
    row = place.new(uuid4(), outcome="completed")
    place.log(row)
    look(place)
    assert known(place, row.person_id) == {row.disclosure_id}

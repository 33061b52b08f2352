"""What an operator is shown of one row: that it stands in the signed log, or that it is not what was logged."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest

from portal import db
from portal.ledger import evidence, published, publisher, services
from portal.ledger.services import NewOutcome
from portal.vault.notes import Signer
from tests.ledger.log_place import ORIGIN, Place

if TYPE_CHECKING:
    from pathlib import Path

    from portal.ledger.services import NewDisclosure

SIGNER = Signer(ORIGIN, bytes(range(32)))


def sign(place: Place, head: Path) -> None:
    place.grow()
    with db.transaction(place.url) as session:
        publisher.publish(session, signer=SIGNER, head=head, now=db.now())


def shown(place: Place, person_id: UUID, row: NewDisclosure) -> list[bool]:
    with db.transaction(place.url) as session:
        log = published.newest(session)
        assert log
        found = evidence.of_row(session, log, person_id=person_id, disclosure_id=row.disclosure_id)
        return [evidence.stands(each, log) for each in found]


@pytest.fixture
def rows(place: Place, tmp_path: Path) -> list[NewDisclosure]:
    """Three rows of one person among others', the second of them received; signed."""
    person_id = uuid4()
    made = [place.new(person_id) for _ in range(3)]
    place.log(*made, place.new())
    received = NewOutcome(
        person_id=person_id, at=made[1].at, disclosure_id=made[1].disclosure_id, outcome="completed", detail="",
        milliseconds=3,
    )  # fmt: skip
    with db.transaction(place.url) as session:
        services.report(session, received, now=db.now())
    sign(place, tmp_path / "head")
    return made


def test_a_row_and_what_became_of_it_are_proved(place: Place, rows: list[NewDisclosure]) -> None:
    assert [shown(place, row.person_id, row) for row in rows] == [[True], [True, True], [True]]


def test_what_is_not_signed_yet_is_not_there_and_nobody_elses_is(place: Place, rows: list[NewDisclosure]) -> None:
    later = place.new(rows[0].person_id)
    place.log(later)
    assert shown(place, rows[0].person_id, later) == []
    assert shown(place, uuid4(), rows[0]) == []


@pytest.mark.parametrize(
    "change", ["asked = '[\"birth.date\"]'", "at = at", "outcome = 'denied'", "grant_version = 7", "reason = 'x'"]
)
def test_a_row_that_was_changed_behind_the_log_is_named(place: Place, rows: list[NewDisclosure], change: str) -> None:
    row = rows[1]
    place.as_owner(f"UPDATE disclosure SET {change} WHERE disclosure_id = '{row.disclosure_id}'")  # noqa: S608 - the test owns both
    assert shown(place, row.person_id, row) == [change == "at = at", True]
    assert shown(place, row.person_id, rows[0]) == [True], "its neighbours are as they were"

"""Looks of staff and operators stand in the person's log: once an hour for each of them, by role and not by name."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest

from portal import db
from portal.ledger import queries, rules, views
from portal.ledger.views import Viewer

if TYPE_CHECKING:
    from portal.ledger.queries import Entry
    from tests.ledger.log_place import Place

HOUR = db.now().replace(minute=0, second=0, microsecond=0)
PERSON, ONE, OTHER = uuid4(), uuid4(), uuid4()


def viewer(viewer_id: UUID = ONE, *, client_id: str = "live_a") -> Viewer:
    return Viewer(
        viewer_id=viewer_id, channel="staff", role="developer", company_id=uuid4(), client_id=client_id,
        company_name="Brightwell",
    )  # fmt: skip


def see(place: Place, who: Viewer, *, at: datetime = HOUR, person_id: UUID = PERSON) -> None:
    with db.transaction(place.url) as session:
        views.record(session, viewer=who, person_id=person_id, purpose="see what was sent", now=at)


def logged(place: Place, person_id: UUID = PERSON) -> list[Entry]:
    with db.transaction(place.url) as session:
        return queries.of_person(session, person_id=person_id)


def test_a_look_is_logged_without_a_name_or_a_detail(place: Place) -> None:
    see(place, viewer())
    [entry] = logged(place)
    assert (entry.channel, entry.outcome, entry.reason) == ("staff", "completed", "developer")
    assert (entry.asked, entry.given, entry.company_name) == ([], {}, "Brightwell")
    assert str(ONE) not in repr(entry)
    assert rules.how(entry.channel, entry.reason) == "A member of their staff looked at a page about you"
    assert rules.actor(entry.channel, entry.reason) == "a member of their staff (developer)"
    assert rules.outcome(entry.channel, entry.outcome, entry.reason) == "Seen, without what your details say"


def test_an_operator_is_of_no_company(place: Place) -> None:
    see(place, views.operator(ONE, service_name="Master"))
    [entry] = logged(place)
    assert (entry.channel, entry.company_id, entry.company_name) == ("operator", UUID(int=0), "Master")


@pytest.mark.parametrize(
    ("second", "rows"),
    [
        ({"at": HOUR + timedelta(minutes=59)}, 1),
        ({"at": HOUR + timedelta(hours=1)}, 2),
        ({"at": HOUR - timedelta(seconds=1)}, 2),
        ({"who": viewer(OTHER)}, 2),
        ({"who": viewer(client_id="live_b")}, 2),
    ],
)
def test_looks_of_one_hour_are_one(place: Place, second: dict[str, object], rows: int) -> None:
    see(place, viewer())
    see(place, **({"who": viewer()} | second))  # type: ignore[arg-type]
    assert len(logged(place)) == rows


def test_looks_at_the_same_moment_are_one(place: Place) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda second: see(place, viewer(), at=HOUR + timedelta(seconds=second)), range(16)))
    assert len(logged(place)) == 1


def test_a_look_is_no_use_of_details(place: Place) -> None:
    person_id, grant_id = uuid4(), uuid4()
    with db.transaction(place.url) as session:
        views.record(
            session, viewer=viewer(), person_id=person_id, purpose="p", now=datetime.now(UTC), grant_id=grant_id
        )
        assert not queries.was_used(session, person_id=person_id, grant_id=grant_id)
        assert queries.last_uses(session, person_id=person_id) == {}

"""What people read of how a company has done so far: counted right, too few to say said so, one day at a time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from portal import db
from portal.companies.models import Client
from portal.consent.models import Deletion, Grant
from portal.consumer.models import Value
from portal.sync import conduct, jobs
from portal.sync.conduct_web import in_words
from portal.sync.models import Conduct, GrantUse, Receipt, Stream

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from flask.testing import FlaskClient

    from tests.sync.cast import Firm, Shared, World

NOW = db.now()
EARLIER = NOW - timedelta(days=10)


def read(world: World, firm: Firm) -> conduct.Conduct:
    found: conduct.Conduct = world.transact(
        lambda session: conduct.of_company(session, company_id=firm.company_id, now=db.now())
    )
    return found


def gather(world: World, firm: Firm) -> conduct.Conduct:
    world.transact(lambda session: conduct.gather(session, company_id=firm.company_id, now=db.now()))
    return read(world, firm)


@pytest.fixture
def crowd(world: World, firm: Firm) -> list[Shared]:
    """Five people who share since ten days ago."""
    shared = [world.share(world.person(), firm) for _ in range(5)]
    since = update(Grant).where(Grant.client_id == firm.client_id).values(given_at=EARLIER)
    world.transact(lambda session: session.execute(since))
    return shared


def saved_at(session: Session, *, person_id: UUID, sequence: int) -> datetime:
    mine = Value.person_id == person_id, Value.sequence == sequence
    return session.scalars(select(Value.changed_at).where(*mine)).one()


def keep(session: Session, *, rows: Sequence[object]) -> None:
    session.add_all(rows)


def use_changes(world: World, firm: Firm, crowd: list[Shared], *, each: int, seconds: list[float]) -> None:
    """Let everybody change a detail `each` times, and the company say after how many seconds it used it."""
    waits = iter(seconds)
    for shared in crowd:
        for turn in range(each):
            sequence = world.save(shared.person_id, name__full=f"Ada Byrne {turn}")
            saved = world.transact(partial(saved_at, person_id=shared.person_id, sequence=sequence))
            row = Receipt(
                person_id=shared.person_id, grant_id=shared.grant_id, jti=db.new_id().hex, client_id=firm.client_id,
                status="applied", generation=turn + 2, sequence=sequence, received_at=db.now(),
                applied_at=saved + timedelta(seconds=next(waits)),
            )  # fmt: skip
            world.transact(partial(keep, rows=[row]))


def ask_to_delete(world: World, shared: Shared, firm: Firm, *, late: bool) -> None:
    rows = [
        Deletion(
            person_id=shared.person_id, grant_id=shared.grant_id, attribute=name, client_id=firm.client_id,
            state="asked", asked_at=EARLIER, changed_at=EARLIER, due_at=NOW + timedelta(days=-1 if late else 1),
        )
        for name in ("name.full", "email.main")
    ]  # fmt: skip
    world.transact(lambda session: session.add_all(rows))


def test_of_a_new_company_nothing_can_be_said(world: World, firm: Firm) -> None:
    for found in (read(world, firm), gather(world, firm)):
        assert found == conduct.Conduct(conduct.Changes(0, None, told=False), 0, 0, None, None)


def test_half_of_the_changes_were_in_use_by_then(world: World, firm: Firm, crowd: list[Shared]) -> None:
    use_changes(world, firm, crowd, each=4, seconds=[1.0] * 9 + [3.0] * 2 + [500.0] * 9)
    world.set_stream(firm, receipts_at=db.now())
    found = gather(world, firm).changes
    assert (found.number, found.told) == (20, True)
    assert found.median is not None
    assert 2.9 < found.median.total_seconds() < 3.1


@pytest.mark.parametrize(("people", "each"), [(4, 5), (5, 3)], ids=["people", "changes"])
def test_too_few_say_nothing(world: World, firm: Firm, crowd: list[Shared], people: int, each: int) -> None:
    use_changes(world, firm, crowd[:people], each=each, seconds=[1.0] * people * each)
    assert gather(world, firm).changes == conduct.Changes(people * each, None, told=False)


def test_what_was_saved_before_somebody_shared_does_not_count(world: World, firm: Firm, crowd: list[Shared]) -> None:
    use_changes(world, firm, crowd, each=4, seconds=[1.0] * 20)
    later = update(Grant).where(Grant.client_id == firm.client_id).values(given_at=db.now() + timedelta(hours=1))
    world.transact(lambda session: session.execute(later))
    assert gather(world, firm).changes.number == 0


def test_people_are_counted_and_not_their_details(world: World, firm: Firm, crowd: list[Shared]) -> None:
    for place, shared in enumerate(crowd):
        ask_to_delete(world, shared, firm, late=place < 2)
    assert (read(world, firm).overdue, read(world, firm).asked) == (2, None)
    assert (gather(world, firm).overdue, read(world, firm).asked) == (2, 5)


def test_what_is_late_is_told_at_once_and_what_is_settled_no_more(
    world: World, firm: Firm, crowd: list[Shared]
) -> None:
    ask_to_delete(world, crowd[0], firm, late=True)
    assert read(world, firm).overdue == 1
    done = update(Deletion).where(Deletion.grant_id == crowd[0].grant_id).values(state="deleted")
    world.transact(lambda session: session.execute(done))
    assert read(world, firm).overdue == 0


@pytest.mark.parametrize(("people", "said"), [(5, conduct.Looks(10, 20)), (4, conduct.Looks(None, None)), (0, None)])
def test_looks_are_yesterdays_of_those_who_set_a_limit(
    world: World, firm: Firm, crowd: list[Shared], people: int, said: conduct.Looks | None
) -> None:
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    for shared in crowd[:people]:
        limit = update(Grant).where(Grant.grant_id == shared.grant_id).values(pulls_a_day=4)
        used = [
            GrantUse(person_id=shared.person_id, grant_id=shared.grant_id, kind=kind, day=day, used=2)
            for kind, day in (("pull", yesterday), ("check", yesterday), ("pull", yesterday + timedelta(days=1)))
        ]
        world.transact(partial(Session.execute, statement=limit))
        world.transact(partial(keep, rows=used))
    assert gather(world, firm).looks == said


def test_apps_that_are_tests_say_nothing_of_a_company_that_has_others(
    world: World, firm: Firm, crowd: list[Shared]
) -> None:
    ask_to_delete(world, crowd[0], firm, late=True)
    other = world.firm(enabled=False)
    for environment, counted in (("test", 1), ("live", 0)):
        move = update(Client).where(Client.client_id == other.client_id)
        move = move.values(company_id=firm.company_id, environment=environment)
        world.transact(partial(Session.execute, statement=move))
        assert read(world, firm).overdue == counted


def test_each_company_is_gathered_once_a_day(world: World, firm: Firm) -> None:
    gather(world, firm)
    at = world.transact(lambda session: session.get(Conduct, firm.company_id)).gathered_at
    assert world.transact(lambda session: conduct.due(session, now=at)) != firm.company_id
    others = update(Conduct).where(Conduct.company_id != firm.company_id).values(gathered_at=NOW + timedelta(days=9))
    world.transact(lambda session: session.execute(others))
    world.transact(_gather_the_rest)
    assert world.transact(lambda session: conduct.due(session, now=at + timedelta(days=1))) == firm.company_id


def test_the_job_gathers_for_whoever_has_nothing_of_today(world: World, firm: Firm) -> None:
    while world.transact(lambda session: conduct.due(session, now=db.now())):
        jobs.gather_conduct()
    assert world.transact(lambda session: session.get(Conduct, firm.company_id)).gathered_at >= NOW


def _gather_the_rest(session: Session) -> None:
    while company_id := conduct.due(session, now=db.now()):
        conduct.gather(session, company_id=company_id, now=NOW + timedelta(days=9))


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "1 second"), (0.2, "1 second"), (3.2, "4 seconds"), (119, "119 seconds"), (130, "3 minutes"),
     (7300, "3 hours"), (200_000, "3 days")],
)  # fmt: skip
def test_a_time_is_said_in_words_and_never_rounded_down(seconds: float, said: str) -> None:
    assert in_words(timedelta(seconds=seconds)) == said


def test_everybody_can_read_it_in_the_register(
    http: FlaskClient, world: World, firm: Firm, crowd: list[Shared]
) -> None:
    use_changes(world, firm, crowd, each=4, seconds=[2.0] * 20)
    ask_to_delete(world, crowd[0], firm, late=True)
    gather(world, firm)
    slug = firm.name.lower().replace(" ", "-")
    shown = http.get(f"/organisations/{slug}").text
    assert "were in use there within 2 seconds (20 changes counted)" in shown
    assert "<strong>They are late</strong> with deleting what 1 person asked them to delete." in shown
    assert "No question is open" in shown


def test_whoever_never_says_when_is_said_to(http: FlaskClient, world: World, firm: Firm) -> None:
    slug = firm.name.lower().replace(" ", "-")
    assert "They do not tell us when they use a detail that has changed" in http.get(f"/organisations/{slug}").text
    assert world.transact(lambda session: session.scalar(select(Stream.receipts_at).where(
        Stream.client_id == firm.client_id))) is None  # fmt: skip

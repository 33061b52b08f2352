"""Batch pulls of many companies: each has its turn, letters to people wait for none, and what is kept has a bound."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select, text, update

from portal import db, queue
from portal.companies.models import Client
from portal.sync import api, away_letters, batches, jobs, pull_statements, rules
from portal.sync.models import BatchPull, BatchPullItem
from portal.web import limits
from tests.sync.caller import Caller

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flask.testing import FlaskClient
    from werkzeug.test import TestResponse

    from tests.sync.cast import Firm, Shared, World

RUN, LETTERS = "portal.sync.jobs.run_pulls", away_letters.TRAY.job


@pytest.fixture(autouse=True)
def nothing_else(world: World) -> Iterator[None]:
    """No job is rung for, and no other pull waits."""
    over = text("UPDATE batch_pull SET state = 'expired' WHERE state IN ('queued', 'running')")
    world.transact(lambda session: session.execute(over))
    clear(world)
    yield
    clear(world)


@pytest.fixture
def small_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one turn one subject is answered."""
    monkeypatch.setattr(batches, "_AT_ONCE", 1)
    monkeypatch.setattr(jobs, "_TURN_SECONDS", 0.001)


def clear(world: World) -> None:
    queue.answer(world.settings.redis_url, RUN)
    queue.connection(world.settings.redis_url).delete(queue.queue(world.settings.redis_url, queue.WORK).key)


def waiting(world: World) -> list[str]:
    """Return the jobs of the queue, in their order."""
    return [str(job.func_name) for job in queue.queue(world.settings.redis_url, queue.WORK).get_jobs()]


def turn(world: World) -> str:
    """Do what the queue's first job would do."""
    first = queue.queue(world.settings.redis_url, queue.WORK)
    name = first.get_jobs()[0].func_name
    first.pop_job_id()
    if name == RUN:
        jobs.run_pulls()
    return str(name)


def begin(caller: Caller, subjects: Sequence[str]) -> str:
    answer = caller.post("/api/v1/pulls", json={"subjects": subjects})
    assert answer.status_code == 202, answer.text
    return str(answer.get_json()["id"])


def done(world: World, pull_id: str) -> int:
    items = select(BatchPullItem.position).where(BatchPullItem.pull_id == pull_id, BatchPullItem.state != "waiting")
    return len(world.transact(lambda session: session.scalars(items).all()))


def nobodies(count: int) -> list[str]:
    return [f"nobody-{number}" for number in range(count)]


# --- Turns ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("small_turns")
def test_a_letter_to_people_waits_for_one_turn(world: World, caller: Caller) -> None:
    for _ in range(5):
        begin(caller, nobodies(4))
    queue.ring(world.settings.redis_url, queue.WORK, LETTERS)
    assert waiting(world) == [RUN, LETTERS]
    assert turn(world) == RUN
    assert waiting(world) == [LETTERS, RUN]


@pytest.mark.usefixtures("small_turns")
def test_companies_take_turns_however_many_apps_and_pulls_one_has(
    world: World, firm: Firm, http: FlaskClient, caller: Caller
) -> None:
    second = world.firm()
    also = update(Client).where(Client.client_id == second.client_id).values(company_id=firm.company_id)
    world.transact(lambda session: session.execute(also))
    many = [begin(caller, nobodies(4)), *(begin(Caller(http, world, second), nobodies(4)) for _ in range(4))]
    one = begin(Caller(http, world, world.firm()), nobodies(3))
    for _ in range(6):
        turn(world)
    assert (sum(done(world, each) for each in many), done(world, one)) == (3, 3)
    # The oldest comes first: a company gets one result rather than five halves.
    assert done(world, many[0]) == 3


@pytest.mark.usefixtures("small_turns")
def test_new_pulls_of_one_client_do_not_stand_before_anothers(world: World, http: FlaskClient, caller: Caller) -> None:
    """Each was done in one turn, and nothing of its client stood there as served."""
    other = begin(Caller(http, world, world.firm()), nobodies(6))
    for _ in range(6):
        begin(caller, nobodies(1))
        turn(world)
        turn(world)
    assert done(world, other) == 6


def test_a_turn_ends_with_everything_done_or_rung_for(world: World, caller: Caller) -> None:
    pulls = [begin(caller, nobodies(3)) for _ in range(3)]
    assert turn(world) == RUN
    assert [done(world, each) for each in pulls] == [3] * 3
    assert waiting(world) == []


def test_one_that_breaks_leaves_the_others_their_turn(
    world: World, http: FlaskClient, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, other = begin(caller, nobodies(1)), begin(Caller(http, world, world.firm()), nobodies(1))
    work = jobs.run_pull

    def work_or_break(pull_id: str, *, ends: float) -> None:
        if pull_id == broken:
            with db.transaction(world.settings.database_url) as session:
                batches.take(session, pull_id=pull_id)  # type: ignore[arg-type]
            raise RuntimeError
        work(pull_id, ends=ends)

    monkeypatch.setattr(jobs, "run_pull", work_or_break)
    with pytest.raises(RuntimeError):
        turn(world)
    assert turn(world) == RUN
    assert (done(world, broken), done(world, other)) == (0, 1)


def test_the_reconciler_rings_for_a_pull_nobody_was_rung_for(world: World, caller: Caller) -> None:
    pull_id = begin(caller, nobodies(1))
    clear(world)
    asked = update(BatchPull).where(BatchPull.pull_id == pull_id)
    world.transact(lambda session: session.execute(asked.values(requested_at=db.now() - timedelta(seconds=3))))
    jobs.reconcile()
    assert RUN in waiting(world)


# --- What is kept -----------------------------------------------------------------------------------------


def kept(world: World, firm: Firm, subjects: int, *, until: timedelta = timedelta(hours=20)) -> None:
    """Give the client a finished pull of so many subjects."""
    pull = BatchPull(
        client_id=firm.client_id, state="done", attributes=[], total=subjects, requested_at=db.now(),
        finished_at=db.now(), expires_at=db.now() + until,
    )  # fmt: skip
    world.transact(lambda session: session.add(pull))


def test_a_client_has_results_for_so_many_people_kept(world: World, firm: Firm, caller: Caller) -> None:
    kept(world, firm, rules.MOST_KEPT - 3)
    kept(world, firm, 1, until=timedelta(minutes=5))
    begin(caller, nobodies(2))
    refused = caller.post("/api/v1/pulls", json={"subjects": ["one-more"]})
    problem = refused.get_json()
    assert (refused.status_code, problem["type"].rpartition("/")[2]) == (429, "too-much-kept")
    assert "an hour later" in problem["title"]
    assert 290 <= int(refused.headers["Retry-After"]) <= 300


def test_what_is_over_and_what_others_have_does_not_count(world: World, firm: Firm, caller: Caller) -> None:
    kept(world, firm, rules.MOST_KEPT, until=timedelta(seconds=-1))
    kept(world, world.firm(), rules.MOST_KEPT)
    begin(caller, nobodies(1))


def test_a_result_fetched_to_its_end_goes_an_hour_later(
    world: World, firm: Firm, shared: Shared, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "_PAGE_CHARACTERS", 1)
    other = world.share(world.person(), firm)
    pull_id = begin(caller, [shared.sub, other.sub])
    jobs.run_pull(pull_id)

    def left() -> timedelta:
        found: BatchPull = world.transact(lambda session: session.get_one(BatchPull, pull_id))
        return found.expires_at - db.now()

    def fetch(address: str) -> TestResponse:
        return caller.get(address)

    first = fetch(f"/api/v1/pulls/{pull_id}/result").get_json()
    assert left() > timedelta(hours=23)
    fetch(first["links"]["next"])
    assert timedelta(minutes=59) < left() <= timedelta(hours=1)
    before = left()
    time.sleep(0.01)
    assert fetch(first["links"]["next"]).status_code == 200
    assert left() < before, "fetching it again keeps it no longer"


def test_pages_are_fetched_so_often(shared: Shared, caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is some megabytes, and as much work as a hundred other calls."""
    monkeypatch.setattr(api, "_PAGES", limits.Rate("few-pull-pages", 2, 60))
    pull_id = begin(caller, [shared.sub])
    jobs.run_pull(pull_id)
    answers = [caller.get(f"/api/v1/pulls/{pull_id}/result") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert 0 < int(answers[2].headers["Retry-After"]) <= 60
    assert caller.get(f"/api/v1/pulls/{pull_id}").status_code == 200


def test_pulls_of_long_ago_are_forgotten(world: World, firm: Firm) -> None:
    def there(session: object) -> int:
        mine = select(BatchPull.pull_id).where(BatchPull.client_id == firm.client_id)
        return len(session.scalars(mine).all())  # type: ignore[attr-defined]

    kept(world, firm, 1, until=timedelta(minutes=-1))

    def expire(days: int) -> None:
        # Once to empty it, once to forget it.
        for _ in range(2):
            world.transact(lambda session: batches.expire(session, now=db.now() + timedelta(days=days)))

    expire(29)
    assert world.transact(there) == 1
    expire(31)
    assert world.transact(there) == 0


def test_one_asked_for_just_now_is_left_to_whoever_was_rung_for_it(world: World, caller: Caller) -> None:
    begin(caller, nobodies(1))
    assert world.transact(lambda session: session.scalar(pull_statements.NEXT_PULL, {"seconds": 0.0}))
    assert world.transact(lambda session: session.scalar(pull_statements.NEXT_PULL, {"seconds": 60.0})) is None

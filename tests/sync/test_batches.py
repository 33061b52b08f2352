"""A batch pull whose worker dies, and one whose result is longer than a page."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select, update

from portal import db
from portal.ledger import queries as ledger
from portal.sync import batches, jobs
from portal.sync.models import BatchPull, BatchPullItem
from tests.sync.test_ceilings import used

if TYPE_CHECKING:
    from tests.sync.caller import Caller
    from tests.sync.cast import Firm, Shared, World

_WORKER = "import sys; from portal.sync import jobs; jobs.run_pull(sys.argv[1])"
_PULL = """
import sys
from portal import config
from portal.app import create_app
create_app(config.current()).test_client().get(sys.argv[1], headers={"Authorization": sys.argv[2], "DPoP": sys.argv[3]})
"""


def die(point: str, program: str, *arguments: str) -> None:
    command = [sys.executable, "-c", program, *arguments]
    ended = subprocess.run(command, env=os.environ | {"CRASH_AT": point}, check=False, timeout=60)
    assert ended.returncode == -signal.SIGKILL


def rows(world: World, shared: Shared) -> list[tuple[str, bool]]:
    found = world.transact(lambda session: ledger.of_person(session, person_id=shared.person_id))
    return [(row.outcome, bool(row.given)) for row in found if row.channel in {"batch", "pull"}]


def prepared(world: World, pull_id: str) -> dict[str, bool]:
    items = select(BatchPullItem.sub, BatchPullItem.message).where(BatchPullItem.pull_id == pull_id)
    return {sub: message is not None for sub, message in world.transact(lambda session: session.execute(items).all())}


@pytest.mark.parametrize(
    ("point", "many"), [("batch.leased", 3), ("batch.answered", 3), ("batch.answered:2", 55), ("batch.released", 3)]
)
def test_a_worker_that_dies_leaves_a_pull_that_another_finishes(
    *, world: World, firm: Firm, caller: Caller, point: str, many: int
) -> None:
    people = [world.share(world.person(), firm) for _ in range(many)]
    subjects = [each.sub for each in people]
    started = caller.post("/api/v1/pulls", json={"subjects": subjects}).get_json()["id"]
    die(point, _WORKER, started)
    before = prepared(world, started)
    assert [rows(world, each) for each in people] == [
        [("sending", True)] if before[each.sub] else [] for each in people
    ]
    assert caller.get(f"/api/v1/pulls/{started}").get_json()["state"] == "running"
    jobs.run_pull(started)
    assert prepared(world, started) == before, "its lease is the dead worker's"
    over = update(BatchPull).where(BatchPull.pull_id == started).values(leased_until=db.now())
    world.transact(lambda session: session.execute(over))
    jobs.run_pull(started)
    assert caller.get(f"/api/v1/pulls/{started}").get_json()["state"] == "done"
    result = caller.get(f"/api/v1/pulls/{started}/result").get_json()
    assert [each["sub"] for each in result["results"] if "message" in each] == subjects
    assert {tuple(rows(world, each)) for each in people} == {(("completed", True),)}
    assert {used(world, each) for each in people} == {1}


def test_a_pull_that_dies_before_it_tells_is_logged_once(world: World, firm: Firm, caller: Caller) -> None:
    shared = world.share(world.person(), firm)
    headers = caller.headers("GET", f"/api/v1/people/{shared.sub}")
    die("pull.logged", _PULL, f"/api/v1/people/{shared.sub}", headers["Authorization"], headers["DPoP"])
    assert rows(world, shared) == [("completed", True)]
    assert caller.get(f"/api/v1/people/{shared.sub}").status_code == 200
    assert (len(rows(world, shared)), used(world, shared)) == (2, 2)


def test_a_long_result_comes_in_pages(
    world: World, firm: Firm, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "_PAGE_CHARACTERS", 5000)
    people = [world.share(world.person(), firm) for _ in range(7)]
    world.step("withdraw", people[3])
    subjects = [each.sub for each in people] + ["nobody"]
    started = caller.post("/api/v1/pulls", json={"subjects": subjects}).get_json()["id"]
    jobs.run_pull(started)
    pages, address = list[dict[str, Any]](), f"/api/v1/pulls/{started}/result"
    while address:
        pages.append(caller.get(address).get_json())
        fetched = {each["sub"] for page in pages for each in page["results"] if "message" in each}
        for each in people:
            if each.sub != people[3].sub:
                assert rows(world, each) == [("completed" if each.sub in fetched else "sending", True)]
        address = pages[-1]["links"]["next"]
    assert len(pages) > 2
    assert [each["sub"] for page in pages for each in page["results"]] == subjects


def test_a_page_is_found_again_and_what_follows_is_not_handed_out_after_a_stop(
    world: World, firm: Firm, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "_PAGE_CHARACTERS", 1)
    people = [world.share(world.person(), firm) for _ in range(2)]
    started = caller.post("/api/v1/pulls", json={"subjects": [each.sub for each in people]}).get_json()["id"]
    jobs.run_pull(started)
    first = caller.get(f"/api/v1/pulls/{started}/result").get_json()
    world.step("withdraw", people[1])
    assert caller.get(f"/api/v1/pulls/{started}/result").get_json() == first
    second = caller.get(first["links"]["next"]).get_json()
    assert second["results"] == [{"sub": people[1].sub, "problem": "consent-withdrawn"}]
    assert second["links"] == {"next": None}


@pytest.mark.parametrize("query", ["after=-2", "after=x", "after=", "after=99999", "after=%D9%A3", "page=2"])
def test_a_page_that_no_link_names_is_refused(world: World, firm: Firm, caller: Caller, query: str) -> None:
    shared = world.share(world.person(), firm)
    started = caller.post("/api/v1/pulls", json={"subjects": [shared.sub]}).get_json()["id"]
    jobs.run_pull(started)
    assert caller.get(f"/api/v1/pulls/{started}/result?{query}").status_code == 422
    assert caller.get(f"/api/v1/pulls/{started}/result?after=0").get_json()["results"] == []

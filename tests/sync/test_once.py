"""A grant for one request, asked for by many at the same moment."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier
from typing import TYPE_CHECKING

from portal.app import create_app
from portal.ledger import queries as ledger
from portal.sync import jobs
from tests.sync.caller import Caller

if TYPE_CHECKING:
    from portal.config import Settings
    from tests.sync.cast import World

TOGETHER = 6
ROUNDS = 5


def test_many_at_the_same_moment_are_one_answer(settings: Settings, world: World) -> None:
    app = create_app(settings)
    firm = world.firm(mode="once")
    caller = Caller(app.test_client(), world, firm)
    for _ in range(ROUNDS):
        shared = world.share(world.person(), firm, mode="once")
        path = f"/api/v1/people/{shared.sub}"
        barrier = Barrier(TOGETHER)

        def ask(headers: dict[str, str], path: str = path, barrier: Barrier = barrier) -> int:
            client = app.test_client()
            barrier.wait()
            return client.get(path, headers=headers).status_code

        proofs = [caller.headers("GET", path) for _ in range(TOGETHER)]
        with ThreadPoolExecutor(TOGETHER) as pool:
            statuses = sorted(pool.map(ask, proofs))
        assert statuses == [200] + [403] * (TOGETHER - 1)
        rows = world.transact(partial(ledger.of_person, person_id=shared.person_id))
        pulled = sorted((row.outcome, row.reason) for row in rows if row.channel == "pull")
        assert pulled == [("completed", None)] + [("denied", "consent-used-up")] * (TOGETHER - 1)


def test_two_batches_at_the_same_moment_are_one_answer(settings: Settings, world: World) -> None:
    http = create_app(settings).test_client()
    firm = world.firm(mode="once")
    caller = Caller(http, world, firm)
    for _ in range(ROUNDS):
        shared = world.share(world.person(), firm, mode="once")
        asked = [caller.post("/api/v1/pulls", json={"subjects": [shared.sub]}).get_json() for _ in range(2)]
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(jobs.run_pull, [state["id"] for state in asked]))
        states = [caller.get(state["links"]["self"]).get_json() for state in asked]
        assert sorted(state["answered"] for state in states) == [0, 1]

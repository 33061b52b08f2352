"""The log says of every disclosure which of the company's keys can open it, by whatever way it went."""

from __future__ import annotations

from typing import TYPE_CHECKING

from joserfc.jwk import ECKey

from portal.ledger import queries as ledger
from portal.sync import jobs, streams
from tests.sync.caller import Caller
from tests.sync.test_keys_api import add, choose, prove, wait
from tests.sync.test_one_time_key import ask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flask.testing import FlaskClient

    from tests.sync.cast import Firm, Shared, World


def sealed_to(world: World, shared: Shared, channel: str) -> list[Sequence[str] | None]:
    """Return what the rows of one channel say, the newest first."""
    found = world.transact(lambda session: ledger.of_person(session, person_id=shared.person_id))
    return [row.sealed_to for row in found if row.channel == channel]


def test_a_push_names_the_key_of_its_time_and_a_step_none(world: World, firm: Firm, shared: Shared) -> None:
    jobs.drain()
    prove(world, firm, add(world, firm, "enc-2"))
    wait(world, firm)
    world.save(shared.person_id, **{"name.full": "Ada Byron"})
    jobs.drain()
    assert sealed_to(world, shared, "push") == [["enc-2"], ["enc-1"]]
    assert sealed_to(world, shared, "consent") == [None]
    world.step("withdraw", shared)
    jobs.drain()
    assert sealed_to(world, shared, "notice") == [None], "what is told without details is sealed to nobody"


def test_a_pull_names_the_key_of_its_answer_as_well(world: World, shared: Shared, caller: Caller) -> None:
    once = ECKey.generate_key("P-256", private=True)
    assert ask(caller, shared, once.as_dict(private=False)).status_code == 200
    answer = caller.get(f"/api/v1/people/{shared.sub}")
    current = caller.get(f"/api/v1/people/{shared.sub}", headers={"If-None-Match": answer.headers["ETag"]})
    assert current.status_code == 304
    caller.get(f"/api/v1/people/{shared.sub}?attributes=phone.mobile")
    world.step("pause", shared)
    assert caller.get(f"/api/v1/people/{shared.sub}").status_code == 403
    said = sealed_to(world, shared, "pull")
    assert said[-1] == sorted(["enc-1", once.thumbprint()])
    assert said[-2] == ["enc-1"]
    assert set(map(str, said[:-2])) == {"None"}, "nothing was given"


def test_many_pulled_and_what_is_fetched_say_it_too(http: FlaskClient, world: World, firm: Firm) -> None:
    shared, caller = world.share(world.person(), firm), Caller(http, world, firm)
    started = caller.post("/api/v1/pulls", json={"subjects": [shared.sub]}).get_json()["id"]
    jobs.run_pull(started)
    assert sealed_to(world, shared, "batch") == [["enc-1"]]
    world.set_stream(firm, method="poll", url=None)
    fetched = Caller(http, world, firm, scope="people:read").post(streams.EVENTS, json={"returnImmediately": True})
    assert fetched.status_code == 200
    assert sealed_to(world, shared, "poll") == [["enc-1"]]


def test_each_department_is_named(world: World, firm: Firm, caller: Caller) -> None:
    prove(world, firm, add(world, firm, "billing-1", group="billing"))
    wait(world, firm)
    world.transact(lambda session: choose(session, firm, {"email.main": "billing"}))
    shared = world.share(world.person(), firm)
    jobs.drain()
    assert caller.get(f"/api/v1/people/{shared.sub}").status_code == 200
    for channel in ("push", "pull"):
        assert sealed_to(world, shared, channel) == [["billing-1", "enc-1"]]

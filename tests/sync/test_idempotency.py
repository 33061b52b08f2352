"""A batch pull that is asked for again by the same key is the same pull, at whatever moment it is asked for."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from threading import Barrier
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as how
from hypothesis import strategies as st
from sqlalchemy import func, select

from portal import db
from portal.sync import idempotency, jobs
from portal.sync.models import BatchPull, IdempotencyKey
from tests.sync.caller import Caller

if TYPE_CHECKING:
    from flask import Flask
    from werkzeug.test import TestResponse

    from tests.sync.cast import Firm, Shared, World

KEY = "8e03978e-40d5-43e8-bc93-6894a57f9324"
TOGETHER = 20


def post(caller: Caller, subjects: list[str], key: str | None = KEY, **more: Any) -> TestResponse:  # noqa: ANN401 - members of the body
    headers = caller.headers("POST", "/api/v1/pulls") | ({"Idempotency-Key": key} if key is not None else {})
    return caller.http.post("/api/v1/pulls", headers=headers, json={"subjects": subjects, **more})


def code(answer: TestResponse) -> str:
    return str(answer.get_json()["type"]).rpartition("/")[2]


def pulls(world: World, firm: Firm) -> int:
    count = select(func.count()).where(BatchPull.client_id == firm.client_id)
    return int(world.transact(lambda session: session.scalar(count)))


def test_asking_again_is_told_of_the_first(world: World, firm: Firm, shared: Shared, caller: Caller) -> None:
    first = post(caller, [shared.sub])
    assert first.headers["Location"] == first.get_json()["links"]["self"]
    assert int(first.headers["Retry-After"]) >= 1
    second = post(caller, [shared.sub], key=f'"{KEY}"')
    assert (second.status_code, second.headers["Location"]) == (202, first.headers["Location"])
    assert second.get_json() == first.get_json()
    jobs.run_pull(first.get_json()["id"])
    third = post(caller, [shared.sub])
    assert (third.status_code, third.get_json()["id"], third.get_json()["state"]) == (
        202,
        first.get_json()["id"],
        "done",
    )
    assert "Retry-After" not in third.headers
    assert pulls(world, firm) == 1


def test_without_a_key_and_with_another_each_is_one_of_its_own(
    world: World, firm: Firm, shared: Shared, caller: Caller
) -> None:
    for key in (None, None, "one", "two"):
        assert post(caller, [shared.sub], key=key).status_code == 202
    assert pulls(world, firm) == 4


@pytest.mark.parametrize("other", [{"attributes": ["name.full"]}, {"subjects": ["somebody-else"]}])
def test_a_key_stands_for_one_request(shared: Shared, caller: Caller, other: dict[str, Any]) -> None:
    post(caller, [shared.sub])
    again = {"subjects": [shared.sub]} | other
    answer = post(caller, again.pop("subjects"), **again)
    assert (answer.status_code, code(answer)) == (422, "idempotency-key-reused")


def test_a_key_is_a_clients_own(app: Flask, world: World, shared: Shared, caller: Caller) -> None:
    theirs = Caller(app.test_client(), world, world.firm())
    assert post(caller, [shared.sub]).get_json()["id"] != post(theirs, [shared.sub]).get_json()["id"]


@pytest.mark.parametrize("key", ["", " ", '"', '""', '"a" "b"', "a b", "a,b", '"a", "b"', "x" * 256, 'a"b', "\u00e9"])
def test_what_is_no_key_is_refused(world: World, firm: Firm, shared: Shared, caller: Caller, key: str) -> None:
    answer = post(caller, [shared.sub], key=key)
    assert (answer.status_code, code(answer)) == (400, "idempotency-key-malformed")
    assert pulls(world, firm) == 0


def test_twenty_at_the_same_moment_are_one_pull(app: Flask, world: World, firm: Firm, shared: Shared) -> None:
    caller = Caller(app.test_client(), world, firm)
    for number in range(3):
        barrier = Barrier(TOGETHER)
        proven = [caller.headers("POST", "/api/v1/pulls") | {"Idempotency-Key": f"k{number}"} for _ in range(TOGETHER)]

        def ask(headers: dict[str, str], barrier: Barrier = barrier) -> tuple[int, str]:
            http = app.test_client()
            barrier.wait()
            answer = http.post("/api/v1/pulls", headers=headers, json={"subjects": [shared.sub]})
            return answer.status_code, answer.get_json()["id"]

        with ThreadPoolExecutor(TOGETHER) as pool:
            assert len(set(pool.map(ask, proven))) == 1
        assert pulls(world, firm) == number + 1


def test_the_key_of_the_tenth_pull_is_known_when_there_is_no_room(shared: Shared, caller: Caller) -> None:
    answers = [post(caller, [shared.sub], key=f"key-{number}") for number in range(11)]
    assert [answer.status_code for answer in answers] == [202] * 10 + [429]
    assert post(caller, [shared.sub], key="key-9").get_json()["id"] == answers[9].get_json()["id"]


def test_it_is_kept_as_a_hash_for_a_day(world: World, firm: Firm, shared: Shared, caller: Caller) -> None:
    post(caller, [shared.sub])
    mine = select(IdempotencyKey).where(IdempotencyKey.client_id == firm.client_id)
    (row,) = world.transact(lambda session: session.scalars(mine).all())
    assert (len(row.key_hash), len(row.fingerprint)) == (32, 32)
    assert timedelta(hours=23) < row.expires_at - db.now() <= timedelta(hours=24)
    for late, left in ((timedelta(hours=23), 1), (timedelta(hours=25), 0)):
        world.transact(partial(idempotency.forget, now=db.now() + late))
        assert len(world.transact(lambda session: session.scalars(mine).all())) == left


_ASKED = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([["x"], ["y"], ["x", "y"]])), max_size=8)


@given(asked=_ASKED)
@how(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
def test_a_key_means_what_it_meant_first(app: Flask, world: World, asked: list[tuple[str, list[str]]]) -> None:
    firm = world.firm(enabled=False)
    caller, meant = Caller(app.test_client(), world, firm), dict[str, tuple[list[str], str]]()
    for key, subjects in asked:
        answer = post(caller, subjects, key=key)
        before = meant.setdefault(key, (subjects, answer.get_json().get("id", "")))
        if before[0] == subjects:
            assert (answer.status_code, answer.get_json()["id"]) == (202, before[1])
        else:
            assert code(answer) == "idempotency-key-reused"
    assert pulls(world, firm) == len(meant)

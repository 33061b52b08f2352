"""How often a company may look in a day: exactly so often, on every way together, and logged when it is refused."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from threading import Barrier
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import settings as how
from hypothesis import strategies as st
from sqlalchemy import func, select, update

from portal import db
from portal.app import create_app
from portal.companies import queries as companies
from portal.ledger import queries as ledger
from portal.oauth import ceilings, tokens
from portal.oauth.models import AuthorizationCode
from portal.sync import jobs
from portal.sync.models import GrantUse
from tests.purposes import amend
from tests.sync.caller import Caller
from tests.sync.test_bounds import persons_caller

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flask import Flask
    from sqlalchemy.orm import Session
    from werkzeug.test import TestResponse

    from portal.config import Settings
    from tests.sync.cast import Firm, Shared, World

CEILING = 4


@pytest.fixture
def firm(world: World) -> Firm:
    return limited(world, CEILING)


def limited(world: World, pulls_a_day: int | None, mode: str = "kept-up-to-date") -> Firm:
    firm = world.firm(mode=mode)
    world.transact(lambda session: amend(session, firm.purpose_id, pulls_a_day=pulls_a_day))
    return firm


def logged(world: World, shared: Shared) -> list[tuple[str, str, str | None, bool]]:
    rows = world.transact(lambda session: ledger.of_person(session, person_id=shared.person_id, limit=500))
    return [(row.channel, row.outcome, row.reason, bool(row.given)) for row in rows if row.channel != "consent"]


def used(world: World, shared: Shared, kind: str = "pull") -> int:
    count = select(func.coalesce(func.sum(GrantUse.used), 0)).where(
        GrantUse.person_id == shared.person_id, GrantUse.grant_id == shared.grant_id, GrantUse.kind == kind
    )
    return int(world.transact(lambda session: session.scalar(count)))


def code(answer: TestResponse) -> str:
    return str(answer.get_json()["type"]).rpartition("/")[2]


def ask(caller: Caller, shared: Shared, times: int) -> list[int]:
    return [caller.get(f"/api/v1/people/{shared.sub}").status_code for _ in range(times)]


def test_one_look_too_many_waits_for_the_next_day(world: World, shared: Shared, caller: Caller) -> None:
    assert ask(caller, shared, CEILING) == [200] * CEILING
    refused = caller.get(f"/api/v1/people/{shared.sub}")
    assert (refused.status_code, code(refused)) == (429, "too-often")
    now = datetime.now(UTC)
    tomorrow = datetime(now.year, now.month, now.day, tzinfo=UTC) + timedelta(days=1)
    assert 0 <= int(refused.headers["Retry-After"]) - (tomorrow - now).total_seconds() <= 5
    assert refused.headers["RateLimit"] == f'"pull";r=0;t={refused.headers["Retry-After"]}'
    assert logged(world, shared)[0] == ("pull", "denied", "too-often", False)
    assert used(world, shared) == CEILING


def test_what_is_left_stands_in_every_answer(shared: Shared, caller: Caller) -> None:
    for left in range(CEILING - 1, -1, -1):
        answer = caller.get(f"/api/v1/people/{shared.sub}")
        assert answer.headers["RateLimit-Policy"] == f'"pull";q={CEILING};w=86400'
        assert answer.headers["RateLimit"].startswith(f'"pull";r={left};t=')


def test_pull_batch_and_userinfo_count_together(app: Flask, world: World, firm: Firm, shared: Shared) -> None:
    own, persons = Caller(app.test_client(), world, firm), persons_caller(app.test_client(), world, firm, shared)
    assert ask(own, shared, 1) == [200]
    started = own.post("/api/v1/pulls", json={"subjects": [shared.sub]}).get_json()
    jobs.run_pull(started["id"])
    persons.token = _with_profile(world, firm, shared, persons)
    assert persons.get("/oauth/userinfo").status_code == 200
    assert ask(own, shared, 2) == [200, 429]
    refused = persons.get("/oauth/userinfo")
    assert (refused.status_code, code(refused)) == (429, "too-often")
    assert int(refused.headers["Retry-After"]) > 0
    again = own.post("/api/v1/pulls", json={"subjects": [shared.sub]}).get_json()
    jobs.run_pull(again["id"])
    result = own.get(f"/api/v1/pulls/{again['id']}/result").get_json()
    assert result["results"] == [{"sub": shared.sub, "problem": "too-often"}]
    denied = [(channel, given) for channel, outcome, reason, given in logged(world, shared) if reason == "too-often"]
    assert sorted(denied) == [("batch", False), ("pull", False), ("userinfo", False)]
    assert used(world, shared) == CEILING


def _with_profile(world: World, firm: Firm, shared: Shared, caller: Caller) -> str:
    def issue(session: Session) -> str:
        client = companies.client(session, firm.client_id)
        assert client
        of = AuthorizationCode(person_id=shared.person_id, grant_id=shared.grant_id, code_hash=b"none")
        jkt = caller.key.thumbprint()
        return tokens.issue_access(session, client=client, of=of, scope="openid profile", jkt=jkt, now=db.now())

    token: str = world.transact(issue)
    return token


def test_a_refusal_costs_nothing(world: World, shared: Shared, caller: Caller) -> None:
    world.step("pause", shared)
    assert ask(caller, shared, 2) == [403, 403]
    world.step("resume", shared)
    assert used(world, shared) == 0
    assert ask(caller, shared, CEILING + 1) == [200] * CEILING + [429]


def test_twenty_at_the_same_moment_are_as_many_as_may(app: Flask, world: World, caller: Caller, firm: Firm) -> None:
    for _ in range(3):
        shared = world.share(world.person(), firm)
        statuses = _together(app, [caller.headers("GET", f"/api/v1/people/{shared.sub}") for _ in range(20)], shared)
        assert sorted(statuses) == [200] * CEILING + [429] * (20 - CEILING)
        rows = logged(world, shared)
        assert rows.count(("pull", "completed", None, True)) == CEILING
        assert rows.count(("pull", "denied", "too-often", False)) == 20 - CEILING
        assert used(world, shared) == CEILING


def test_pulls_and_batches_at_the_same_moment_are_as_many_as_may(app: Flask, world: World, firm: Firm) -> None:
    caller = Caller(app.test_client(), world, firm)
    for _ in range(3):
        shared = world.share(world.person(), firm)
        started = [caller.post("/api/v1/pulls", json={"subjects": [shared.sub]}).get_json()["id"] for _ in range(6)]
        headers = [caller.headers("GET", f"/api/v1/people/{shared.sub}") for _ in range(8)]
        with ThreadPoolExecutor(8) as pool:
            worked = [pool.submit(jobs.run_pull, pull_id) for pull_id in started]
            statuses = _together(app, headers, shared)
            for each in worked:
                each.result()
        answered = sum(caller.get(f"/api/v1/pulls/{pull_id}").get_json()["answered"] for pull_id in started)
        assert statuses.count(200) + answered == CEILING == used(world, shared)


def _together(app: Flask, headers: Sequence[dict[str, str]], shared: Shared) -> list[int]:
    barrier = Barrier(len(headers))

    def pull(proven: dict[str, str]) -> int:
        client = app.test_client()
        barrier.wait()
        return client.get(f"/api/v1/people/{shared.sub}", headers=proven).status_code

    with ThreadPoolExecutor(len(headers)) as pool:
        return list(pool.map(pull, headers))


def test_the_next_day_begins_anew_and_the_last_is_forgotten(world: World, shared: Shared, caller: Caller) -> None:
    ask(caller, shared, CEILING + 1)
    earlier = update(GrantUse).where(GrantUse.grant_id == shared.grant_id).values(day=db.now() - timedelta(days=1))
    world.transact(lambda session: session.execute(earlier))
    assert ask(caller, shared, 1) == [200]
    for days, left in ((1, CEILING + 1), (2, 1)):
        later = db.now() + timedelta(days=days)
        world.transact(partial(ceilings.forget, now=later))
        assert used(world, shared) == left


def test_without_a_ceiling_of_its_own_the_portals_holds(settings: Settings, world: World) -> None:
    firm = limited(world, None)
    shared = world.share(world.person(), firm)
    caller = Caller(create_app(replace(settings, grant_pulls=2)).test_client(), world, firm)
    assert ask(caller, shared, 3) == [200, 200, 429]


def test_the_portals_ceiling_is_above_all(settings: Settings, world: World, firm: Firm, shared: Shared) -> None:
    caller = Caller(create_app(replace(settings, grant_pulls=2)).test_client(), world, firm)
    assert ask(caller, shared, 3) == [200, 200, 429]


def test_a_client_that_never_stops_asking_waits(settings: Settings, world: World, firm: Firm, shared: Shared) -> None:
    caller = Caller(create_app(replace(settings, api_requests=3)).test_client(), world, firm)
    assert ask(caller, shared, 3) == [200] * 3
    refused = caller.get(f"/api/v1/people/{shared.sub}")
    assert (refused.status_code, code(refused)) == (429, "too-many-requests")
    assert 0 < int(refused.headers["Retry-After"]) <= 60
    assert used(world, shared) == 3
    assert code(caller.post("/api/v1/pulls", json={"subjects": [shared.sub]})) == "too-many-requests"


@given(moment=st.datetimes(min_value=datetime(2026, 1, 1), max_value=datetime(2030, 1, 1), timezones=st.timezones()))  # noqa: DTZ001 - `timezones` gives the zone
@how(max_examples=200, deadline=None)
def test_the_wait_ends_with_the_day_and_no_earlier(moment: datetime) -> None:
    seconds, at = ceilings.seconds_left(moment), moment.astimezone(UTC)
    assert 1 <= seconds <= 86_400
    assert ceilings.day(at + timedelta(seconds=seconds)) > ceilings.day(moment)
    assert ceilings.day(at + timedelta(seconds=seconds - 1, microseconds=-1)) <= ceilings.day(moment)

"""Asking whether anything has changed: 304 where the company's copy is current, with consent asked and a row left."""

from __future__ import annotations

import re
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as how
from hypothesis import strategies as st

from portal import db
from portal.consent import services as consent
from portal.consumer import services as consumer
from portal.ledger import queries as ledger
from portal.ledger import rules as words
from tests.sync.caller import Caller
from tests.sync.cast import SHARED
from tests.sync.test_ceilings import limited, used

if TYPE_CHECKING:
    from flask import Flask
    from werkzeug.test import TestResponse

    from portal.ledger.queries import Entry
    from tests.sync.cast import Firm, Shared, World

# In front of Flask, and behind it.
WAYS = ("", f"?attributes={','.join(SHARED)}")


def ask(caller: Caller, shared: Shared, etag: str | None = None, way: str = "") -> TestResponse:
    return caller.get(f"/api/v1/people/{shared.sub}{way}", headers={"If-None-Match": etag} if etag else {})


def rows(world: World, shared: Shared) -> list[Entry]:
    found = world.transact(lambda session: ledger.of_person(session, person_id=shared.person_id))
    return [row for row in found if row.channel == "pull"]


@pytest.mark.parametrize("way", WAYS)
def test_a_current_copy_is_not_sent_again(world: World, shared: Shared, caller: Caller, way: str) -> None:
    first = ask(caller, shared, way=way)
    assert re.fullmatch(r'W/"[\w-]{22}"', first.headers["ETag"])
    second = ask(caller, shared, first.headers["ETag"], way)
    assert (second.status_code, second.data, second.headers["ETag"]) == (304, b"", first.headers["ETag"])
    assert second.headers["Cache-Control"] == "no-store"
    assert "Content-Type" not in second.headers
    latest, before = rows(world, shared)
    assert (before.outcome, bool(before.given)) == ("completed", True)
    assert (latest.outcome, latest.reason, latest.given) == ("suppressed", "unchanged", {})
    told = words.outcome(latest.channel, latest.outcome, latest.reason)
    assert told == "Not sent: they asked whether anything had changed, and nothing had"


@pytest.mark.parametrize(
    "header", ['W/"{0}"', '"{0}"', '"other", W/"{0}"', "*"], ids=["weak", "strong", "one of two", "any"]
)
def test_it_is_compared_weakly(shared: Shared, caller: Caller, header: str) -> None:
    opaque = ask(caller, shared).headers["ETag"][3:-1]
    assert ask(caller, shared, header.format(opaque)).status_code == 304


@pytest.mark.parametrize("header", ['W/"other"', '"', "W/", ",", '""', "nonsense", "x" * 5000])
def test_what_names_no_copy_of_theirs_is_answered(shared: Shared, caller: Caller, header: str) -> None:
    assert ask(caller, shared, header).status_code == 200


def test_a_new_value_a_confirmation_and_another_consent_are_news(world: World, shared: Shared, caller: Caller) -> None:
    etag = ask(caller, shared).headers["ETag"]

    def changed() -> str:
        nonlocal etag
        answer = ask(caller, shared, etag)
        assert answer.status_code == 200
        assert answer.headers["ETag"] != etag
        etag = answer.headers["ETag"]
        assert ask(caller, shared, etag).status_code == 304
        return etag

    world.save(shared.person_id, email__main="ada@elsewhere.example")
    changed()
    world.transact(
        lambda session: consumer.confirm(
            session, person_id=shared.person_id, versions={"email.main": 2}, now=db.now() + timedelta(days=2)
        )
    )
    changed()
    world.transact(
        lambda session: consent.change(
            session, person_id=shared.person_id, grant_id=shared.grant_id, attributes=["name.full"],
            mode="kept-up-to-date", days=None, level=1, shown={}, now=db.now(),
        )
    )  # fmt: skip
    changed()


def test_what_is_not_shared_changes_nothing_for_them(world: World, shared: Shared, caller: Caller) -> None:
    etag = ask(caller, shared).headers["ETag"]
    world.save(shared.person_id, birth__date="1990-02-03")
    assert ask(caller, shared, etag).status_code == 304


def test_other_details_are_another_answer(shared: Shared, caller: Caller) -> None:
    whole, part = ask(caller, shared), ask(caller, shared, way="?attributes=name.full")
    assert whole.headers["ETag"] != part.headers["ETag"]
    assert ask(caller, shared, whole.headers["ETag"], "?attributes=name.full").status_code == 200


def test_two_people_have_different_validators(world: World, firm: Firm, shared: Shared, caller: Caller) -> None:
    other = world.share(world.person(), firm)
    assert ask(caller, shared).headers["ETag"] != ask(caller, other).headers["ETag"]


@pytest.mark.parametrize(("verb", "reason"), [("withdraw", "consent-withdrawn"), ("pause", "consent-paused")])
@pytest.mark.parametrize("way", WAYS)
def test_a_stop_comes_before_the_copy(
    *, world: World, shared: Shared, caller: Caller, verb: str, reason: str, way: str
) -> None:
    etag = ask(caller, shared, way=way).headers["ETag"]
    world.step(verb, shared)
    for held in (etag, "*"):
        answer = ask(caller, shared, held, way)
        assert (answer.status_code, answer.get_json()["type"].rpartition("/")[2]) == (403, reason)
        assert "ETag" not in answer.headers
    assert [row.outcome for row in rows(world, shared)] == ["denied", "denied", "completed"]


def test_the_proof_is_used_up_all_the_same(shared: Shared, caller: Caller) -> None:
    etag, path = ask(caller, shared).headers["ETag"], f"/api/v1/people/{shared.sub}"
    headers = caller.headers("GET", path) | {"If-None-Match": etag}
    assert [caller.http.get(path, headers=headers).status_code for _ in range(2)] == [304, 401]


def test_hearing_of_no_change_leaves_the_looks_that_are_left(world: World, app: Flask) -> None:
    firm = limited(world, 2)
    shared = world.share(world.person(), firm)
    caller = Caller(app.test_client(), world, firm)
    etag = ask(caller, shared).headers["ETag"]
    told = [ask(caller, shared, etag) for _ in range(5)]
    assert {answer.status_code for answer in told} == {304}
    assert told[0].headers["RateLimit-Policy"] == '"check";q=1000;w=86400'
    assert (used(world, shared), used(world, shared, "check")) == (1, 5)
    world.save(shared.person_id, name__full="Ada King")
    assert [ask(caller, shared, etag).status_code for _ in range(2)] == [200, 429]


def test_one_use_is_not_used_up_by_hearing_of_no_change(world: World, app: Flask) -> None:
    firm = world.firm(mode="once")
    shared = world.share(world.person(), firm, mode="once")
    caller = Caller(app.test_client(), world, firm)
    assert [ask(caller, shared, held).status_code for held in ("*", None, None)] == [304, 200, 403]


_STEPS = st.lists(
    st.sampled_from(["ask", "save shared", "save other", "pause", "resume", "narrow", "widen"]), min_size=1, max_size=12
)


@given(steps=_STEPS)
@how(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
def test_a_copy_is_called_current_exactly_as_long_as_it_is(
    *, world: World, firm: Firm, caller: Caller, steps: list[str]
) -> None:
    shared = world.share(world.person(), firm, attributes=["name.full", "email.main"])
    etag, dirty, paused = ask(caller, shared).headers["ETag"], False, False
    for number, step in enumerate([*steps, "ask"]):
        if step == "ask":
            answer = ask(caller, shared, etag)
            assert answer.status_code == (403 if paused else 200 if dirty else 304)
            etag, dirty = (etag, dirty) if paused else (answer.headers["ETag"], False)
        elif step == "save shared":
            world.save(shared.person_id, name__full=f"Ada {number}")
            dirty = True
        elif step == "save other":
            world.save(shared.person_id, birth__date=f"1990-02-{number + 1:02}")
        elif step == "pause":
            world.step("pause", shared)
            paused, dirty = True, True
        elif step == "resume":
            world.step("resume", shared)
            paused = False
        else:
            names = ["name.full"] if step == "narrow" else ["name.full", "email.main"]
            world.transact(
                partial(
                    consent.change,
                    person_id=shared.person_id, grant_id=shared.grant_id, attributes=names, mode="kept-up-to-date",
                    days=None, level=1, shown={}, now=db.now(),
                )
            )  # fmt: skip
            dirty = True

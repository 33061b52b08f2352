"""A program declares purposes by the rules that the console goes by, and is told each part that is too much."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from portal import db
from portal.companies import purpose_queries, queries, versions
from portal.companies.models import Client
from tests.purposes import let_nobody_wait
from tests.sync.caller import Caller

if TYPE_CHECKING:
    from apiflask import APIFlask
    from flask.testing import FlaskClient
    from sqlalchemy.orm import Session
    from werkzeug.test import TestResponse

    from tests.sync.cast import Firm, World

DECLARED: dict[str, Any] = {
    "sentence": "send bills", "dpv": "PaymentManagement", "lawful_basis": "contract", "mode": "asked",
    "required": [{"attribute": "name.full", "reason": "To address you"}],
    "optional": [{"attribute": "email.main", "reason": "To send a copy"}], "retention_days": 30,
}  # fmt: skip
ADDRESS = "/api/v1/purposes/gas"


@pytest.fixture
def firm(world: World) -> Firm:
    return world.firm(enabled=False)


@pytest.fixture
def caller(app: APIFlask, world: World, firm: Firm) -> Caller:
    return Caller(app.test_client(), world, firm, "purposes:manage")


def pointers(answer: TestResponse) -> set[str]:
    assert answer.content_type == "application/problem+json"
    return {one["pointer"] for one in answer.get_json()["errors"]}


def put(caller: Caller, **changes: Any) -> TestResponse:  # noqa: ANN401 - whatever is sent
    return caller.send("PUT", ADDRESS, json=DECLARED | changes)


def test_a_purpose_is_withdrawn_once_and_for_good(world: World, http: FlaskClient, firm: Firm, caller: Caller) -> None:
    asked = f"/api/v1/purposes/{world.transact(lambda session: purpose_of(session, firm))}"
    shared = world.share(world.person(), firm)
    other = Caller(http, world, world.firm(enabled=False), "purposes:manage")
    assert other.send("DELETE", asked).status_code == 204, "it withdraws its own, which is called the same"
    assert Caller(http, world, firm).send("DELETE", asked).status_code == 403
    reading = Caller(http, world, firm)
    assert reading.get(f"/api/v1/people/{shared.sub}").status_code == 200
    assert caller.send("DELETE", asked).status_code == 204
    refused = reading.get(f"/api/v1/people/{shared.sub}")
    assert (refused.status_code, refused.get_json()["type"].rpartition("/")[2]) == (403, "purpose-withdrawn")
    assert caller.get("/api/v1/purposes").get_json() == {"purposes": []}
    assert caller.send("DELETE", asked).status_code == 404
    assert caller.send("PUT", asked, json=DECLARED).status_code == 422, "its name is not given away again"


def purpose_of(session: Session, firm: Firm) -> str:
    found = queries.purpose(session, firm.purpose_id)
    assert found
    return found.code


def test_a_purpose_is_declared_changed_and_not_changed(caller: Caller) -> None:
    made = put(caller)
    assert (made.status_code, made.get_json()["version"], made.get_json()["state"]) == (201, 1, "draft")
    assert put(caller).get_json()["version"] == 1
    changed = put(caller, retention_days=31)
    assert (changed.status_code, changed.get_json()["version"], changed.get_json()["in_use"]) == (200, 2, True)
    listed = {one["code"]: one["versions"] for one in caller.get("/api/v1/purposes").get_json()["purposes"]}
    assert [(one["version"], one["state"]) for one in listed["gas"]] == [(2, "draft"), (1, "replaced")]
    said = {name: value for name, value in listed["gas"][0].items() if name in DECLARED}
    assert said == DECLARED | {"retention_days": 31}


def test_each_part_that_is_too_much_is_pointed_at(caller: Caller) -> None:
    asked = [{"attribute": name, "reason": "To know you"} for name in ("email.main", "birth.date")]
    answer = put(caller, dpv="DirectMarketing", required=asked, optional=[], mode="kept-up-to-date")
    assert answer.status_code == 422
    assert answer.get_json()["type"].endswith("/docs/errors/over-asking")
    assert pointers(answer) == {"/required/1", "/pulls_a_day", "/lawful_basis"}
    assert all(one["detail"] for one in answer.get_json()["errors"])
    assert ADDRESS.rpartition("/")[2] not in caller.get("/api/v1/purposes").text


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [({"sentence": "we need it"}, "/sentence"), ({"mode": "see-once"}, "/retention_days"),
     ({"retention_days": 3651}, "/retention_days"), ({"longest_days": 0}, "/longest_days"),
     ({"optional": [{"attribute": "name.full", "reason": "Again"}]}, "/required/0"),
     ({"required": [{"attribute": "shoe.size", "reason": "To fit"}]}, "/required/0"),
     ({"dpv": "Fun"}, "/dpv"), ({"retention_days": True}, "/retention_days"), ({"more": 1}, "/")],
)  # fmt: skip
def test_what_cannot_be_shown_to_people_is_pointed_at(caller: Caller, changes: dict[str, Any], pointer: str) -> None:
    answer = put(caller, **changes)
    assert answer.status_code == 422
    assert pointers(answer) == {pointer}


@pytest.mark.parametrize("code", ["Gas", "gas%20bill", "-gas", "g" * 61, "%C3%A4"])
def test_a_code_is_small_letters_digits_and_hyphens(caller: Caller, code: str) -> None:
    assert caller.send("PUT", f"/api/v1/purposes/{code}", json=DECLARED).status_code == 404


def test_a_test_app_needs_no_review(caller: Caller) -> None:
    put(caller)
    answer = caller.post(f"{ADDRESS}/review")
    assert (answer.status_code, answer.get_json()["type"].rpartition("/")[2]) == (409, "no-review-needed")
    assert caller.post("/api/v1/purposes/nothing/review").status_code == 404


def test_a_live_app_waits_for_an_operator(world: World, firm: Firm, caller: Caller) -> None:
    put(caller)
    world.transact(lambda session: _make_live(session, firm))
    put(caller, retention_days=9)
    world.transact(let_nobody_wait)
    sent = caller.post(f"{ADDRESS}/review").get_json()
    assert (sent["version"], sent["state"], sent["in_use"]) == (2, "waiting", False)
    assert caller.post(f"{ADDRESS}/review").get_json()["type"].endswith("/no-draft")
    world.transact(lambda session: _decide(session, firm))
    newest = caller.get("/api/v1/purposes").get_json()["purposes"][-1]["versions"][0]
    assert (newest["state"], newest["in_use"], newest["words"]) == ("live", True, "Thank you.")


def test_another_apps_token_sees_and_changes_nothing(app: APIFlask, world: World, caller: Caller) -> None:
    put(caller)
    other = Caller(app.test_client(), world, world.firm(enabled=False), "purposes:manage")
    assert "gas" not in {one["code"] for one in other.get("/api/v1/purposes").get_json()["purposes"]}
    assert other.post(f"{ADDRESS}/review").status_code == 404


def test_it_takes_its_own_scope(app: APIFlask, world: World, firm: Firm) -> None:
    assert Caller(app.test_client(), world, firm, "people:read").get("/api/v1/purposes").status_code == 403


def _make_live(session: Session, firm: Firm) -> None:
    session.get_one(Client, firm.client_id).environment = "live"


def _decide(session: Session, firm: Firm) -> None:
    [purpose] = [one for one in purpose_queries.waiting(session) if one.client.client_id == firm.client_id]
    facts = purpose.version.purpose
    versions.put_live(
        session, purpose_id=facts.purpose_id, version=facts.version, by=db.new_id(), words="Thank you.", now=db.now()
    )

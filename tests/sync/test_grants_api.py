"""A company's consents over real HTTP requests: the list, one with its receipt, and asking once more for more."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import update

from portal import db
from portal.consent import approvals, later, terms
from portal.consent import queries as consents
from portal.consent import services as consent
from portal.consent.models import Grant, LaterRequest
from tests.sync.caller import Caller

if TYPE_CHECKING:
    from uuid import UUID

    from flask import Flask
    from flask.testing import FlaskClient
    from werkzeug.test import TestResponse

    from tests.sync.cast import Firm, Shared, World

SCOPES = "grant_management_query grants:manage"
NAME, MAIL, PHONE = "name.full", "email.main", "phone.mobile"


@pytest.fixture
def program(http: FlaskClient, world: World, firm: Firm) -> Caller:
    return Caller(http, world, firm, SCOPES)


@pytest.fixture
def lacking(world: World, firm: Firm) -> Shared:
    """Somebody who left out their email address and phone."""
    return world.share(world.person(), firm, attributes=(NAME,))


def place(shared: Shared) -> str:
    return f"/api/v1/grants/{shared.grant_id}"


def ask(program: Caller, shared: Shared, *names: str) -> TestResponse:
    return program.post(f"{place(shared)}/requests", json={"attributes": list(names)})


def code(answer: TestResponse) -> str:
    return str(answer.get_json()["type"]).rpartition("/")[2]


def answer(world: World, shared: Shared, told: TestResponse, *, names: list[str] | None) -> None:
    """Answer a question as the page does: with yes to `names`, or with no."""
    request_id = told.get_json()["request_id"]

    def no(session: Any) -> None:  # noqa: ANN401 - a session
        row = approvals.find(session, person_id=shared.person_id, request_id=request_id)
        assert row
        reply = approvals.reply(row, shown={"title": "More?"}, wanted=terms.wanted(row.asked), now=db.now())
        later.decline(session, request_id=row.request_id, reply=reply)

    def yes(session: Any) -> None:  # noqa: ANN401 - a session
        row = approvals.find(session, person_id=shared.person_id, request_id=request_id)
        assert row

        def give() -> Grant:
            given = consent.give(
                session, person_id=shared.person_id, client_id=row.client_id, purpose_id=row.purpose_id,
                attributes=[NAME, *(names or ())], mode="", days=None, level=2, shown={}, now=db.now(),
                effect=terms.Effect.MERGE, grant_id=shared.grant_id,
            )  # fmt: skip
            later.answered(session, row=row, held=given)
            return given

        approvals.approve(
            session, person_id=shared.person_id, request_id=row.request_id, give=give, authenticated_at=db.now(),
            level=1, now=db.now(),
        )  # fmt: skip

    world.transact(no if names is None else yes)


def pass_days(world: World, shared: Shared, days: int) -> None:
    mine = update(LaterRequest).where(LaterRequest.person_id == shared.person_id)
    world.transact(lambda session: session.execute(mine.values(asked_at=LaterRequest.asked_at - timedelta(days=days))))


def test_the_list_holds_every_consent_page_by_page(program: Caller, world: World, firm: Firm) -> None:
    shared = [world.share(world.person(), firm) for _ in range(5)]
    world.step("pause", shared[1])
    world.step("withdraw", shared[2])
    found, address = [], "/api/v1/grants?limit=2"
    while address:
        page = program.get(address).get_json()
        found += page["grants"]
        address = page["links"]["next"]
    assert [one["grant_id"] for one in found] == [str(one.grant_id) for one in shared]
    assert [one["state"] for one in found] == ["active", "paused", "withdrawn", "active", "active"]
    assert [one["sub"] for one in found] == [one.sub for one in shared]
    for query, wanted in (
        ("state=paused", [1]),
        ("state=expired", []),
        (f"sub={shared[3].sub}", [3]),
        ("sub=nobody", []),
    ):
        listed = program.get(f"/api/v1/grants?{query}").get_json()["grants"]
        assert [one["grant_id"] for one in listed] == [str(shared[place].grant_id) for place in wanted]


def test_time_alone_makes_a_consent_expired(program: Caller, world: World, shared: Shared) -> None:
    over = update(Grant).where(Grant.grant_id == shared.grant_id).values(expires_at=db.now())
    world.transact(lambda session: session.execute(over))
    assert program.get(place(shared)).get_json()["state"] == "expired"
    assert program.get("/api/v1/grants?state=active").get_json()["grants"] == []
    assert len(program.get("/api/v1/grants?state=expired").get_json()["grants"]) == 1


def test_one_says_its_steps_and_what_was_left_out_and_no_value(program: Caller, lacking: Shared, world: World) -> None:
    world.step("pause", lacking)
    world.step("resume", lacking)
    answered = program.get(place(lacking))
    told = answered.get_json()
    assert ([one["step"] for one in told["steps"]][-2:], told["left_out"]) == (["paused", "resumed"], [MAIL, PHONE])
    assert (told["may_ask_from"], told["links"]["deletion"]) == (None, None)
    assert "Ada" not in answered.text
    assert str(lacking.person_id) not in answered.text


@pytest.mark.parametrize("tail", ["", "/receipt"])
def test_what_has_not_changed_is_not_told_again(program: Caller, lacking: Shared, world: World, tail: str) -> None:
    first = program.get(place(lacking) + tail)
    assert (first.status_code, first.headers["Cache-Control"]) == (200, "no-store")
    tag = {"If-None-Match": first.headers["ETag"]}
    again = program.get(place(lacking) + tail, headers=tag)
    assert (again.status_code, again.data) == (304, b"")
    world.step("pause", lacking)
    assert program.get(place(lacking) + tail, headers=tag).status_code == 200


def test_yes_adds_to_what_is_shared(program: Caller, lacking: Shared, world: World) -> None:
    told = ask(program, lacking, MAIL, PHONE)
    assert (told.status_code, told.get_json()["state"]) == (201, "waiting")
    answer(world, lacking, told, names=[PHONE])
    after = program.get(told.headers["Location"]).get_json()
    assert (after["state"], after["attributes"], after["shared"]) == ("approved", [MAIL, PHONE], [PHONE])
    assert program.get(place(lacking)).get_json()["attributes"] == [NAME, PHONE]


def test_no_leaves_it_as_it_is_and_is_kept_as_a_step(program: Caller, lacking: Shared, world: World) -> None:
    told = ask(program, lacking, MAIL)
    answer(world, lacking, told, names=None)
    assert program.get(told.headers["Location"]).get_json()["state"] == "denied"
    one = program.get(place(lacking)).get_json()
    assert (one["state"], one["attributes"], one["steps"][-1]["step"]) == ("active", [NAME], "left-out")
    kept = world.transact(
        lambda session: consents.versions(session, person_id=lacking.person_id, grant_id=lacking.grant_id)
    )
    assert kept[-1].shown == {"title": "More?"}


def test_once_in_thirty_days_whatever_was_answered(program: Caller, lacking: Shared, world: World) -> None:
    answer(world, lacking, ask(program, lacking, MAIL), names=None)
    for days in (0, 29):
        pass_days(world, lacking, days)
        refused = ask(program, lacking, PHONE)
        assert (refused.status_code, code(refused)) == (429, "asked-lately")
        assert int(refused.headers["Retry-After"]) > 0
    pass_days(world, lacking, 1)
    assert ask(program, lacking, PHONE).status_code == 201


def test_what_a_company_agreed_to_do_without_is_not_asked_for_beside_it(
    program: Caller, world: World, firm: Firm
) -> None:
    shared = world.share(world.person(), firm)
    agreed = {"attributes": [MAIL], "concession": {"without": [NAME], "mode": "kept-up-to-date"}}
    less = update(Grant).where(Grant.grant_id == shared.grant_id).values(**agreed)
    world.transact(lambda session: session.execute(less))
    assert program.get(place(shared)).get_json()["left_out"] == [PHONE]
    told = ask(program, shared, PHONE).get_json()
    row = world.transact(
        lambda session: approvals.find(session, person_id=shared.person_id, request_id=told["request_id"])
    )
    assert row.asked["attributes"] == [PHONE]


@pytest.mark.parametrize("said", [None, [PHONE]], ids=["no", "yes to another"])
def test_a_no_stays_a_no(program: Caller, lacking: Shared, world: World, said: list[str] | None) -> None:
    answer(world, lacking, ask(program, lacking, MAIL, PHONE), names=said)
    pass_days(world, lacking, 400)
    refused = ask(program, lacking, MAIL)
    assert (refused.status_code, code(refused)) == (409, "detail-declined")
    assert refused.get_json()["errors"][0]["pointer"] == "/attributes/0"


def test_of_many_who_ask_at_once_one_gets_to_ask(app: Flask, program: Caller, lacking: Shared, world: World) -> None:
    barrier, path = Barrier(4), f"{place(lacking)}/requests"
    headers = [program.headers("POST", path) for _ in range(4)]

    def put(proven: dict[str, str]) -> int:
        client = app.test_client()
        barrier.wait()
        return client.post(path, headers=proven, json={"attributes": [MAIL]}).status_code

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(put, headers)) == [201, 429, 429, 429]
    waiting = world.transact(lambda session: approvals.waiting(session, person_id=lacking.person_id, now=db.now()))
    assert len(waiting) == 1


@pytest.mark.parametrize(
    ("body", "pointer"),
    [({}, "/attributes"), ({"attributes": []}, "/attributes"), ({"attributes": [MAIL, MAIL]}, "/attributes"),
     ({"attributes": ["shoe.size"]}, "/attributes"), ({"attributes": [5]}, "/attributes/0"),
     ({"attributes": [MAIL], "why": "x"}, "/"), ({"attributes": [MAIL, NAME]}, "/attributes/1"),
     ({"attributes": ["birth.date"]}, "/attributes/0")],
)  # fmt: skip
def test_what_cannot_be_asked_is_pointed_at(
    program: Caller, lacking: Shared, body: dict[str, Any], pointer: str
) -> None:
    refused = program.post(f"{place(lacking)}/requests", json=body)
    assert (refused.status_code, refused.get_json()["errors"][0]["pointer"]) == (422, pointer)
    assert ask(program, lacking, MAIL).status_code == 201


@pytest.mark.parametrize("verb", ["pause", "withdraw", "end"])
def test_who_does_not_share_now_is_not_asked(program: Caller, lacking: Shared, world: World, verb: str) -> None:
    world.step(verb, lacking)
    refused = ask(program, lacking, MAIL)
    assert (refused.status_code, code(refused)) == (409, "grant-not-active")


def test_other_companies_and_narrower_tokens_are_refused(
    http: FlaskClient, program: Caller, world: World, firm: Firm, lacking: Shared
) -> None:
    told = ask(program, lacking, MAIL)
    rival = Caller(http, world, world.firm(enabled=False), SCOPES)
    assert rival.get("/api/v1/grants").get_json()["grants"] == []
    assert rival.get(f"/api/v1/grants?sub={lacking.sub}").get_json()["grants"] == []
    for path in (place(lacking), f"{place(lacking)}/receipt", told.headers["Location"]):
        assert (rival.get(path).status_code, http.get(path).status_code) == (404, 401)
    assert ask(rival, lacking, PHONE).status_code == 404
    assert ask(Caller(http, world, firm, "grant_management_query"), lacking, PHONE).status_code == 403
    assert Caller(http, world, firm, "grants:manage").get(place(lacking)).status_code == 403


@pytest.mark.parametrize("kind", ["another's consent", "another kind of question"])
def test_a_question_is_found_under_its_own_consent_only(
    program: Caller, lacking: Shared, world: World, firm: Firm, kind: str
) -> None:
    told = ask(program, lacking, MAIL).get_json()["request_id"]
    other = world.share(world.person(), firm)
    known: dict[str, tuple[Shared, UUID | str]] = {
        "another's consent": (other, told),
        "another kind of question": (lacking, other.grant_id),
    }
    where, request_id = known[kind]
    assert program.get(f"{place(where)}/requests/{request_id}").status_code == 404

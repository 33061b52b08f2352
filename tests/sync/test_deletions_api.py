"""What a company was asked to delete, over real HTTP requests: the list, what it says, and who may say it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import update

from portal import db
from portal.consent import chain, deletions
from portal.consent import queries as consents
from portal.consent import services as consent
from portal.consent.models import Deletion
from portal.ledger.services import NewDisclosure, record
from portal.sync import jobs
from tests.sync.caller import Caller

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flask import Flask
    from flask.testing import FlaskClient
    from sqlalchemy.orm import Session
    from werkzeug.test import TestResponse

    from tests.sync.cast import Firm, Shared, World

SCOPES = "grant_management_query grants:manage"
NAME, MAIL, PHONE = ALL = ("name.full", "email.main", "phone.mobile")


def use(world: World, shared: Shared, *names: str) -> None:
    """Log that details were sent, so that there is something to delete."""
    world.transact(lambda session: _log(session, shared, names))


def _log(session: Session, shared: Shared, names: Sequence[str]) -> None:
    held = consents.grant(session, person_id=shared.person_id, grant_id=shared.grant_id)
    assert held
    row = NewDisclosure(
        person_id=held.person_id, at=db.now(), context_id=held.context_id, channel="push", outcome="completed",
        asked=list(names), given=dict.fromkeys(names, 1), grant_id=held.grant_id, grant_version=1,
    )  # fmt: skip
    record(session, row)


def wish(world: World, shared: Shared) -> None:
    world.transact(
        lambda session: consent.withdraw(
            session, person_id=shared.person_id, grant_id=shared.grant_id, now=db.now(), erase=True, shown={}
        )
    )


def pass_days(world: World, shared: Shared, days: int) -> None:
    """Let the days of this consent's details come nearer."""
    mine = update(Deletion).where(Deletion.grant_id == shared.grant_id)
    world.transact(lambda session: session.execute(mine.values(due_at=Deletion.due_at - timedelta(days=days))))


@pytest.fixture
def program(http: FlaskClient, world: World, firm: Firm) -> Caller:
    return Caller(http, world, firm, SCOPES)


@pytest.fixture
def wished(world: World, firm: Firm, app: Flask) -> Shared:
    assert app  # It wires who listens to what.
    shared = world.share(world.person(), firm)
    use(world, shared, *ALL)
    wish(world, shared)
    return shared


def place(shared: Shared) -> str:
    return f"/api/v1/grants/{shared.grant_id}/deletion"


def say(program: Caller, shared: Shared, *details: dict[str, Any]) -> TestResponse:
    return program.post(place(shared), json={"details": list(details)})


def deleted(attribute: str) -> dict[str, Any]:
    return {"attribute": attribute, "status": "deleted"}


def held(attribute: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - members of the request
    return {"attribute": attribute, "status": "held", "reason": "accounts", "until": "2032-12-31"} | more


def states(answer: TestResponse) -> dict[str, str]:
    return {one["attribute"]: one["state"] for one in answer.get_json()["details"]}


def steps(world: World, shared: Shared) -> list[str]:
    kept = world.transact(
        lambda session: consents.versions(session, person_id=shared.person_id, grant_id=shared.grant_id)
    )
    assert chain.intact(kept)
    return [one.step for one in kept][2:]


def test_each_detail_that_was_shared_is_due_when_its_retention_ends(program: Caller, wished: Shared) -> None:
    told = program.get(place(wished)).get_json()
    assert (told["sub"], [one["attribute"] for one in told["details"]]) == (wished.sub, [NAME, MAIL, PHONE])
    assert {one["state"] for one in told["details"]} == {"asked"}
    assert all(one["due_at"] > told["asked_at"] and not one["overdue"] for one in told["details"])


def test_nobody_is_asked_to_delete_what_they_never_got(program: Caller, world: World, firm: Firm, app: Flask) -> None:
    assert app
    shared = world.share(world.person(), firm)
    use(world, shared, NAME)
    wish(world, shared)
    assert states(program.get(place(shared))) == {NAME: "asked"}


def test_it_says_detail_by_detail_what_is_deleted_and_what_is_held(
    program: Caller, wished: Shared, world: World
) -> None:
    answer = say(program, wished, deleted(NAME), held(MAIL, words="Taxes Consolidation Act"))
    assert states(answer) == {NAME: "deleted", MAIL: "held", PHONE: "asked"}
    mail = answer.get_json()["details"][1]
    assert (mail["reason"], mail["words"], mail["due_at"][:10]) == ("accounts", "Taxes Consolidation Act", "2032-12-31")
    assert states(program.get(place(wished))) == states(answer)
    assert steps(world, wished) == ["deletion-confirmed", "deletion-held"]


def test_saying_it_again_changes_nothing(program: Caller, wished: Shared, world: World) -> None:
    for _ in range(2):
        assert say(program, wished, deleted(NAME), held(MAIL)).status_code == 200
    assert steps(world, wished) == ["deletion-confirmed", "deletion-held"]


def test_a_hold_can_be_made_longer_and_given_up(program: Caller, wished: Shared, world: World) -> None:
    say(program, wished, held(MAIL))
    say(program, wished, held(MAIL, until="2033-01-31"))
    assert states(say(program, wished, deleted(MAIL)))[MAIL] == "deleted"
    assert steps(world, wished) == ["deletion-held", "deletion-held", "deletion-confirmed"]


def test_nobody_fills_a_record_with_holds(program: Caller, wished: Shared, world: World) -> None:
    answers = [say(program, wished, held(MAIL, until=f"2033-01-{day:02}")) for day in range(1, 12)]
    assert [answer.status_code for answer in answers] == [200] * 10 + [429]
    assert answers[-1].get_json()["type"].endswith("too-many-holds")
    assert say(program, wished, deleted(MAIL)).status_code == 200
    assert steps(world, wished) == ["deletion-held"] * 10 + ["deletion-confirmed"]


def test_of_two_confirmations_at_once_one_is_kept(app: Flask, program: Caller, wished: Shared, world: World) -> None:
    barrier = Barrier(4)
    headers = [program.headers("POST", place(wished)) for _ in range(4)]

    def confirm(proven: dict[str, str]) -> int:
        client = app.test_client()
        barrier.wait()
        return client.post(place(wished), headers=proven, json={"details": [deleted(NAME)]}).status_code

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(confirm, headers)) == [200] * 4
    assert steps(world, wished) == ["deletion-confirmed"]


def test_what_a_hold_was_for_is_due_again_when_it_ends(program: Caller, wished: Shared, world: World) -> None:
    say(program, wished, held(MAIL), deleted(NAME), deleted(PHONE))
    pass_days(world, wished, 365 * 20)
    assert {one["attribute"] for one in program.get(place(wished)).get_json()["details"] if one["overdue"]} == {MAIL}
    jobs.tidy(world.settings, now=db.now())
    assert states(program.get(place(wished)))[MAIL] == "asked"
    assert steps(world, wished)[-1] == "deletion-due"
    assert world.transact(lambda session: deletions.call_due(session, now=db.now())) == 0


def test_what_is_shared_for_the_same_use_again_need_not_be_deleted(
    program: Caller, wished: Shared, world: World, firm: Firm
) -> None:
    say(program, wished, deleted(PHONE))
    world.share(wished.person_id, firm, attributes=(NAME,))
    assert states(program.get(place(wished))) == {NAME: "lifted", MAIL: "asked", PHONE: "deleted"}
    refused = say(program, wished, held(NAME))
    assert (refused.status_code, refused.get_json()["errors"][0]["pointer"]) == (409, "/details/0")


def test_sharing_again_wins_over_a_hold_at_the_same_moment(
    app: Flask, program: Caller, world: World, firm: Firm
) -> None:
    said: set[int] = set()
    for _ in range(4):
        shared = world.share(world.person(), firm)
        use(world, shared, *ALL)
        wish(world, shared)
        barrier, proven = Barrier(2), program.headers("POST", place(shared))

        def hold(barrier: Barrier, proven: dict[str, str], address: str) -> int:
            client = app.test_client()
            barrier.wait()
            return client.post(address, headers=proven, json={"details": [held(NAME)]}).status_code

        def again(barrier: Barrier, shared: Shared) -> None:
            barrier.wait()
            world.share(shared.person_id, firm, attributes=(NAME,))

        with ThreadPoolExecutor(2) as pool:
            answered = pool.submit(hold, barrier, proven, place(shared))
            pool.submit(again, barrier, shared).result()
            said.add(answered.result())
        assert states(program.get(place(shared)))[NAME] == "lifted"
    assert said <= {200, 409}


def test_what_is_shared_again_already_is_not_asked_for(program: Caller, world: World, firm: Firm, app: Flask) -> None:
    assert app
    first = world.share(world.person(), firm)
    use(world, first, *ALL)
    world.step("withdraw", first)
    world.share(first.person_id, firm, attributes=(NAME,))
    late: dict[str, Any] = {"person_id": first.person_id, "grant_id": first.grant_id, "shown": {}, "now": db.now()}
    world.transact(lambda session: consent.ask_erasure(session, **late))
    assert states(program.get(place(first))) == {NAME: "lifted", MAIL: "asked", PHONE: "asked"}


def test_the_list_is_read_page_by_page_most_pressing_first(
    program: Caller, wished: Shared, world: World, firm: Firm
) -> None:
    assert wished.sub
    second = world.share(world.person(), firm)
    use(world, second, *ALL)
    wish(world, second)
    pass_days(world, second, 40)
    found, address = [], "/api/v1/deletions?limit=2"
    while address:
        page = program.get(address).get_json()
        found += [(one["sub"], one["attribute"]) for one in page["details"]]
        address = page["links"]["next"]
    assert found[:3] == [(second.sub, name) for name in (MAIL, NAME, PHONE)]
    assert len(found) == len(set(found)) == 6
    late = program.get("/api/v1/deletions?state=overdue").get_json()["details"]
    assert {one["sub"] for one in late} == {second.sub}
    assert program.get("/api/v1/deletions?state=done").get_json()["details"] == []


BAD = [
    ({}, "/details"),
    ({"details": []}, "/details"),
    ({"details": [deleted(NAME), deleted(NAME)]}, "/details"),
    ({"details": [deleted(NAME)], "all": True}, "/"),
    ({"details": [{"attribute": NAME, "status": "gone"}]}, "/details/0/status"),
    ({"details": [{"attribute": NAME, "status": "held"}]}, "/details/0"),
    ({"details": [deleted(NAME) | {"reason": "accounts"}]}, "/details/0"),
    ({"details": [held(NAME, reason="because")]}, "/details/0/reason"),
    ({"details": [held(NAME, until=20321231)]}, "/details/0/until"),
    ({"details": [held(NAME, until="2032-12-31T00:00:00Z")]}, "/details/0/until"),
    ({"details": [held(NAME, until="2032-02-30")]}, "/details/0/until"),
    ({"details": [held(NAME, until="2020-01-01")]}, "/details/0/until"),
    ({"details": [held(NAME, until="2099-01-01")]}, "/details/0/until"),
    ({"details": [held(NAME, words="call 087 123 4567")]}, "/details/0/words"),
    ({"details": [held(NAME, words="x" * 81)]}, "/details/0/words"),
    ({"details": [deleted("birth.date")]}, "/details/0/attribute"),
    ({"details": [deleted(MAIL), deleted("shoe.size")]}, "/details/1/attribute"),
]


@pytest.mark.parametrize(("body", "pointer"), BAD, ids=lambda value: value if isinstance(value, str) else "")
def test_what_cannot_be_used_is_pointed_at_and_nothing_is_kept(
    program: Caller, wished: Shared, world: World, body: dict[str, Any], pointer: str
) -> None:
    answer = program.post(place(wished), json=body)
    assert (answer.status_code, answer.content_type) == (422, "application/problem+json")
    assert pointer in {error["pointer"] for error in answer.get_json()["errors"]}
    assert steps(world, wished) == []


@pytest.mark.parametrize(
    ("query", "pointer"),
    [("state=all", "/state"), ("limit=0", "/limit"), ("after=x", "/after"), ("who=x", "/"),
     ("state=open&state=done", "/state")],
)  # fmt: skip
def test_a_query_that_cannot_be_used_is_pointed_at(program: Caller, query: str, pointer: str) -> None:
    answer = program.get(f"/api/v1/deletions?{query}")
    assert (answer.status_code, [error["pointer"] for error in answer.get_json()["errors"]]) == (422, [pointer])


def test_nobody_asked_for_anything(program: Caller, shared: Shared) -> None:
    assert program.get(place(shared)).status_code == 404
    refused = say(program, shared, deleted(NAME))
    assert (refused.status_code, refused.get_json()["type"].rpartition("/")[2]) == (409, "deletion-not-asked")


def test_other_companies_other_apps_and_narrower_tokens_are_refused(
    http: FlaskClient, world: World, firm: Firm, wished: Shared
) -> None:
    rival = Caller(http, world, world.firm(enabled=False), SCOPES)
    assert rival.get("/api/v1/deletions").get_json()["details"] == []
    assert [rival.get(place(wished)).status_code, say(rival, wished, deleted(NAME)).status_code] == [404, 404]
    reads, writes = Caller(http, world, firm, "grant_management_query"), Caller(http, world, firm, "grants:manage")
    assert say(reads, wished, deleted(NAME)).status_code == 403
    assert [writes.get(place(wished)).status_code, writes.get("/api/v1/deletions").status_code] == [403, 403]
    assert http.get("/api/v1/deletions").status_code == 401
    assert steps(world, wished) == []


def test_what_has_not_changed_is_not_told_again(program: Caller, wished: Shared) -> None:
    first = program.get(place(wished))
    tag = {"If-None-Match": first.headers["ETag"]}
    assert program.get(place(wished), headers=tag).status_code == 304
    say(program, wished, deleted(NAME))
    assert program.get(place(wished), headers=tag).status_code == 200

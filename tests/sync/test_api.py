"""Pulls over the API: what is answered, what is refused, and what each leaves in the ledger."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from sqlalchemy import select, update
from werkzeug import Response

from portal import db
from portal.consent import services as consent
from portal.ledger import queries as ledger
from portal.sync import batches, jobs, rules
from portal.sync.models import BatchPull, BatchPullItem
from tests.sync.caller import Caller
from tests.sync.receiver import read

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask.testing import FlaskClient
    from werkzeug.test import TestResponse

    from portal.ledger.queries import Entry
    from tests.sync.cast import Firm, Shared, World
    from tests.sync.receiver import Message


@pytest.fixture
def opened(world: World, firm: Firm) -> Callable[[str], Message]:
    return lambda token: read(token, portal_keys=world.portal_keys(), key=firm.receiver.key)


def log(world: World, shared: Shared) -> list[Entry]:
    rows = world.transact(lambda session: ledger.of_person(session, person_id=shared.person_id))
    return [row for row in rows if row.channel in {"pull", "batch"}]


def code(response: TestResponse) -> str:
    assert response.content_type == "application/problem+json"
    body = response.get_json()
    assert body["status"] == response.status_code
    return str(body["type"]).rpartition("/")[2]


def test_pull_answers_with_the_sealed_message_and_logs_it(
    world: World, firm: Firm, shared: Shared, caller: Caller, opened: Callable[[str], Message]
) -> None:
    response = caller.get(f"/api/v1/people/{shared.sub}")
    assert response.status_code == 200, response.text
    assert response.content_type == "application/secevent+jwt"
    assert response.headers["Cache-Control"] == "no-store"
    message = opened(response.text)
    assert message.values == {"name.full": (1, "Ada Byrne"), "email.main": (1, "ada@example.org")}
    assert message.claims["aud"] == firm.client_id
    (row,) = log(world, shared)
    assert (row.outcome, row.given, row.message_id) == ("completed", {"name.full": 1, "email.main": 1}, message.jti)


def test_pull_takes_two_statements(shared: Shared, caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    headers = caller.headers("GET", f"/api/v1/people/{shared.sub}")
    statements: list[object] = []

    def count(owner: type, method: str) -> None:
        kept = getattr(owner, method)

        def counted(*arguments: Any, **more: Any) -> Any:  # noqa: ANN401 - the signature of either
            statements.append(arguments)
            return kept(*arguments, **more)

        monkeypatch.setattr(owner, method, counted)

    caller.get(f"/api/v1/people/{shared.sub}")  # connects
    count(psycopg.Cursor, "execute")
    count(db.Prepared, "one")
    response = caller.http.get(f"/api/v1/people/{shared.sub}", headers=headers)
    assert response.status_code == 200
    assert len(statements) == 2


def test_only_what_was_asked_for_is_given(shared: Shared, caller: Caller, opened: Callable[[str], Message]) -> None:
    response = caller.get(f"/api/v1/people/{shared.sub}?attributes=name.full,birth.date")
    assert opened(response.text).values == {"name.full": (1, "Ada Byrne")}


def test_unknown_attribute_and_parameter_are_pointed_at(shared: Shared, caller: Caller) -> None:
    response = caller.get(f"/api/v1/people/{shared.sub}?attributes=name.full,shoe.size")
    assert (response.status_code, code(response)) == (422, "unknown-attribute")
    assert response.get_json()["errors"][0]["pointer"] == "/attributes"
    assert caller.get(f"/api/v1/people/{shared.sub}?fields=name.full").status_code == 422


@pytest.mark.parametrize(
    ("verb", "reason"),
    [("pause", "consent-paused"), ("withdraw", "consent-withdrawn"), ("end", "consent-ended")],
)
def test_refusal_says_why_and_is_logged(world: World, shared: Shared, caller: Caller, verb: str, reason: str) -> None:
    world.step(verb, shared)
    response = caller.get(f"/api/v1/people/{shared.sub}")
    assert (response.status_code, code(response)) == (403, reason)
    (row,) = log(world, shared)
    assert (row.outcome, row.reason, row.given) == ("denied", reason, {})


def test_nothing_shared_of_what_was_asked(shared: Shared, caller: Caller) -> None:
    response = caller.get(f"/api/v1/people/{shared.sub}?attributes=birth.date")
    assert (response.status_code, code(response)) == (403, "field-not-shared")


def test_other_companys_person_and_nobody_look_the_same(
    http: FlaskClient, world: World, shared: Shared, caller: Caller
) -> None:
    stranger = Caller(http, world, world.firm())
    theirs, nobody = stranger.get(f"/api/v1/people/{shared.sub}"), caller.get("/api/v1/people/nobody")
    assert (theirs.status_code, code(theirs)) == (nobody.status_code, code(nobody)) == (404, "not-found")
    assert caller.get("/api/v1/people/a%00b").status_code == 404
    assert log(world, shared) == []


def test_replayed_proof_is_refused_and_leaves_no_second_row(world: World, shared: Shared, caller: Caller) -> None:
    headers = caller.headers("GET", f"/api/v1/people/{shared.sub}")
    answers = [caller.http.get(f"/api/v1/people/{shared.sub}", headers=headers).status_code for _ in range(2)]
    assert answers == [200, 401]
    assert len(log(world, shared)) == 1


def test_token_is_worthless_without_its_key(http: FlaskClient, world: World, firm: Firm, shared: Shared) -> None:
    thief, owner = Caller(http, world, firm), Caller(http, world, firm)
    thief.token = owner.token
    response = thief.get(f"/api/v1/people/{shared.sub}")
    assert (response.status_code, code(response)) == (401, "invalid-token")
    assert response.headers["WWW-Authenticate"].startswith('DPoP error="invalid_token"')


def test_proof_for_another_address_is_refused(shared: Shared, caller: Caller) -> None:
    headers = {"DPoP": caller.proof("GET", "/api/v1/people/other")}
    response = caller.get(f"/api/v1/people/{shared.sub}", headers=headers)
    assert (response.status_code, code(response)) == (401, "invalid-dpop-proof")


def test_scope_is_needed(http: FlaskClient, world: World, firm: Firm, shared: Shared) -> None:
    response = Caller(http, world, firm, scope="openid").get(f"/api/v1/people/{shared.sub}")
    assert (response.status_code, code(response)) == (403, "insufficient-scope")


def test_once_is_once(http: FlaskClient, world: World) -> None:
    firm = world.firm(mode="once")
    shared = world.share(world.person(), firm, mode="once")
    caller = Caller(http, world, firm)
    assert caller.get(f"/api/v1/people/{shared.sub}").status_code == 200
    assert code(caller.get(f"/api/v1/people/{shared.sub}")) == "consent-used-up"


def items(world: World, state: dict[str, Any]) -> list[tuple[str, str | None]]:
    found = select(BatchPullItem.state, BatchPullItem.message).where(BatchPullItem.pull_id == state["id"])
    rows = world.transact(lambda session: session.execute(found).all())
    return [(row.state, row.message) for row in rows]


def batch(caller: Caller, subjects: list[str], **more: Any) -> dict[str, Any]:  # noqa: ANN401 - members of the body
    response = caller.post("/api/v1/pulls", json={"subjects": subjects, **more})
    assert response.status_code == 202, response.text
    state: dict[str, Any] = response.get_json()
    return state


def test_batch_is_answered_by_the_job(
    world: World, firm: Firm, shared: Shared, caller: Caller, opened: Callable[[str], Message]
) -> None:
    gone = world.share(world.person(), firm)
    world.step("withdraw", gone)
    state = batch(caller, [shared.sub, gone.sub, "nobody"], attributes=["name.full"])
    assert (state["state"], state["total"]) == ("queued", 3)
    assert code(caller.get(state["links"]["self"] + "/result")) == "pull-not-done"
    jobs.run_pull(state["id"])
    done = caller.get(state["links"]["self"]).get_json()
    assert (done["state"], done["answered"], done["refused"]) == ("done", 1, 2)
    assert [row.outcome for row in log(world, shared)] == ["sending"]
    first, second, third = caller.get(done["links"]["result"]).get_json()["results"]
    assert opened(first["message"]).values == {"name.full": (1, "Ada Byrne")}
    assert second == {"sub": gone.sub, "problem": "consent-withdrawn"}
    assert third == {"sub": "nobody", "problem": "not-found"}
    assert [row.outcome for row in log(world, shared)] == ["completed"]
    assert [row.outcome for row in log(world, gone)] == ["denied"]


def test_batch_result_is_not_handed_out_after_a_stop(world: World, shared: Shared, caller: Caller) -> None:
    state = batch(caller, [shared.sub])
    jobs.run_pull(state["id"])
    world.step("withdraw", shared)
    for _ in range(2):
        (only,) = caller.get(state["links"]["self"] + "/result").get_json()["results"]
        assert only == {"sub": shared.sub, "problem": "consent-withdrawn"}
    (row,) = log(world, shared)
    assert (row.outcome, row.detail) == ("suppressed", "Not handed out: the person changed what is shared.")
    assert items(world, state) == [("refused", None)]


def test_batch_answer_of_what_is_shared_no_longer_is_refused(world: World, shared: Shared, caller: Caller) -> None:
    state = batch(caller, [shared.sub])
    jobs.run_pull(state["id"])
    world.transact(
        lambda session: consent.change(
            session, person_id=shared.person_id, grant_id=shared.grant_id, attributes=["name.full"],
            mode="kept-up-to-date", days=None, level=1, shown={}, now=db.now(),
        )
    )  # fmt: skip
    (only,) = caller.get(state["links"]["self"] + "/result").get_json()["results"]
    assert only == {"sub": shared.sub, "problem": "consent-changed"}
    assert [row.outcome for row in log(world, shared)] == ["suppressed"]


def test_batch_answer_waits_for_the_company_and_not_for_a_worker(world: World, shared: Shared, caller: Caller) -> None:
    state = batch(caller, [shared.sub])
    jobs.run_pull(state["id"])
    world.transact(lambda session: jobs.settle_stale(session, db.now() + timedelta(minutes=30)))
    assert [row.outcome for row in log(world, shared)] == ["sending"]
    for _ in range(2):
        assert "message" in caller.get(state["links"]["self"] + "/result").get_json()["results"][0]
    assert [row.outcome for row in log(world, shared)] == ["completed"]


def test_batch_answer_nobody_fetched_is_not_called_received(
    world: World, firm: Firm, shared: Shared, caller: Caller
) -> None:
    fetched = world.share(world.person(), firm)
    taken, left = batch(caller, [fetched.sub]), batch(caller, [shared.sub])
    for state in (taken, left):
        jobs.run_pull(state["id"])
    caller.get(taken["links"]["self"] + "/result")
    late = db.now() + rules.RESULT_KEPT + timedelta(hours=1)
    # A batch at a time, as the reconciler does; other tests' pulls are as old by then.
    while items(world, left):
        world.transact(lambda session: batches.expire(session, now=late))
    (row,) = log(world, shared)
    assert (row.outcome, row.detail) == ("failed", "The company did not fetch the result in time.")
    assert [row.outcome for row in log(world, fetched)] == ["completed"]
    assert items(world, left) == []


def test_batch_outcome_is_kept_before_a_byte_leaves(
    world: World, shared: Shared, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = batch(caller, [shared.sub])
    jobs.run_pull(state["id"])
    seen: list[str] = []
    kept = Response.__call__

    def look(response: Response, *arguments: Any) -> Any:  # noqa: ANN401 - WSGI's own
        seen.extend(row.outcome for row in log(world, shared))
        return kept(response, *arguments)

    monkeypatch.setattr(Response, "__call__", look)
    caller.get(state["links"]["self"] + "/result")
    assert seen[-1] == "completed"


def test_batch_of_another_company_is_nobodys(http: FlaskClient, world: World, shared: Shared, caller: Caller) -> None:
    state = batch(caller, [shared.sub])
    stranger = Caller(http, world, world.firm())
    assert stranger.get(state["links"]["self"]).status_code == 404


def test_batch_is_answered_once_however_often_the_job_runs(world: World, shared: Shared, caller: Caller) -> None:
    state = batch(caller, [shared.sub])
    for _ in range(3):
        jobs.run_pull(state["id"])
    assert len(log(world, shared)) == 1
    assert world.transact(lambda session: batches.counts(session, pull_id=state["id"])) == (1, 0)


def test_expired_result_is_gone(world: World, shared: Shared, caller: Caller) -> None:
    state = batch(caller, [shared.sub])
    jobs.run_pull(state["id"])
    past = update(BatchPull).where(BatchPull.pull_id == state["id"]).values(expires_at=db.now())
    world.transact(lambda session: session.execute(past))
    response = caller.get(state["links"]["self"] + "/result")
    assert (response.status_code, code(response)) == (410, "pull-expired")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/subjects"),
        ({"subjects": []}, "/subjects"),
        ({"subjects": ["a"] * 2}, "/subjects"),
        ({"subjects": [f"s{number}" for number in range(1001)]}, "/subjects"),
        ({"subjects": ["a", 5]}, "/subjects/1"),
        ({"subjects": ["a\x00b"]}, "/subjects/0"),
        ({"subjects": "a"}, "/subjects"),
        ({"subjects": ["a"], "attributes": ["shoe.size"]}, "/attributes"),
        ({"subjects": ["a"], "admin": True}, "/"),
    ],
)
def test_bad_batch_is_answered_with_a_pointer(caller: Caller, body: dict[str, Any], pointer: str) -> None:
    response = caller.post("/api/v1/pulls", json=body)
    assert (response.status_code, code(response)) == (422, "invalid")
    assert response.get_json()["errors"][0]["pointer"] == pointer


@pytest.mark.parametrize(
    ("sent", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"\xff\xfe{}", "application/json", 400),
        (b'{"subjects": ["\xc3\x28"]}', "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b"[]", "application/json", 400),
        (b"null", "application/json", 400),
        (b"a=b", "application/x-www-form-urlencoded", 415),
        (b'{"subjects": ["' + b"a" * 300_000 + b'"]}', "application/json", 413),
    ],
)
def test_unreadable_batch_is_a_problem(caller: Caller, sent: bytes, kind: str, status: int) -> None:
    response = caller.post("/api/v1/pulls", data=sent, content_type=kind)
    assert response.status_code == status
    assert code(response)


def test_a_client_has_ten_pulls_waiting_at_most(caller: Caller, shared: Shared) -> None:
    answers = [caller.post("/api/v1/pulls", json={"subjects": [shared.sub]}) for _ in range(11)]
    assert [answer.status_code for answer in answers] == [202] * 10 + [429]
    assert (code(answers[10]), answers[10].headers["Retry-After"]) == ("too-many-pulls", "60")
    jobs.run_pull(str(answers[0].get_json()["id"]))
    assert caller.post("/api/v1/pulls", json={"subjects": [shared.sub]}).status_code == 202


def test_openapi_describes_the_pulls(http: FlaskClient) -> None:
    paths = http.get("/api/v1/openapi.json").get_json()["paths"]
    assert {"/api/v1/people/{sub}", "/api/v1/pulls", "/api/v1/pulls/{pull_id}"} <= set(paths)
    assert "requestBody" in paths["/api/v1/pulls"]["post"]

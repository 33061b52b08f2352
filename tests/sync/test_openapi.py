"""The published OpenAPI document against the API itself: whatever is sent, the answer is one that is documented."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from zlib import crc32

import pytest
import schemathesis
from hypothesis import given, settings
from hypothesis.strategies import one_of
from schemathesis import GenerationMode, checks
from schemathesis.specs.openapi import checks as conformance
from sqlalchemy import select

from portal import db
from portal.consent import queries as consents
from portal.consent.models import Deletion, Grant
from portal.disputes import services as disputes
from portal.ledger import queries as ledger
from portal.sync import jobs, polling
from tests.sync.caller import Caller

if TYPE_CHECKING:
    from collections.abc import Callable

    from apiflask import APIFlask
    from schemathesis import BaseSchema, Case
    from sqlalchemy.orm import Session

    from tests.sync.cast import World

CHECKS = [
    checks.not_a_server_error,
    conformance.status_code_conformance,
    conformance.content_type_conformance,
    conformance.response_schema_conformance,
    conformance.response_headers_conformance,
    conformance.unsupported_method,
]
OPERATIONS = (
    "GET /api/v1/people/{sub}",
    "GET /api/v1/people/{sub}/messages/{jti}/log",
    "POST /api/v1/pulls",
    "GET /api/v1/pulls/{pull_id}",
    "GET /api/v1/pulls/{pull_id}/result",
    "POST /api/v1/receipts",
    "POST /api/v1/drift",
    "POST /api/v1/streams",
    "GET /api/v1/streams",
    "PATCH /api/v1/streams",
    "PUT /api/v1/streams",
    "DELETE /api/v1/streams",
    "GET /api/v1/streams/status",
    "POST /api/v1/streams/status",
    "POST /api/v1/streams/verification",
    "GET /api/v1/keys",
    "POST /api/v1/keys/{kid}/proof",
    "DELETE /api/v1/keys/{kid}",
    "GET /api/v1/grants",
    "GET /api/v1/grants/{grant_id}",
    "GET /api/v1/grants/{grant_id}/receipt",
    "POST /api/v1/grants/{grant_id}/requests",
    "GET /api/v1/grants/{grant_id}/requests/{request_id}",
    "GET /api/v1/grants/{grant_id}/deletion",
    "POST /api/v1/grants/{grant_id}/deletion",
    "POST /api/v1/grants/{grant_id}/acceptance",
    "POST /api/v1/grants/{grant_id}/refusal",
    "GET /api/v1/deletions",
    "GET /api/v1/questions",
    "GET /api/v1/questions/{disclosure_id}",
    "POST /api/v1/questions/{disclosure_id}/answer",
    "GET /api/v1/purposes",
    "PUT /api/v1/purposes/{code}",
    "POST /api/v1/purposes/{code}/review",
    "DELETE /api/v1/purposes/{code}",
    "POST /api/v1/events",
    "GET /api/v1/events",
)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answer polls at once: most of what is sent here finds nothing to hand out."""
    monkeypatch.setattr(polling, "WAIT_SECONDS", 0.0)


@pytest.fixture
def caller(app: APIFlask, world: World) -> Caller:
    scopes = "people:read keys:manage purposes:manage grants:manage grant_management_query"
    return Caller(app.test_client(), world, world.firm(), scopes)


@pytest.fixture
def published(app: APIFlask, caller: Caller, world: World) -> BaseSchema:
    """The document, with people and pulls that exist among what is asked for."""
    subs = _subs(world)
    known = {"sub": subs, "pull_id": _pulls(caller, subs), "kid": ["enc-1"], "disclosure_id": _questions(world, subs)}
    known |= {"grant_id": _grants(world), "code": ["send-bills-to-the-right-address"]}
    schema = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", app)

    @schema.hook
    def map_path_parameters(_context: object, given: dict[str, Any] | None) -> dict[str, Any] | None:
        return given and {name: _sometimes(known.get(name, []), value) for name, value in given.items()}

    return schema


def test_every_operation_is_tried(published: BaseSchema) -> None:
    found = {f"{method.upper()} {path}" for path in published for method in published[path]}
    assert {operation for operation in found if " /api/" in operation} == set(OPERATIONS)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_answer_is_a_documented_one(published: BaseSchema, caller: Caller, operation: str) -> None:
    def ask(case: Case[Any]) -> None:
        response = case.call(headers=caller.headers(case.method, case.formatted_path))
        case.validate_response(response, checks=CHECKS)

    _try(published, operation, ask, examples=120)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_stranger_is_refused_in_a_documented_way(published: BaseSchema, operation: str) -> None:
    def ask(case: Case[Any]) -> None:
        response = case.call()
        assert response.status_code in {401, 404, 405}
        case.validate_response(response, checks=CHECKS)

    _try(published, operation, ask, examples=20)


def _try(published: BaseSchema, operation: str, ask: Callable[[Case[Any]], None], *, examples: int) -> None:
    method, path = operation.split()
    cases = published[path][method].as_strategy(generation_mode=GenerationMode.POSITIVE)
    spoilt = published[path][method].as_strategy(generation_mode=GenerationMode.NEGATIVE)
    limits = settings(max_examples=examples, deadline=None, derandomize=True, database=None)
    given(one_of(cases, spoilt))(limits(ask))()


def _sometimes(known: list[str], value: object) -> object:
    # A choice of the value's own, so that a failure happens again.
    number = crc32(str(value).encode("utf-8", "replace"))
    return known[number // 2 % len(known)] if known and number % 2 else value


def _subs(world: World) -> list[str]:
    firm = world.firms[-1]
    shared = [world.share(world.person(), firm) for _ in range(3)]
    world.step("pause", shared[1])
    world.step("withdraw", shared[2])
    return [each.sub for each in shared]


def _grants(world: World) -> list[str]:
    firm, now = world.firms[-1], db.now()
    asked: dict[str, Any] = {"state": "asked", "asked_at": now, "due_at": now, "changed_at": now}
    asked["client_id"] = firm.client_id
    world.share(world.person(), firm, attributes=["name.full"])

    def wish(session: Session) -> list[str]:
        held = session.scalars(select(Grant).where(Grant.client_id == firm.client_id)).all()
        for one in held:
            if one.state == "withdrawn":
                whose: dict[str, Any] = {"person_id": one.person_id, "grant_id": one.grant_id}
                session.add(Deletion(attribute="name.full", **whose, **asked))
        return [str(one.grant_id) for one in held]

    found: list[str] = world.transact(wish)
    return found


def _questions(world: World, subs: list[str]) -> list[str]:
    def ask(session: Session) -> list[str]:
        person_id = consents.person_of(session, company_id=world.firms[0].company_id, sub=subs[0])
        assert person_id
        rows = ledger.of_person(session, person_id=person_id)
        for row in rows:
            said: dict[str, Any] = {"choice": "", "words": "What was that?", "pause": False, "now": db.now()}
            disputes.ask(session, keyring=world.keyring, entry=row, **said)
        return [str(row.disclosure_id) for row in rows]

    found: list[str] = world.transact(ask)
    return found


def _pulls(caller: Caller, subs: list[str]) -> list[str]:
    answers = [caller.post("/api/v1/pulls", json={"subjects": subs}) for _ in range(2)]
    ids = [str(answer.get_json()["id"]) for answer in answers]
    jobs.run_pull(ids[0])
    return ids

"""The published OpenAPI document against the authorization server: whatever is sent, the answer is documented."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

import pytest
import schemathesis
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis.strategies import one_of
from schemathesis import GenerationMode, checks
from schemathesis.specs.openapi import checks as conformance

from tests.oauth import afar as cast_
from tests.oauth.test_registration import make_program

if TYPE_CHECKING:
    from collections.abc import Callable

    from apiflask import APIFlask
    from flask.testing import FlaskClient
    from schemathesis import BaseSchema, Case

    from portal.config import Settings
    from tests.oauth.afar import Afar
    from tests.oauth.conftest import Person

CHECKS: Final = [
    checks.not_a_server_error,
    conformance.status_code_conformance,
    conformance.content_type_conformance,
    conformance.response_schema_conformance,
    conformance.response_headers_conformance,
    conformance.unsupported_method,
]
FORMS: Final = ("par", "bc-authorize", "token", "revoke", "introspect")
OPERATIONS: Final = (
    *(f"POST /oauth/{name}" for name in FORMS),
    "GET /oauth/userinfo",
    "POST /oauth/userinfo",
    "GET /oauth/grants/{grant_id}",
    "DELETE /oauth/grants/{grant_id}",
    "POST /oauth/register",
    "GET /oauth/register/{client_id}",
    "PUT /oauth/register/{client_id}",
    "DELETE /oauth/register/{client_id}",
)


@pytest.fixture
def published(app: APIFlask) -> BaseSchema:
    return schemathesis.openapi.from_wsgi("/api/v1/openapi.json", app)


@pytest.fixture
def afar(http: FlaskClient, settings: Settings, person: Person) -> Afar:
    return cast_.make(http, settings, person)


def test_every_operation_is_tried(published: BaseSchema) -> None:
    found = {f"{method.upper()} {path}" for path in published for method in published[path]}
    assert {operation for operation in found if " /oauth/" in operation} == set(OPERATIONS)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_stranger_gets_a_documented_answer(published: BaseSchema, operation: str) -> None:
    def ask(case: Case[Any]) -> None:
        response = case.call()
        assert response.status_code >= 400
        case.validate_response(response, checks=CHECKS)

    _try(published, operation, ask)


@pytest.mark.parametrize("name", FORMS)
def test_a_client_gets_a_documented_answer(published: BaseSchema, afar: Afar, name: str) -> None:
    good, rp = _good(afar, name), afar.rp
    answered: Counter[int] = Counter()

    def ask(case: Case[Any]) -> None:
        case.body = _mixed(good, case.body) | rp.identified()
        response = case.call(headers={"DPoP": rp.proof(f"/oauth/{name}")})
        case.validate_response(response, checks=CHECKS)
        answered[response.status_code] += 1

    _try(published, f"POST /oauth/{name}", ask)
    # Otherwise all of it would have ended at the first check.
    assert answered[200] + answered[201] >= 3, answered


@pytest.mark.parametrize("operation", [each for each in OPERATIONS if "userinfo" in each or "grants" in each])
def test_a_token_gets_a_documented_answer(published: BaseSchema, afar: Afar, operation: str) -> None:
    rp = afar.rp
    answer = rp.redeem(rp.code(afar.person.browser)).json
    scope = "grant_management_query grant_management_revoke"
    own = rp.token(grant_type="client_credentials", scope=scope).json["access_token"]
    token = own if "grants" in operation else answer["access_token"]

    def ask(case: Case[Any]) -> None:
        if "grant_id" in case.path_parameters and crc32(repr(case.path_parameters).encode()) % 2:
            case.path_parameters["grant_id"] = answer["grant_id"]
        proof = rp.proof(case.formatted_path, method=case.method, token=token)
        response = case.call(headers={"Authorization": f"DPoP {token}", "DPoP": proof})
        case.validate_response(response, checks=CHECKS)

    _try(published, operation, ask)


@pytest.mark.parametrize("operation", [each for each in OPERATIONS if "register" in each])
def test_a_program_gets_a_documented_answer(
    published: BaseSchema, http: FlaskClient, settings: Settings, operation: str
) -> None:
    program = make_program(http, settings)
    made = program.made()

    def ask(case: Case[Any]) -> None:
        token = program.token if "{client_id}" not in operation else made["registration_access_token"]
        if "{client_id}" in operation and crc32(repr(case.path_parameters).encode()) % 2:
            case.path_parameters["client_id"] = made["client_id"]
        response = case.call(headers={"Authorization": f"Bearer {token}"})
        case.validate_response(response, checks=CHECKS)

    _try(published, operation, ask)


def _good(afar: Afar, name: str) -> dict[str, str]:
    rp = afar.rp
    details = rp.asked()["authorization_details"]
    return {
        "par": {name: value for name, value in rp.asked().items() if name != "client_id"},
        "bc-authorize": {"scope": "openid", "login_hint": afar.sub, "authorization_details": details},
        "token": {"grant_type": "client_credentials", "scope": "people:read"},
        "revoke": {"token": rp.own_token()},
        "introspect": {"token": rp.own_token()},
    }[name]


def _mixed(good: dict[str, str], sent: object) -> dict[str, Any]:
    # Of what is sent a part takes the place of what is right, so that every check is reached by something.
    spoilt = sent if isinstance(sent, dict) else {}
    return good | {name: value for name, value in spoilt.items() if not crc32(repr(value).encode()) % 4}


def _try(published: BaseSchema, operation: str, ask: Callable[[Case[Any]], None]) -> None:
    method, path = operation.split()
    described = published[path][method]
    cases = one_of(*(described.as_strategy(generation_mode=mode) for mode in GenerationMode))
    limits = hypothesis(max_examples=60, deadline=None, derandomize=True, database=None)
    given(cases)(limits(ask))()

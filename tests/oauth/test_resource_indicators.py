"""Resource indicators (RFC 8707): the API, once or more often, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from portal.oauth import resource_indicators
from portal.oauth.errors import InvalidTargetError

if TYPE_CHECKING:
    from tests.oauth.conftest import Person
    from tests.oauth.rp import RelyingParty

ISSUER = "https://portal.example"
API = f"{ISSUER}/api/v1"
ELSEWHERE = (
    "https://elsewhere.example/api/v1", ISSUER, f"{ISSUER}/", f"{API}/", f"{API}#part", f"{API}?a=b", f"{API} {API}",
    f"{ISSUER}/API/v1", "portal.example/api/v1", "urn:x", "/api/v1", "é", " ",
)  # fmt: skip


def repeated(form: dict[str, str], *resources: str) -> list[tuple[str, str]]:
    return [*form.items(), *(("resource", resource) for resource in resources)]


@pytest.mark.parametrize("values", [[], [API], [API, API]])
def test_the_api_is_the_resource__rfc8707_2(values: list[str]) -> None:
    resource_indicators.check({"resource": resource_indicators.joined(values)} if values else {}, ISSUER)


@pytest.mark.parametrize("wrong", ELSEWHERE)
def test_anything_else_is_an_invalid_target__rfc8707_2(wrong: str) -> None:
    for values in ([wrong], [API, wrong], [wrong, API]):
        with pytest.raises(InvalidTargetError):
            resource_indicators.check({"resource": resource_indicators.joined(values)}, ISSUER)


@pytest.mark.parametrize("times", [1, 2, 3])
def test_resource_may_repeat_at_par_and_token__rfc8707_2(rp: RelyingParty, person: Person, times: int) -> None:
    api = [f"{rp.issuer}/api/v1"] * times
    pushed = rp.post("/oauth/par", repeated(rp.request(), *api))
    assert pushed.status_code == 201, pushed.text
    form = rp.identified(grant_type="client_credentials", scope="people:read")
    answer = rp.post("/oauth/token", repeated(form, *api), DPoP=rp.proof())
    assert answer.status_code == 200, answer.text
    first = rp.redeem(rp.code(person.browser)).json
    again = rp.identified(grant_type="refresh_token", refresh_token=first["refresh_token"])
    assert rp.post("/oauth/token", repeated(again, *api), DPoP=rp.proof()).status_code == 200


def test_one_wrong_among_many_is_an_invalid_target__rfc8707_2(rp: RelyingParty) -> None:
    api, wrong = f"{rp.issuer}/api/v1", "https://elsewhere.example"
    for values in ([wrong], [api, wrong], [wrong, api]):
        answer = rp.post("/oauth/par", repeated(rp.request(), *values))
        assert (answer.status_code, answer.json["error"]) == (400, "invalid_target")
        form = rp.identified(grant_type="client_credentials", scope="people:read")
        answer = rp.post("/oauth/token", repeated(form, *values), DPoP=rp.proof())
        assert (answer.status_code, answer.json["error"]) == (400, "invalid_target")


def test_no_other_parameter_may_repeat__rfc6749_3_1(rp: RelyingParty) -> None:
    api = f"{rp.issuer}/api/v1"
    answer = rp.post("/oauth/par", [*repeated(rp.request(), api, api), ("scope", "openid")])
    assert (answer.status_code, answer.json["error"]) == (400, "invalid_request")


@pytest.mark.parametrize("odd", ["\0", "a\0b", "\x7f"])
def test_a_control_character_in_it_is_refused(rp: RelyingParty, odd: str) -> None:
    answer = rp.post("/oauth/par", repeated(rp.request(), f"{rp.issuer}/api/v1{odd}"))
    assert (answer.status_code, answer.json["error"]) == (400, "invalid_request")

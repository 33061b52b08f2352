"""Revocation (RFC 7009): ends the client's own tokens at once, says nothing of others', never ends a consent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select

from portal import db
from portal.consent.models import Grant

if TYPE_CHECKING:
    from portal.config import Settings
    from tests.oauth.conftest import Person
    from tests.oauth.rp import Answer, RelyingParty

PATH = "/oauth/revoke"
USERINFO = "/oauth/userinfo"


def revoke(rp: RelyingParty, token: str, **form: str) -> Answer:
    return rp.post(PATH, rp.identified(token=token, **form))


def tokens(rp: RelyingParty, person: Person) -> dict[str, Any]:
    found: dict[str, Any] = rp.redeem(rp.code(person.browser)).json
    return found


def works(rp: RelyingParty, access_token: str) -> bool:
    answer = rp.call(USERINFO, access_token)
    assert answer.status_code in {200, 401}
    return answer.status_code == 200


def refreshes(rp: RelyingParty, given: dict[str, Any]) -> bool:
    answer = rp.token(grant_type="refresh_token", refresh_token=given["refresh_token"])
    assert answer.status_code == 200 or answer.json["error"] == "invalid_grant"
    return answer.status_code == 200


def test_an_access_token_dies_at_once_and_alone(rp: RelyingParty, person: Person) -> None:
    given = tokens(rp, person)
    second = rp.token(grant_type="refresh_token", refresh_token=given["refresh_token"]).json["access_token"]
    answer = revoke(rp, given["access_token"])
    assert (answer.status_code, answer.json) == (200, {})
    assert answer.headers["Cache-Control"] == "no-store"
    assert not works(rp, given["access_token"])
    assert works(rp, second)
    assert refreshes(rp, given)


def test_with_a_refresh_token_go_its_access_tokens(rp: RelyingParty, person: Person) -> None:
    # Section 2.1.
    given = tokens(rp, person)
    second = rp.token(grant_type="refresh_token", refresh_token=given["refresh_token"]).json["access_token"]
    assert revoke(rp, given["refresh_token"]).status_code == 200
    assert not works(rp, given["access_token"])
    assert not works(rp, second)
    assert not refreshes(rp, given)


def test_tokens_of_another_code_live_on(rp: RelyingParty, person: Person) -> None:
    first, second = tokens(rp, person), tokens(rp, person)
    assert first["grant_id"] == second["grant_id"]
    revoke(rp, first["refresh_token"])
    assert works(rp, second["access_token"])
    assert refreshes(rp, second)


@pytest.mark.parametrize("name", ["access_token", "refresh_token"])
def test_the_consent_stays(rp: RelyingParty, person: Person, settings: Settings, name: str) -> None:
    # Ending a token and ending a consent are two verbs (keycloak#12916).
    given = tokens(rp, person)
    revoke(rp, given[name])
    with db.transaction(settings.database_url) as session:
        state = session.scalars(select(Grant.state).where(Grant.grant_id == given["grant_id"])).one()
    assert state == "active"
    assert works(rp, tokens(rp, person)["access_token"])


@pytest.mark.parametrize("name", ["access_token", "refresh_token"])
@pytest.mark.parametrize("hint", ["access_token", "refresh_token", "made-up"])
def test_a_hint_changes_nothing(rp: RelyingParty, person: Person, name: str, hint: str) -> None:
    # Section 2.1: the server may ignore it, also one that it does not know.
    given = tokens(rp, person)
    assert revoke(rp, given[name], token_type_hint=hint).status_code == 200
    assert not works(rp, given["access_token"])


@pytest.mark.parametrize("token", ["ucmat_x", "ucmrt_x", "x" * 4000, "né", "🎈"])
def test_what_is_no_token_is_ended_already(rp: RelyingParty, token: str) -> None:
    # Section 2.2: the purpose of the request is fulfilled.
    assert (revoke(rp, token).status_code, revoke(rp, token).json) == (200, {})


@pytest.mark.parametrize("name", ["access_token", "refresh_token"])
def test_another_clients_token_is_unaffected(rp: RelyingParty, other: RelyingParty, person: Person, name: str) -> None:
    given = tokens(rp, person)
    answer = revoke(other, given[name])
    assert (answer.status_code, answer.json) == (200, {})
    assert works(rp, given["access_token"])
    assert refreshes(rp, given)


def test_twice_is_as_good_as_once(rp: RelyingParty, person: Person) -> None:
    given = tokens(rp, person)
    for _ in range(2):
        assert revoke(rp, given["refresh_token"]).status_code == 200
    assert not refreshes(rp, given)


def test_the_clients_own_token(rp: RelyingParty) -> None:
    token = rp.own_token()
    revoke(rp, token)
    assert rp.call("/api/v1/people/nobody", token).status_code == 401


def test_whoever_does_not_authenticate_ends_nothing(rp: RelyingParty, person: Person) -> None:
    given = tokens(rp, person)
    answer = rp.post(PATH, {"token": given["access_token"], "client_id": rp.client_id})
    assert (answer.status_code, answer.json["error"]) == (401, "invalid_client")
    assert works(rp, given["access_token"])


@pytest.mark.parametrize("form", [{}, {"token": ""}, {"token": "\x00"}])
def test_a_request_without_a_token_is_malformed(rp: RelyingParty, form: dict[str, str]) -> None:
    answer = rp.post(PATH, rp.identified(**form))
    assert (answer.status_code, answer.json["error"]) == (400, "invalid_request")


def test_only_a_post_ends_anything(rp: RelyingParty, person: Person) -> None:
    given = tokens(rp, person)
    assert rp.get(f"{PATH}?token={given['access_token']}").status_code == 405
    address = f"{PATH}?token={given['access_token']}"
    assert rp.post(address, rp.identified(token=given["access_token"])).status_code == 400
    assert works(rp, given["access_token"])

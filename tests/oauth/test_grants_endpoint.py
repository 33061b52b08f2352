"""Grant Management for OAuth 2.0 (draft 03) sections 6 and 7: looking at a grant, ending it, and what ends with it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, update

from portal import db, events
from portal.consent import queries as consents
from portal.consent import services as consent
from portal.consent.models import Grant
from portal.oauth.models import AccessToken
from tests.oauth.conftest import make_rp
from tests.oauth.grants import active, asked, manage, refresh, share, states, userinfo

if TYPE_CHECKING:
    from flask.testing import FlaskClient

    from portal.config import Settings
    from tests.oauth.conftest import Person
    from tests.oauth.rp import RelyingParty


def test_what_a_client_sees_of_its_grant__6_4(rp: RelyingParty, person: Person) -> None:
    body = share(rp, person, asked(rp), attributes=["email.main"])
    answer = manage(rp, "GET", body["grant_id"])
    assert answer.status_code == 200, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    api = f"{rp.issuer}/api/v1"
    told = answer.json
    assert told["scopes"] == [{"scope": "profile", "resource": [api]}, {"scope": "email", "resource": [api]}]
    assert told["claims"] == ["name", "email"]
    assert told["authorization_details"] == body["authorization_details"]
    assert (told["grant_id"], told["status"], told["version"]) == (body["grant_id"], "active", 2)
    assert told["expires_at"] == body["authorization_details"][0]["expires_at"]
    assert told["created_at"] == told["last_updated_at"]
    assert "Aoife" not in answer.text
    assert str(person.person_id) not in answer.text


def test_a_paused_grant_says_so__6_4(rp: RelyingParty, person: Person, settings: Settings) -> None:
    held = share(rp, person, asked(rp))["grant_id"]
    with db.transaction(settings.database_url) as session:
        consent.pause(session, person_id=person.person_id, grant_id=UUID(held), now=db.now())
    told = manage(rp, "GET", held).json
    assert (told["status"], told["version"]) == ("paused", 3)


def test_the_company_ends_it_and_every_token_dies__6_5(
    rp: RelyingParty, person: Person, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    body, waiting = share(rp, person, asked(rp)), rp.code(person.browser)
    fresh = rp.token(grant_type="refresh_token", refresh_token=body["refresh_token"]).json
    told: list[events.GrantChanged] = []
    listeners = [*events._listeners[events.GrantChanged], lambda _session, fact: told.append(fact)]  # noqa: SLF001 - the registry has no way to forget
    monkeypatch.setitem(events._listeners, events.GrantChanged, listeners)  # noqa: SLF001
    answer = manage(rp, "DELETE", body["grant_id"])
    assert (answer.status_code, answer.text) == (204, "")
    assert [str(fact.grant_id) for fact in told] == [body["grant_id"]]
    assert states(settings, person) == ["ended"]
    assert "Ended by them" in person.browser.get("/sharing").text
    assert refresh(rp, body) == 400
    assert rp.redeem(waiting).json["error"] == "invalid_grant"
    assert not active(rp, body["refresh_token"])
    for token in (body["access_token"], fresh["access_token"]):
        assert rp.call("/oauth/userinfo", token).status_code == 401
        assert not active(rp, token)
    pulled = rp.call(f"/api/v1/people/{body['sub']}", rp.own_token())
    assert (pulled.status_code, pulled.json["type"].rpartition("/")[2]) == (403, "consent-ended")
    for method in ("GET", "DELETE"):
        assert manage(rp, method, body["grant_id"]).status_code == 404


@pytest.mark.parametrize("way", ["withdraw", "expire"])
def test_tokens_die_with_the_grant_whoever_ends_it(
    rp: RelyingParty, person: Person, settings: Settings, way: str
) -> None:
    body = share(rp, person, asked(rp))
    grant_id = UUID(body["grant_id"])
    with db.transaction(settings.database_url) as session:
        if way == "withdraw":
            consent.withdraw(session, person_id=person.person_id, grant_id=grant_id, now=db.now())
        else:
            soon = db.now() - timedelta(seconds=1)
            session.execute(update(Grant).where(Grant.grant_id == grant_id).values(expires_at=soon))
            consent.expire_due(session, now=db.now())
    assert (refresh(rp, body), userinfo(rp, body), active(rp, body["access_token"])) == (400, 401, False)
    assert not active(rp, body["refresh_token"])


def test_tokens_are_refused_from_the_moment_its_time_is_over(
    rp: RelyingParty, person: Person, settings: Settings
) -> None:
    """Before anything has swept the grant: no use waits for a job."""
    body = share(rp, person, asked(rp))
    with db.transaction(settings.database_url) as session:
        gone = update(Grant).where(Grant.grant_id == UUID(body["grant_id"]))
        session.execute(gone.values(expires_at=db.now() - timedelta(seconds=1)))
        kept = select(AccessToken.revoked_at).where(AccessToken.grant_id == UUID(body["grant_id"]))
        assert session.scalars(kept).all() == [None]
    assert (refresh(rp, body), userinfo(rp, body), active(rp, body["access_token"])) == (400, 403, False)
    assert not active(rp, body["refresh_token"])
    assert manage(rp, "GET", body["grant_id"]).status_code == 404
    assert rp.call(f"/api/v1/people/{body['sub']}", rp.own_token()).status_code == 403


def test_ending_a_token_leaves_the_grant__rfc7009_2_1(rp: RelyingParty, person: Person, settings: Settings) -> None:
    body = share(rp, person, asked(rp))
    assert rp.post("/oauth/revoke", rp.identified(token=body["refresh_token"])).status_code == 200
    assert (refresh(rp, body), userinfo(rp, body)) == (400, 401)
    assert states(settings, person) == ["active"]
    assert manage(rp, "GET", body["grant_id"]).json["status"] == "active"
    assert rp.call(f"/api/v1/people/{body['sub']}", rp.own_token()).status_code == 200


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_others_grants_and_none_look_the_same__6_6(
    rp: RelyingParty, other: RelyingParty, person: Person, settings: Settings, method: str
) -> None:
    theirs = share(other, person, asked(other))["grant_id"]
    answers = [manage(rp, method, named) for named in (theirs, str(uuid4()))]
    assert [answer.status_code for answer in answers] == [404, 404]
    assert all(answer.headers["Content-Type"] == "application/problem+json" for answer in answers)
    first, second = (
        {name: value for name, value in answer.json.items() if name not in {"instance", "request_id"}}
        for answer in answers
    )
    assert first == second
    assert first["type"].endswith("/grant-not-found")
    assert states(settings, person) == ["active"]


@pytest.mark.parametrize(
    ("method", "scope"),
    [("GET", "grant_management_revoke"), ("DELETE", "grant_management_query"), ("GET", "people:read")],
)
def test_each_verb_has_its_own_scope__6_1(
    rp: RelyingParty, person: Person, settings: Settings, method: str, scope: str
) -> None:
    held = share(rp, person, asked(rp))["grant_id"]
    answer = manage(rp, method, held, scope=scope)
    assert answer.status_code == 403
    assert 'error="insufficient_scope"' in answer.headers["WWW-Authenticate"]
    assert states(settings, person) == ["active"]


def test_a_persons_token_does_not_manage__6_1(rp: RelyingParty, person: Person) -> None:
    body = share(rp, person, asked(rp))
    path = f"/oauth/grants/{body['grant_id']}"
    assert rp.call(path, body["access_token"]).status_code == 403
    assert rp.call(path, body["access_token"], scheme="Bearer").status_code == 401
    assert rp.get(path).status_code == 401
    assert rp.post("/oauth/par", rp.request(scope="openid grant_management_query")).json["error"] == "invalid_scope"


@pytest.mark.parametrize("named", ["x", "%00", "é", "0" * 400, "..%2fpar"])
def test_an_address_that_is_no_grants(rp: RelyingParty, named: str) -> None:
    answer = rp.get(f"/oauth/grants/{named}")
    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_only_ones_own_grant_is_found_by_its_id(
    http: FlaskClient, settings: Settings, rp: RelyingParty, person: Person
) -> None:
    held = UUID(share(rp, person, asked(rp))["grant_id"])
    with db.transaction(settings.database_url) as session:
        assert consents.of_client(session, client_id=rp.client_id, grant_id=held) is not None
        assert consents.of_client(session, client_id=make_rp(http, settings).client_id, grant_id=held) is None


def test_the_metadata_names_it__7_1(rp: RelyingParty) -> None:
    said = rp.get("/.well-known/oauth-authorization-server").json
    assert said["grant_management_endpoint"] == f"{rp.issuer}/oauth/grants"
    assert said["grant_management_actions_supported"] == ["query", "revoke", "create", "merge", "replace"]
    assert said["grant_management_action_required"] is False
    assert {"grant_management_query", "grant_management_revoke"} <= set(said["scopes_supported"])

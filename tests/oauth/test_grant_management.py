"""Grant Management for OAuth 2.0 (draft 03): which consent is meant, what it holds, and how a company ends it."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, update

from portal import db, events
from portal.consent import queries as consents
from portal.consent import services as consent
from portal.consent.models import Grant
from portal.oauth import grant_management
from portal.oauth.models import AccessToken
from tests.oauth.conftest import make_person, make_rp
from tests.oauth.rp import csrf, query

if TYPE_CHECKING:
    from apiflask import APIFlask
    from flask.testing import FlaskClient

    from portal.config import Settings
    from portal.vault.keyring import Keyring
    from tests.oauth.conftest import Person
    from tests.oauth.rp import Answer, RelyingParty

NAME = ["name.full"]
EMAIL = ["name.full", "email.main"]


def details(rp: RelyingParty, **members: Any) -> str:  # noqa: ANN401 - members of any kind
    return json.dumps([{"type": "ucm_profile", "purpose": rp.purpose, **members}])


def asked(rp: RelyingParty, action: str | None = None, grant_id: str | None = None, **members: Any) -> dict[str, Any]:  # noqa: ANN401
    managed = {"grant_management_action": action, "grant_id": grant_id}
    return {"authorization_details": details(rp, **members), **{name: one for name, one in managed.items() if one}}


def share(rp: RelyingParty, person: Person, request: dict[str, Any], **form: Any) -> dict[str, Any]:  # noqa: ANN401
    """Ask, answer and redeem: return the token answer."""
    back = rp.answer(person.browser, rp.push(**request), **form)
    assert back.status_code == 303, back.text
    answer = rp.redeem(query(back)["code"])
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json
    return body


def refresh(rp: RelyingParty, body: dict[str, Any]) -> int:
    return rp.token(grant_type="refresh_token", refresh_token=body["refresh_token"]).status_code


def userinfo(rp: RelyingParty, body: dict[str, Any]) -> int:
    return rp.call("/oauth/userinfo", body["access_token"]).status_code


def active(rp: RelyingParty, token: str) -> bool:
    return bool(rp.post("/oauth/introspect", rp.identified(token=token)).json["active"])


def manage(rp: RelyingParty, method: str, grant_id: str, *, scope: str | None = None) -> Answer:
    verb = {"GET": "query", "DELETE": "revoke"}[method]
    token = rp.token(grant_type="client_credentials", scope=scope or f"grant_management_{verb}").json["access_token"]
    path = f"/oauth/grants/{grant_id}"
    headers = {"Authorization": f"DPoP {token}", "DPoP": rp.proof(path, method=method, token=token)}
    return rp.http.open(path, method=method, headers=headers)  # type: ignore[return-value]  # the test client's own class


def states(settings: Settings, person: Person) -> list[str]:
    with db.transaction(settings.database_url) as session:
        mine = select(Grant.state).where(Grant.person_id == person.person_id)
        return sorted(session.scalars(mine))


# 5.2 and 5.4: what a request may say.


@pytest.mark.parametrize(
    ("managed", "error"),
    [
        ({"grant_management_action": "update"}, grant_management.ActionUnknownError),
        ({"grant_management_action": "amend"}, grant_management.ActionUnknownError),
        ({"grant_management_action": "CREATE"}, grant_management.ActionUnknownError),
        ({"grant_management_action": "query"}, grant_management.ActionUnknownError),
        ({"grant_management_action": "merge"}, grant_management.GrantIdMissingError),
        ({"grant_management_action": "replace"}, grant_management.GrantIdMissingError),
        ({"grant_management_action": "create", "grant_id": "its own"}, grant_management.GrantIdNotNeededError),
        ({"grant_id": "its own"}, grant_management.ActionMissingError),
    ],
)
def test_a_contradiction_is_an_invalid_request__5_4(
    rp: RelyingParty, person: Person, managed: dict[str, str], error: type[Exception]
) -> None:
    held = share(rp, person, asked(rp))["grant_id"]
    sent = managed | ({"grant_id": held} if "grant_id" in managed else {})
    answer = rp.post("/oauth/par", rp.request(**sent))
    assert answer.status_code == 400
    assert (answer.json["error"], answer.json["error_description"]) == ("invalid_request", error.public)  # type: ignore[attr-defined]  # each has one


@pytest.mark.parametrize("action", ["merge", "replace"])
@pytest.mark.parametrize("case", ["unknown", "another client's", "over", "malformed", "written otherwise", "odd"])
def test_a_grant_id_that_names_nothing_is_one_answer__5_4(
    *, rp: RelyingParty, other: RelyingParty, person: Person, settings: Settings, action: str, case: str
) -> None:
    held = share(rp, person, asked(rp))["grant_id"]
    if case == "over":
        with db.transaction(settings.database_url) as session:
            consent.withdraw(session, person_id=person.person_id, grant_id=UUID(held), now=db.now())
    theirs = share(other, person, asked(other))["grant_id"]
    named = {
        "unknown": str(uuid4()), "another client's": theirs, "over": held, "malformed": "x" * 300,
        "written otherwise": held.upper(), "odd": "é\u200d",
    }[case]  # fmt: skip
    answer = rp.post("/oauth/par", rp.request(grant_management_action=action, grant_id=named))
    assert answer.status_code == 400
    assert answer.json["error"] == "invalid_grant_id"
    assert answer.json["error_description"] == "grant_id names no live grant of this client for this purpose."


def test_a_grant_for_another_purpose_is_not_meant__5_4(rp: RelyingParty, person: Person, settings: Settings) -> None:
    held = share(rp, person, asked(rp))["grant_id"]
    with db.transaction(settings.database_url) as session:
        session.execute(update(Grant).where(Grant.grant_id == UUID(held)).values(purpose_id=uuid4()))
    answer = rp.post("/oauth/par", rp.request(grant_management_action="merge", grant_id=held))
    assert answer.json["error"] == "invalid_grant_id"


# 5.2: what an answer does.


def test_without_an_action_the_grant_keeps_its_id_and_its_tokens(rp: RelyingParty, person: Person) -> None:
    first = share(rp, person, asked(rp, attributes=NAME))
    second = share(rp, person, asked(rp), attributes=["email.main"])
    assert first["grant_id"] == second["grant_id"]
    assert (refresh(rp, first), refresh(rp, second)) == (200, 200)


def test_create_begins_anew_and_ends_the_earlier__5_2(rp: RelyingParty, person: Person, settings: Settings) -> None:
    first = share(rp, person, asked(rp), attributes=["email.main"])
    uri = rp.push(**asked(rp, "create", attributes=NAME))
    screen = person.browser.get(rp.address(uri)).text
    assert "takes the place of what you share with them for this use now" in screen
    assert "Removed: they no longer ask for Email address" in screen
    second = rp.redeem(query(rp.answer(person.browser, uri))["code"]).json
    assert second["grant_id"] != first["grant_id"]
    assert second["authorization_details"][0]["attributes"] == NAME
    assert states(settings, person) == ["active", "ended"]
    assert (refresh(rp, first), userinfo(rp, first), active(rp, first["access_token"])) == (400, 401, False)
    assert (refresh(rp, second), userinfo(rp, second), active(rp, second["access_token"])) == (200, 200, True)


def test_create_for_the_first_time_is_as_without_it__5_2(rp: RelyingParty, person: Person, settings: Settings) -> None:
    uri = rp.push(**asked(rp, "create"))
    assert "takes the place" not in person.browser.get(rp.address(uri)).text
    assert rp.redeem(query(rp.answer(person.browser, uri))["code"]).json["grant_id"]
    assert states(settings, person) == ["active"]


def test_merge_adds_and_leaves_the_rest_as_it_is__5_2(rp: RelyingParty, person: Person) -> None:
    narrow: dict[str, Any] = {"attributes": EMAIL, "mode": "asked", "retention": "P5D"}
    first = share(rp, person, asked(rp, **narrow), attributes=["email.main"], duration="quarter")
    uri = rp.push(**asked(rp, "merge", first["grant_id"], attributes=["name.full", "address.home"]))
    screen = person.browser.get(rp.address(uri)).text
    assert "They have these already" in screen
    assert "wants to use more of your details" in screen
    assert "within 5 days" in screen
    assert "When they ask" in screen
    assert 'value="email.main"' not in screen
    second = rp.redeem(query(rp.answer(person.browser, uri, duration="keep", attributes=["address.home"]))["code"]).json
    [before], [after] = first["authorization_details"], second["authorization_details"]
    assert second["grant_id"] == first["grant_id"]
    assert after["attributes"] == ["name.full", "address.home", "email.main"]
    assert {**after, "attributes": 0, "duration": 0} == {**before, "attributes": 0, "duration": 0}
    # The draft ends the refresh tokens of a merged grant; access tokens follow the grant with every call.
    assert (refresh(rp, first), userinfo(rp, first), refresh(rp, second)) == (400, 200, 200)


def test_nobody_can_end_something_by_a_merge__5_2(rp: RelyingParty, person: Person) -> None:
    first = share(rp, person, asked(rp, attributes=EMAIL), attributes=["email.main"])
    uri = rp.push(**asked(rp, "merge", first["grant_id"]))
    for spoilt in ("once", "year", "until"):
        assert rp.answer(person.browser, uri, duration=spoilt).status_code == 422
    second = rp.redeem(query(rp.answer(person.browser, uri, duration="keep"))["code"]).json
    assert second["authorization_details"][0]["attributes"] == EMAIL


def test_a_merge_of_nothing_new_is_confirmed(rp: RelyingParty, person: Person) -> None:
    first = share(rp, person, asked(rp, attributes=EMAIL), attributes=["email.main"])
    uri = rp.push(**asked(rp, "merge", first["grant_id"], attributes=EMAIL))
    screen = person.browser.get(rp.address(uri)).text
    assert "Nothing changes if you continue" in screen
    assert "aoife@example.org" in screen
    second = rp.redeem(query(rp.answer(person.browser, uri))["code"]).json
    assert (second["grant_id"], refresh(rp, first), refresh(rp, second)) == (first["grant_id"], 400, 200)


def test_replace_is_exactly_what_is_answered_now__5_2(rp: RelyingParty, person: Person) -> None:
    first = share(rp, person, asked(rp), attributes=["email.main"])
    waiting = rp.code(person.browser, **asked(rp, attributes=NAME))
    request = asked(rp, "replace", first["grant_id"], attributes=["name.full", "address.home"], retention="P2D")
    uri = rp.push(**request)
    assert 'value="email.main"' not in person.browser.get(rp.address(uri)).text
    assert rp.answer(person.browser, uri, attributes=["email.main"]).status_code == 422
    second = rp.redeem(query(rp.answer(person.browser, uri, attributes=["address.home"]))["code"]).json
    assert second["grant_id"] == first["grant_id"]
    [after] = second["authorization_details"]
    assert (after["attributes"], after["retention"]) == (["name.full", "address.home"], "P2D")
    assert (refresh(rp, first), userinfo(rp, first), active(rp, first["access_token"])) == (400, 401, False)
    assert rp.redeem(waiting).json["error"] == "invalid_grant"
    assert (refresh(rp, second), userinfo(rp, second)) == (200, 200)


@pytest.mark.parametrize("action", ["create", "replace"])
def test_beginning_anew_is_never_silent(rp: RelyingParty, person: Person, action: str) -> None:
    held = share(rp, person, asked(rp, attributes=NAME))["grant_id"]
    named = held if action == "replace" else None
    screen = person.browser.get(rp.address(rp.push(**asked(rp, action, named, attributes=NAME))))
    assert "Nothing changes if you continue" not in screen.text
    assert 'name="duration"' in screen.text


@pytest.mark.parametrize("action", ["create", "merge", "replace"])
def test_declining_leaves_everything_as_it_is(
    rp: RelyingParty, person: Person, settings: Settings, action: str
) -> None:
    first = share(rp, person, asked(rp, attributes=NAME))
    named = None if action == "create" else first["grant_id"]
    back = rp.answer(person.browser, rp.push(**asked(rp, action, named)), answer="decline")
    assert query(back)["error"] == "access_denied"
    assert states(settings, person) == ["active", "refused"]
    assert (refresh(rp, first), userinfo(rp, first)) == (200, 200)


@pytest.mark.parametrize("action", ["merge", "replace"])
def test_somebody_else_is_no_more_than_a_no(
    *, app: APIFlask, rp: RelyingParty, person: Person, settings: Settings, keys: Keyring, action: str
) -> None:
    held = share(rp, person, asked(rp))["grant_id"]
    somebody = make_person(app, settings, keys)
    declined = query(rp.answer(person.browser, rp.push(), answer="decline"))
    uri = rp.push(**asked(rp, action, held))
    turned_away = somebody.browser.get(rp.address(uri))
    assert turned_away.status_code == 303
    assert query(turned_away) == declined  # type: ignore[arg-type]  # the test client's own class
    assert states(settings, somebody) == []
    assert person.browser.get(rp.address(uri)).status_code == 410


def test_a_grant_that_ends_while_the_page_is_open_is_not_brought_back(
    rp: RelyingParty, person: Person, settings: Settings
) -> None:
    held = share(rp, person, asked(rp, attributes=NAME))["grant_id"]
    uri = rp.push(**asked(rp, "merge", held))
    token = csrf(person.browser.get(rp.address(uri)).text)
    with db.transaction(settings.database_url) as session:
        consent.withdraw(session, person_id=person.person_id, grant_id=UUID(held), now=db.now())
    form = {"client_id": rp.client_id, "request_uri": uri, "answer": "share", "duration": "keep", "csrf_token": token}
    answered = person.browser.post("/oauth/authorize", data=form)
    assert query(answered)["error"] == "access_denied"  # type: ignore[arg-type]  # the test client's own class
    assert states(settings, person) == ["withdrawn"]


# 6: looking at a grant and ending it.


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
    assert (told["grant_id"], told["status"], told["version"]) == (body["grant_id"], "active", 1)
    assert told["expires_at"] == body["authorization_details"][0]["expires_at"]
    assert told["created_at"] == told["last_updated_at"]
    assert "Aoife" not in answer.text
    assert str(person.person_id) not in answer.text


def test_a_paused_grant_says_so__6_4(rp: RelyingParty, person: Person, settings: Settings) -> None:
    held = share(rp, person, asked(rp))["grant_id"]
    with db.transaction(settings.database_url) as session:
        consent.pause(session, person_id=person.person_id, grant_id=UUID(held), now=db.now())
    told = manage(rp, "GET", held).json
    assert (told["status"], told["version"]) == ("paused", 2)


def test_the_company_ends_it_and_every_token_dies__6_5(
    rp: RelyingParty, person: Person, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    body, waiting = share(rp, person, asked(rp)), rp.code(person.browser)
    fresh = rp.token(grant_type="refresh_token", refresh_token=body["refresh_token"]).json
    told: list[events.GrantChanged] = []
    listeners = [*events._listeners[events.GrantChanged], lambda _session, fact: told.append(fact)]  # noqa: SLF001 - the registry has no way to forget
    monkeypatch.setitem(events._listeners, events.GrantChanged, listeners)  # noqa: SLF001
    answer = manage(rp, "DELETE", body["grant_id"])
    assert (answer.status_code, answer.data) == (204, b"")
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
    assert all(answer.content_type == "application/problem+json" for answer in answers)
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
    assert answer.content_type == "application/problem+json"


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

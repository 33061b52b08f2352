"""Grant Management for OAuth 2.0 (draft 03) section 5: which consent is meant, and what an answer does to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import update

from portal import db
from portal.consent import services as consent
from portal.consent.models import Grant
from portal.oauth import grant_management
from tests.oauth.conftest import make_person
from tests.oauth.grants import active, asked, refresh, share, states, userinfo
from tests.oauth.rp import csrf, query

if TYPE_CHECKING:
    from apiflask import APIFlask

    from portal.config import Settings
    from portal.errors import PortalError
    from portal.vault.keyring import Keyring
    from tests.oauth.conftest import Person
    from tests.oauth.rp import RelyingParty

NAME = ["name.full"]
EMAIL = ["name.full", "email.main"]


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
    rp: RelyingParty, person: Person, managed: dict[str, str], error: type[PortalError]
) -> None:
    held = share(rp, person, asked(rp))["grant_id"]
    sent = managed | ({"grant_id": held} if "grant_id" in managed else {})
    answer = rp.post("/oauth/par", rp.request(**sent))
    assert answer.status_code == 400
    assert (answer.json["error"], answer.json["error_description"]) == ("invalid_request", error.public)


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
    assert query(turned_away) == declined
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
    assert query(answered)["error"] == "access_denied"
    assert states(settings, person) == ["withdrawn"]

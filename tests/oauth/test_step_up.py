"""Step-up (RFC 9470): a sensitive detail takes two recent proofs, at a resource and when it is shared."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from sqlalchemy import text

from portal import db
from portal.consumer import services as consumer
from portal.identity import services as identity
from portal.ledger import queries as ledger
from tests.oauth.conftest import NEEDED, make_person, make_rp
from tests.oauth.rp import csrf, query

if TYPE_CHECKING:
    from collections.abc import Callable

    from apiflask import APIFlask
    from flask.testing import FlaskClient

    from portal.config import Settings
    from portal.vault.keyring import Keyring
    from tests.oauth.conftest import Person
    from tests.oauth.rp import Answer, RelyingParty

PASSWORD = "plinth-otter-kelp-sonnet"
CONFIRM = "/account/confirm-it-is-you"
SCOPE = "openid profile"
BORN = ("birth.date", "to know your age")
BIRTHDAY = "1984-03-27"
TWO = "urn:ucm:acr:2"


@pytest.fixture
def rp(http: FlaskClient, settings: Settings) -> RelyingParty:
    return make_rp(http, settings, optional=[BORN])


@pytest.fixture
def person(app: APIFlask, settings: Settings, keys: Keyring) -> Person:
    made = make_person(app, settings, keys)
    with db.transaction(settings.database_url) as session:
        who, now = made.person_id, db.now()
        identity.set_password(session, keyring=keys, person_id=who, password=PASSWORD, now=now)
        consumer.save(session, keyring=keys, person_id=who, changes={"birth.date": BIRTHDAY}, now=now)
    return made


def confirm(person: Person, leads: Answer) -> Answer:
    """Follow to the page that asks for the other proof, give it, and return where that leads."""
    place = urlsplit(leads.headers["Location"])
    assert (leads.status_code, place.path) == (303, CONFIRM)
    shown = person.browser.get(leads.headers["Location"])
    answer = person.browser.post(leads.headers["Location"], data={"password": PASSWORD, "csrf_token": csrf(shown.text)})
    assert (answer.status_code, answer.headers["Location"]) == (303, parse_qs(place.query)["next"][0])
    return answer


def share(rp: RelyingParty, person: Person) -> dict[str, Any]:
    """Share the birthday, which takes both proofs, and return the token answer."""
    request_uri = rp.push(scope=SCOPE)
    confirm(person, rp.answer(person.browser, request_uri, attributes=["birth.date"]))
    back = rp.answer(person.browser, request_uri, attributes=["birth.date"])
    found: dict[str, Any] = rp.redeem(query(back)["code"]).json
    return found


def changed(settings: Settings, person: Person, **values: Any) -> None:  # noqa: ANN401 - values of columns
    """Set columns of the person's access tokens."""
    columns = ", ".join(f"{name} = :{name}" for name in values)
    with db.transaction(settings.database_url) as session:
        statement = text(f"UPDATE access_token SET {columns} WHERE person_id = :id")  # noqa: S608
        session.execute(statement, values | {"id": person.person_id})


def logged(settings: Settings, person: Person, channel: str) -> list[tuple[str, str | None]]:
    with db.transaction(settings.database_url) as session:
        found = ledger.of_person(session, person_id=person.person_id)
    return [(entry.outcome, entry.reason) for entry in found if entry.channel == channel]


def by_userinfo(rp: RelyingParty, given: dict[str, Any]) -> Answer:
    return rp.call("/oauth/userinfo", given["access_token"])


def by_pull(rp: RelyingParty, given: dict[str, Any]) -> Answer:
    return rp.call(f"/api/v1/people/{given['sub']}", given["access_token"])


def by_pull_of_names(rp: RelyingParty, given: dict[str, Any]) -> Answer:
    path, token = f"/api/v1/people/{given['sub']}", given["access_token"]
    proof = rp.proof(path, method="GET", token=token)
    return rp.get(f"{path}?attributes=birth.date,name.full", Authorization=f"DPoP {token}", DPoP=proof)


RESOURCES = pytest.mark.parametrize(
    ("call", "channel"), [(by_userinfo, "userinfo"), (by_pull, "pull"), (by_pull_of_names, "pull")]
)


@RESOURCES
@pytest.mark.parametrize(
    ("level", "age"),
    [(1, timedelta(0)), (None, timedelta(0)), (2, timedelta(hours=24, minutes=1))],
    ids=["one proof", "no level noted", "too long ago"],
)
def test_rfc_9470_section_3_challenge(
    *, rp: RelyingParty, person: Person, settings: Settings, call: Callable[..., Answer], channel: str,
    level: int | None, age: timedelta,
) -> None:  # fmt: skip
    given = share(rp, person)
    changed(settings, person, level=level, authenticated_at=db.now() - age)
    answer = call(rp, given)
    assert answer.status_code == 401
    challenge = answer.headers["WWW-Authenticate"]
    assert challenge.startswith('DPoP error="insufficient_user_authentication", ')
    assert f'acr_values="{TWO}"' in challenge
    assert re.search(r"max_age=86400\b", challenge)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json["type"].endswith("/docs/errors/insufficient-user-authentication")
    assert BIRTHDAY not in answer.text
    assert "Aoife" not in answer.text
    assert logged(settings, person, channel) == [("denied", "insufficient-user-authentication")]
    page = person.browser.get("/activity").text
    assert "Refused: you had not confirmed that it is you, or too long ago" in page


@RESOURCES
def test_two_recent_proofs_are_enough(
    *, rp: RelyingParty, person: Person, settings: Settings, call: Callable[..., Answer], channel: str
) -> None:
    given = share(rp, person)
    changed(settings, person, authenticated_at=db.now() - timedelta(hours=23, minutes=59))
    assert call(rp, given).status_code == 200
    assert logged(settings, person, channel) == [("completed", None)]


def test_the_proof_of_a_refused_call_is_used_up(rp: RelyingParty, person: Person, settings: Settings) -> None:
    given = share(rp, person)
    changed(settings, person, level=1)
    proof = rp.proof("/oauth/userinfo", method="GET", token=given["access_token"])
    first, second = (rp.call("/oauth/userinfo", given["access_token"], dpop=proof) for _ in range(2))
    assert 'error="insufficient_user_authentication"' in first.headers["WWW-Authenticate"]
    assert 'error="invalid_dpop_proof"' in second.headers["WWW-Authenticate"]


def test_details_that_are_not_sensitive_need_no_more_than_before(
    rp: RelyingParty, person: Person, settings: Settings
) -> None:
    given = share(rp, person)
    changed(settings, person, level=1, scope="openid email")
    assert by_userinfo(rp, given).json == {"sub": given["sub"]}
    path, token = f"/api/v1/people/{given['sub']}", given["access_token"]
    proof = rp.proof(path, method="GET", token=token)
    assert rp.get(f"{path}?attributes=name.full", Authorization=f"DPoP {token}", DPoP=proof).status_code == 200


def test_who_does_not_share_it_is_not_asked_to_step_up(rp: RelyingParty, person: Person) -> None:
    given = rp.redeem(rp.code(person.browser, scope=SCOPE)).json
    assert by_userinfo(rp, given).json == {"sub": given["sub"], "name": "Aoife Byrne"}
    assert by_pull(rp, given).status_code == 200


def test_the_clients_own_token_acts_under_the_standing_consent(
    rp: RelyingParty, person: Person, settings: Settings
) -> None:
    given = share(rp, person)
    changed(settings, person, level=1)
    assert rp.call(f"/api/v1/people/{given['sub']}", rp.own_token()).status_code == 200


def test_a_consent_for_one_request_is_not_used_up_by_a_refusal(
    *, http: FlaskClient, person: Person, settings: Settings
) -> None:
    rp = make_rp(http, settings, optional=[BORN], mode="once")
    request_uri = rp.push(scope=SCOPE)
    fields: dict[str, Any] = {"attributes": ["birth.date"], "duration": "once"}
    confirm(person, rp.answer(person.browser, request_uri, **fields))
    given = rp.redeem(query(rp.answer(person.browser, request_uri, **fields))["code"]).json
    changed(settings, person, level=1)
    assert by_pull(rp, given).status_code == 401
    changed(settings, person, level=2)
    assert by_pull(rp, given).status_code == 200
    assert by_pull(rp, given).status_code == 403


def test_rfc_9470_section_4_the_client_asks_again_with_what_the_challenge_names(
    rp: RelyingParty, person: Person, settings: Settings
) -> None:
    share(rp, person)
    one_proof(person, settings)
    given = rp.redeem(rp.code(person.browser, scope=SCOPE)).json
    refused = by_userinfo(rp, given)
    named = re.search(r'acr_values="([^"]+)", max_age=(\d+)', refused.headers["WWW-Authenticate"])
    assert named
    request_uri = rp.push(scope=SCOPE, acr_values=named[1], max_age=named[2])
    confirm(person, person.browser.get(rp.address(request_uri)))
    given = rp.redeem(query(rp.answer(person.browser, request_uri))["code"]).json
    assert by_userinfo(rp, given).json["birthdate"] == BIRTHDAY


def test_a_refresh_does_not_make_a_sign_in_younger(rp: RelyingParty, person: Person, settings: Settings) -> None:
    """What RFC 9470 section 6 warns of: a new token of an old sign-in is as old as the sign-in."""
    given = share(rp, person)
    with db.transaction(settings.database_url) as session:
        old = {"at": db.now() - timedelta(hours=25), "id": person.person_id}
        session.execute(text("UPDATE refresh_token SET authenticated_at = :at WHERE person_id = :id"), old)
    again = rp.token(grant_type="refresh_token", refresh_token=given["refresh_token"]).json
    assert by_userinfo(rp, {**given, **again}).status_code == 401


# --- Sharing it in the first place --------------------------------------------------------------------------


def one_proof(person: Person, settings: Settings) -> None:
    with db.transaction(settings.database_url) as session:
        session.execute(text("UPDATE browser_session SET level = 1 WHERE person_id = :id"), {"id": person.person_id})


def grants_of(person: Person, settings: Settings) -> list[tuple[int, list[str]]]:
    with db.transaction(settings.database_url) as session:
        rows = session.execute(
            text('SELECT level, attributes FROM "grant" WHERE person_id = :id'), {"id": person.person_id}
        )
        return [(row.level, sorted(row.attributes)) for row in rows]


def test_the_screen_leads_to_the_second_proof_and_back_to_what_was_chosen(
    rp: RelyingParty, person: Person, settings: Settings
) -> None:
    request_uri = rp.push()
    back = confirm(person, rp.answer(person.browser, request_uri, attributes=["birth.date"], duration="quarter"))
    assert grants_of(person, settings) == []
    shown = person.browser.get(back.headers["Location"]).text
    assert re.search(r'<input[^>]*checked[^>]*value="birth.date"|value="birth.date"[^>]*checked', shown)
    assert "Your choices are as you left them. Nothing has changed until you choose" in shown
    assert "What you ticked is ticked." in shown
    assert BIRTHDAY not in back.headers["Location"]
    assert query(rp.answer(person.browser, request_uri, attributes=["birth.date"]))["code"]
    assert grants_of(person, settings) == [(2, ["birth.date", "name.full"])]


def test_what_is_not_sensitive_is_shared_by_one_proof(rp: RelyingParty, person: Person, settings: Settings) -> None:
    assert query(rp.answer(person.browser, rp.push()))["code"]
    assert grants_of(person, settings) == [(1, ["name.full"])]


def test_what_is_needed_and_sensitive_takes_both(http: FlaskClient, person: Person, settings: Settings) -> None:
    rp = make_rp(http, settings, required=[*NEEDED, BORN], optional=[])
    request_uri = rp.push()
    confirm(person, rp.answer(person.browser, request_uri))
    assert query(rp.answer(person.browser, request_uri))["code"]


def test_declining_takes_no_proof(http: FlaskClient, person: Person, settings: Settings) -> None:
    rp = make_rp(http, settings, required=[*NEEDED, BORN], optional=[])
    assert query(rp.answer(person.browser, rp.push(), "decline"))["error"] == "access_denied"


def test_what_is_shared_already_is_confirmed_by_one_proof(rp: RelyingParty, person: Person, settings: Settings) -> None:
    share(rp, person)
    one_proof(person, settings)
    assert query(rp.answer(person.browser, rp.push()))["code"]


def test_adding_it_on_the_change_page_takes_both(rp: RelyingParty, person: Person, settings: Settings) -> None:
    rp.answer(person.browser, rp.push())
    with db.transaction(settings.database_url) as session:
        grant_id = session.scalar(text('SELECT grant_id FROM "grant" WHERE person_id = :id'), {"id": person.person_id})
    here = f"/sharing/{grant_id}/change"

    def save(fields: dict[str, Any]) -> Any:  # noqa: ANN401 - a response
        shown = person.browser.get(here).text
        seen = re.search(r'name="seen"[^>]*value="([^"]+)"', shown)
        assert seen
        return person.browser.post(here, data={**fields, "seen": seen[1], "csrf_token": csrf(shown)})

    fields = {"attributes": ["birth.date"], "duration": "keep"}
    back = confirm(person, save(fields))
    assert back.headers["Location"].startswith(f"{here}?attributes=birth.date&duration=keep")
    assert grants_of(person, settings)[0][1] == ["name.full"]
    assert save(fields).headers["Location"] == f"/sharing/{grant_id}/receipt"
    assert grants_of(person, settings) == [(2, ["birth.date", "name.full"])]
    one_proof(person, settings)
    assert save({"duration": "keep"}).headers["Location"] == f"/sharing/{grant_id}/receipt"
    assert grants_of(person, settings)[0][1] == ["name.full"]

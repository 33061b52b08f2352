"""What a client asks about the sign-in: OpenID Connect Core sections 3.1.2.1, 3.1.2.3 and 3.1.2.6."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from sqlalchemy import select, update

from portal import db
from portal.companies.models import Client, Purpose
from portal.consent.models import Grant
from portal.identity import services as identity
from portal.identity.models import BrowserSession
from portal.oauth import tokens
from portal.oauth.authentication_request import Lacking, Wishes, wishes
from portal.oauth.models import PushedRequest
from tests.oauth.conftest import make_person, make_rp
from tests.oauth.rp import RelyingParty, csrf, query
from tests.oauth.test_flow import verified
from tests.purposes import amend, only

if TYPE_CHECKING:
    from apiflask import APIFlask
    from flask.testing import FlaskClient

    from portal.config import Settings
    from portal.vault.keyring import Keyring
    from tests.oauth.conftest import Person
    from tests.oauth.rp import Answer

NARROW = json.dumps([{"type": "ucm_profile", "purpose": "orders", "attributes": ["name.full"]}])
LEVEL_1, LEVEL_2 = "urn:ucm:acr:1", "urn:ucm:acr:2"
HOUR_AGO = timedelta(hours=-1)


def share(rp: RelyingParty, person: Person) -> dict[str, Any]:
    """Let the person share with the client, so that the next narrow request is covered; return the token answer."""
    body: dict[str, Any] = rp.redeem(rp.code(person.browser, authorization_details=NARROW)).json
    return body


def sign_in(settings: Settings, person: Person, *, level: int = 1, moved: timedelta = timedelta(0)) -> None:
    """Give the person's browser a new session, as the sign-in pages do."""
    with db.transaction(settings.database_url) as session:
        token = identity.open_session(
            session, person_id=person.person_id, method="code", browser="a test", now=db.now() + moved, level=level
        )
    person.browser.set_cookie("session", token, domain="localhost")


def age(settings: Settings, person: Person, moved: timedelta = HOUR_AGO) -> None:
    mine = update(BrowserSession).where(BrowserSession.person_id == person.person_id)
    with db.transaction(settings.database_url) as session:
        session.execute(mine.values(authenticated_at=db.now() + moved))


def settle(settings: Settings, rp: RelyingParty, **metadata: object) -> None:
    with db.transaction(settings.database_url) as session:
        session.execute(update(Client).where(Client.client_id == rp.client_id).values(settings=metadata))


def opened(rp: RelyingParty, person: Person, uri: str) -> Answer:
    return person.browser.get(rp.address(uri))


def leads_to(answer: Answer, path: str) -> dict[str, list[str]]:
    """Return the parameters of the page of ours that an answer leads to."""
    assert answer.status_code == 303, answer.text
    parts = urlsplit(answer.headers["Location"])
    assert (parts.netloc, parts.path) == ("", path)
    assert "no-store" in answer.headers["Cache-Control"]
    return parse_qs(parts.query)


def refused(rp: RelyingParty, answer: Answer, error: str) -> None:
    assert answer.status_code == 303, answer.text
    assert answer.headers["Location"].startswith(rp.redirect_uri + "?")
    assert query(answer) == {"error": error, "state": "st", "iss": rp.issuer}
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_without_a_page_for_a_stranger(rp: RelyingParty, http: FlaskClient) -> None:
    uri = rp.push(prompt="none")
    refused(rp, http.get(rp.address(uri)), "login_required")
    assert http.get(rp.address(uri)).status_code == 410


def test_without_a_page_where_nothing_is_shared(rp: RelyingParty, person: Person, settings: Settings) -> None:
    refused(rp, opened(rp, person, rp.push(prompt="none")), "consent_required")
    with db.transaction(settings.database_url) as session:
        assert not session.scalars(select(Grant).where(Grant.person_id == person.person_id)).all()


def test_without_a_page_where_it_is_shared(rp: RelyingParty, person: Person) -> None:
    first = share(rp, person)
    uri = rp.push(prompt="none", authorization_details=NARROW)
    back = opened(rp, person, uri)
    assert set(query(back)) == {"code", "state", "iss"}
    assert rp.redeem(query(back)["code"]).json["grant_id"] == first["grant_id"]
    assert opened(rp, person, uri).status_code == 410


def test_without_a_page_many_times_at_once(app: APIFlask, rp: RelyingParty, person: Person) -> None:
    share(rp, person)
    uri, together = rp.push(prompt="none", authorization_details=NARROW), Barrier(6)
    cookie = person.browser.get_cookie("session")
    assert cookie

    def open_it(_turn: int) -> int:
        browser = app.test_client(use_cookies=False)
        together.wait()
        return browser.get(rp.address(uri), headers={"Cookie": f"session={cookie.decoded_value}"}).status_code

    with ThreadPoolExecutor(6) as threads:
        assert sorted(threads.map(open_it, range(6))) == [303] + [410] * 5


def test_more_than_is_shared_needs_a_page(rp: RelyingParty, person: Person) -> None:
    share(rp, person)
    refused(rp, opened(rp, person, rp.push(prompt="none")), "consent_required")


def test_a_paused_consent_needs_a_page(rp: RelyingParty, person: Person, settings: Settings) -> None:
    share(rp, person)
    with db.transaction(settings.database_url) as session:
        session.execute(update(Grant).where(Grant.person_id == person.person_id).values(state="paused"))
    refused(rp, opened(rp, person, rp.push(prompt="none", authorization_details=NARROW)), "consent_required")


SILENT: list[tuple[dict[str, str], str]] = [
    ({"max_age": "60"}, "login_required"),
    ({"max_age": "0"}, "login_required"),
    ({"acr_values": LEVEL_2}, "interaction_required"),
    ({"acr_values": f"{LEVEL_2} {LEVEL_1}"}, "interaction_required"),
]


@pytest.mark.parametrize(("wish", "error"), SILENT, ids=str)
def test_a_sign_in_that_will_not_do_without_a_page(
    rp: RelyingParty, person: Person, settings: Settings, wish: dict[str, str], error: str
) -> None:
    share(rp, person)
    age(settings, person)
    refused(rp, opened(rp, person, rp.push(prompt="none", authorization_details=NARROW, **wish)), error)


def test_an_answer_cannot_be_posted_where_no_page_was_asked(rp: RelyingParty, person: Person) -> None:
    token = csrf(opened(rp, person, rp.push()).text)
    form = {"client_id": rp.client_id, "request_uri": rp.push(prompt="none"), "answer": "share", "duration": "year"}
    answer = person.browser.post("/oauth/authorize", data=form | {"csrf_token": token})
    refused(rp, answer, "consent_required")


AGAIN: list[dict[str, str]] = [
    {"prompt": "login"}, {"prompt": "select_account"}, {"prompt": "login consent"}, {"max_age": "0"}, {"max_age": "60"},
]  # fmt: skip


@pytest.mark.parametrize("wish", AGAIN, ids=str)
def test_a_fresh_sign_in(rp: RelyingParty, person: Person, settings: Settings, wish: dict[str, str]) -> None:
    age(settings, person)
    uri, pushed_at = rp.push(**wish), int(time.time())
    found = leads_to(opened(rp, person, uri), "/account/sign-in")
    assert found == {"next": [rp.address(uri)], "again": ["1"]}
    assert person.browser.get("/account/sign-in?" + urlencode(found, doseq=True)).status_code == 200
    sign_in(settings, person)
    body = rp.redeem(query(rp.answer(person.browser, uri))["code"]).json
    assert verified(rp, body["id_token"])[1]["auth_time"] >= pushed_at


@pytest.mark.parametrize("wish", AGAIN, ids=str)
def test_a_fresh_sign_in_is_not_posted_around(
    rp: RelyingParty, person: Person, settings: Settings, wish: dict[str, str]
) -> None:
    age(settings, person)
    token = csrf(opened(rp, person, rp.push()).text)
    form = {"client_id": rp.client_id, "request_uri": rp.push(**wish), "answer": "share", "duration": "year"}
    answer = person.browser.post("/oauth/authorize", data=form | {"csrf_token": token})
    leads_to(answer, "/account/sign-in")
    with db.transaction(settings.database_url) as session:
        assert not session.scalars(select(Grant).where(Grant.person_id == person.person_id)).all()


@pytest.mark.parametrize("max_age", ["3700", "999999999"])
def test_a_sign_in_that_is_young_enough(rp: RelyingParty, person: Person, settings: Settings, max_age: str) -> None:
    age(settings, person)
    assert opened(rp, person, rp.push(max_age=max_age)).status_code == 200


def test_the_age_a_client_registered(rp: RelyingParty, person: Person, settings: Settings) -> None:
    age(settings, person)
    settle(settings, rp, default_max_age=60)
    leads_to(opened(rp, person, rp.push()), "/account/sign-in")
    assert opened(rp, person, rp.push(max_age="7200")).status_code == 200
    settle(settings, rp, default_max_age=10**20)
    assert opened(rp, person, rp.push()).status_code == 200


def test_the_question_in_full(rp: RelyingParty, person: Person) -> None:
    share(rp, person)
    assert "Continue with" in opened(rp, person, rp.push(authorization_details=NARROW)).text
    uri = rp.push(authorization_details=NARROW, prompt="consent")
    shown = opened(rp, person, uri)
    assert "Continue with" not in shown.text
    assert "How long may they use them?" in shown.text
    assert "code" in query(rp.answer(person.browser, uri))


def test_a_second_proof(rp: RelyingParty, person: Person, settings: Settings) -> None:
    uri = rp.push(acr_values=LEVEL_2)
    found = leads_to(opened(rp, person, uri), "/account/confirm-it-is-you")
    assert found["next"] == [rp.address(uri)]
    sign_in(settings, person, level=2)
    claims = verified(rp, rp.redeem(query(rp.answer(person.browser, uri))["code"]).json["id_token"])[1]
    assert claims["acr"] == LEVEL_2
    assert claims["amr"] == ["mfa", "otp", "pwd"]


@pytest.mark.parametrize("values", [LEVEL_1, f"{LEVEL_1} {LEVEL_2}", "urn:mace:incommon:iap:silver", "phr  é", "2"])
def test_levels_that_one_proof_reaches(rp: RelyingParty, person: Person, values: str) -> None:
    uri = rp.push(acr_values=values)
    claims = verified(rp, rp.redeem(query(rp.answer(person.browser, uri))["code"]).json["id_token"])[1]
    assert claims["acr"] == LEVEL_1
    assert "amr" not in claims


def test_a_hint_at_whoever_is_signed_in(rp: RelyingParty, person: Person) -> None:
    hint = share(rp, person)["id_token"]
    back = opened(rp, person, rp.push(prompt="none", id_token_hint=hint, authorization_details=NARROW))
    assert "code" in query(back)


def test_a_hint_at_somebody_else(
    app: APIFlask, rp: RelyingParty, person: Person, settings: Settings, keys: Keyring
) -> None:
    hint = share(rp, person)["id_token"]
    second = make_person(app, settings, keys)
    age(settings, second)
    refused(rp, opened(rp, second, rp.push(prompt="none", id_token_hint=hint)), "login_required")
    uri = rp.push(id_token_hint=hint)
    found = leads_to(opened(rp, second, uri), "/account/sign-in")
    assert found == {"next": [rp.address(uri)], "again": ["1"]}
    assert "example.org" not in second.browser.get("/account/sign-in?" + urlencode(found, doseq=True)).text
    # Signing in once more as the same person does not make them the one who was meant.
    sign_in(settings, second)
    refused(rp, opened(rp, second, uri), "login_required")


def test_a_hint_for_another_client(rp: RelyingParty, other: RelyingParty, person: Person) -> None:
    hint = share(other, person)["id_token"]
    answer = rp.post("/oauth/par", rp.request(id_token_hint=hint))
    assert answer.json["error"] == "invalid_request"


def test_what_is_taken_and_not_used(rp: RelyingParty, person: Person, settings: Settings) -> None:
    hint = "somebody.else@example.com"
    uri = rp.push(login_hint=hint, ui_locales="xx", claims_locales="xx", display="popup", claims='{"userinfo":{}}')
    shown = opened(rp, person, uri)
    assert shown.status_code == 200
    assert hint not in shown.text
    with db.transaction(settings.database_url) as session:
        mine = select(PushedRequest.parameters).where(PushedRequest.uri_hash == tokens.hash_of(uri))
        assert hint not in json.dumps(session.scalars(mine).one())


TAKEN_BACK: list[dict[str, Any]] = [
    {"withdrawn_at": datetime(2026, 1, 1, tzinfo=UTC)}, {"mode": "asked"}, {"required": [], "optional": []},
]  # fmt: skip


@pytest.mark.parametrize("columns", TAKEN_BACK, ids=lambda columns: next(iter(columns)))
def test_a_purpose_that_shrank_meanwhile(
    rp: RelyingParty, person: Person, settings: Settings, columns: dict[str, Any]
) -> None:
    read, unread = rp.push(), rp.push()
    token = csrf(opened(rp, person, read).text)
    with db.transaction(settings.database_url) as session:
        if "withdrawn_at" in columns:
            session.execute(update(Purpose).where(Purpose.client_id == rp.client_id).values(**columns))
        else:
            amend(session, only(session, rp.client_id), **columns)
    form = {"client_id": rp.client_id, "request_uri": read, "answer": "share", "duration": "year", "csrf_token": token}
    refused(rp, person.browser.post("/oauth/authorize", data=form), "invalid_authorization_details")
    refused(rp, opened(rp, person, unread), "invalid_authorization_details")


def test_a_browser_may_follow_from_signing_in_to_the_client(rp: RelyingParty, http: FlaskClient) -> None:
    """Chromium holds every redirect of a form against the policy of the page it stood on."""
    address = rp.address(rp.push())
    http.get(address)
    pages = [
        ("/account/sign-in", address, True),
        ("/account/create", address, True),
        ("/account/sign-in", "/home", False),
    ]
    pages += [("/account/sign-in", rp.address("made up"), False), ("/home", address, False)]
    pages += [("/account/sign-in", "https://evil.example" + address, False)]
    for page, place, named in pages:
        policy = http.get(f"{page}?{urlencode({'next': place})}").headers["Content-Security-Policy"]
        assert ("form-action 'self' https://client.example;" in policy + ";") is named, (page, place)


def test_a_link_cannot_tick_anything(http: FlaskClient, person: Person, settings: Settings) -> None:
    rp = make_rp(http, settings, optional=[("birth.date", "to congratulate you"), ("email.main", "to write to you")])
    uri = rp.push()
    ticked = "attributes=birth.date&attributes=email.main&duration=year"
    for link in (ticked, ticked + "&by=", ticked + "&by=é", ticked + "&by=" + "0" * 64):
        shown = person.browser.get(rp.address(uri) + "&" + link)
        assert shown.status_code == 200
        assert "checked" not in shown.text.partition("You choose these")[2].partition("How they use it")[0]


def test_what_was_chosen_is_there_after_the_second_proof(
    app: APIFlask, http: FlaskClient, person: Person, settings: Settings, keys: Keyring
) -> None:
    rp = make_rp(http, settings, optional=[("birth.date", "to congratulate you"), ("email.main", "to write to you")])
    uri = rp.push()
    away = rp.answer(person.browser, uri, attributes=["birth.date"], duration="quarter")
    [place] = leads_to(away, "/account/confirm-it-is-you")["next"]
    sign_in(settings, person, level=2)
    shown = person.browser.get(place).text
    assert 'value="birth.date" checked' in shown
    assert 'value="email.main" checked' not in shown
    assert '<option selected value="quarter">' in shown
    second = make_person(app, settings, keys)
    assert "checked" not in second.browser.get(place).text.partition("You choose these")[2].partition("How they")[0]


PUSHED_AT = datetime(2026, 1, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
LACKING: list[tuple[dict[str, Any], timedelta, int, str | None, Lacking | None]] = [
    ({}, -1000 * MINUTE, 1, None, None),
    ({"max_age": 60}, -MINUTE, 1, None, None),
    ({"max_age": 60}, -2 * MINUTE, 1, None, Lacking.SIGN_IN),
    ({"max_age": 0}, -MINUTE, 2, None, Lacking.SIGN_IN),
    ({"max_age": 0}, MINUTE, 1, None, None),
    ({"prompt": ["login"]}, -MINUTE, 1, None, Lacking.SIGN_IN),
    ({"prompt": ["login"], "max_age": 9999}, -MINUTE, 1, None, Lacking.SIGN_IN),
    ({"prompt": ["login"]}, MINUTE, 1, None, None),
    ({"prompt": ["consent"]}, -MINUTE, 1, None, None),
    ({"sub": "me"}, -MINUTE, 1, "me", None),
    ({"sub": "me"}, -MINUTE, 1, "you", Lacking.SIGN_IN),
    ({"sub": "me"}, -MINUTE, 1, None, Lacking.SIGN_IN),
    ({"sub": "me"}, MINUTE, 1, "you", Lacking.ANOTHER_PERSON),
    ({"sub": "me", "level": 2}, MINUTE, 1, "you", Lacking.ANOTHER_PERSON),
    ({"level": 2}, MINUTE, 1, None, Lacking.SECOND_PROOF),
    ({"level": 2, "max_age": 0}, -MINUTE, 2, None, Lacking.SIGN_IN),
    ({"level": 2}, MINUTE, 2, None, None),
    ({"level": 1}, MINUTE, 1, None, None),
]


@pytest.mark.parametrize(("kept", "moved", "level", "sub", "expected"), LACKING, ids=str)
def test_what_is_lacking(
    kept: dict[str, Any], moved: timedelta, level: int, sub: str | None, expected: Lacking | None
) -> None:
    asked: Wishes = wishes({"prompt": [], "max_age": None, "level": None, "sub": None} | kept, pushed_at=PUSHED_AT)
    assert asked.lacking(authenticated_at=PUSHED_AT + moved, level=level, sub=sub) is expected

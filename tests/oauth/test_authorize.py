"""The consent screen as a browser meets it, and where it leads."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from sqlalchemy import select, update

from portal import db
from portal.companies.models import Client
from portal.consent.models import Grant
from portal.identity import services as identity
from portal.identity.queries import email_of
from portal.oauth import tokens
from portal.oauth.models import PushedRequest
from tests.oauth.conftest import make_person
from tests.oauth.rp import RelyingParty, csrf, query, stays_here
from tests.purposes import amend, only

if TYPE_CHECKING:
    from apiflask import APIFlask
    from flask.testing import FlaskClient
    from sqlalchemy.sql.elements import ColumnElement

    from portal.config import Settings
    from portal.vault.keyring import Keyring
    from tests.oauth.conftest import Person


def age(settings: Settings, request_uri: str, **columns: object) -> None:
    mine: ColumnElement[bool] = PushedRequest.uri_hash == tokens.hash_of(request_uri)
    with db.transaction(settings.database_url) as session:
        session.execute(update(PushedRequest).where(mine).values(**columns))


def test_what_the_person_reads(rp: RelyingParty, person: Person) -> None:
    screen = person.browser.get(rp.address(rp.push()))
    for text in ("Linden", "send what you ordered", "Aoife Byrne", "client.example", "Do not share", "test app"):
        assert text in screen.text
    assert "checked" not in screen.text.partition("You choose these")[2].partition("How they use it")[0]


def test_headers_of_the_screen(rp: RelyingParty, person: Person) -> None:
    headers = person.browser.get(rp.address(rp.push()), headers={"Origin": "https://evil.example"}).headers
    assert "form-action 'self' https://client.example;" in headers["Content-Security-Policy"] + ";"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["Cache-Control"] == "no-store"
    assert "Access-Control-Allow-Origin" not in headers


def test_a_stranger_signs_in_and_comes_back(rp: RelyingParty, http: FlaskClient) -> None:
    uri = rp.push()
    answer = http.get(rp.address(uri) + "&other=1")
    assert answer.status_code == 303
    parts = urlsplit(answer.headers["Location"])
    assert parts.path == "/account/sign-in"
    assert parse_qs(parts.query)["next"] == [rp.address(uri)]


def test_a_session_that_ended_meanwhile(rp: RelyingParty, person: Person) -> None:
    uri = rp.push()
    screen = person.browser.get(rp.address(uri))
    person.browser.delete_cookie("session", domain="localhost")
    form = {"client_id": rp.client_id, "request_uri": uri, "answer": "share", "csrf_token": csrf(screen.text)}
    answer = person.browser.post("/oauth/authorize", data=form)
    assert answer.status_code == 303
    assert parse_qs(urlsplit(answer.headers["Location"]).query)["next"] == [rp.address(uri)]


def test_it_can_be_opened_again_until_it_is_answered(rp: RelyingParty, person: Person) -> None:
    uri = rp.push()
    for _ in range(3):
        assert person.browser.get(rp.address(uri)).status_code == 200
    assert rp.answer(person.browser, uri).status_code == 303
    stays_here(person.browser.get(rp.address(uri)), 410)


def test_a_second_answer_from_a_stale_tab(rp: RelyingParty, person: Person) -> None:
    uri = rp.push()
    screen = person.browser.get(rp.address(uri))
    assert rp.answer(person.browser, uri).status_code == 303
    form = {"client_id": rp.client_id, "request_uri": uri, "answer": "share", "duration": "year"}
    stays_here(person.browser.post("/oauth/authorize", data=form | {"csrf_token": csrf(screen.text)}), 410)


def test_somebody_else_signed_in_meanwhile(
    app: APIFlask, rp: RelyingParty, person: Person, settings: Settings, keys: Keyring
) -> None:
    uri, other = rp.push(), make_person(app, settings, keys)
    password = "four words that differ"
    with db.transaction(settings.database_url) as session:
        identity.set_password(session, keyring=keys, person_id=other.person_id, password=password, now=db.now())
        email = email_of(session, keyring=keys, person_id=other.person_id)
    screen = person.browser.get(rp.address(uri))
    again = person.browser.get("/account/sign-in?again=1")
    form = {"email": email, "password": password, "csrf_token": csrf(again.text)}
    assert person.browser.post("/account/sign-in?again=1", data=form).status_code == 303
    answer = {"client_id": rp.client_id, "request_uri": uri, "answer": "share", "duration": "year"}
    stays_here(person.browser.post("/oauth/authorize", data=answer | {"csrf_token": csrf(screen.text)}))
    with db.transaction(settings.database_url) as session:
        people = [person.person_id, other.person_id]
        assert not session.scalars(select(Grant).where(Grant.person_id.in_(people))).all()


def test_a_choice_counts_although_another_window_answered(rp: RelyingParty, person: Person, settings: Settings) -> None:
    first, second = rp.push(), rp.push()
    screen = person.browser.get(rp.address(first))
    assert rp.answer(person.browser, second, attributes=["address.home", "email.main"]).status_code == 303
    seen = re.search(r'name="seen"[^>]*value="([^"]+)"', screen.text)
    assert seen
    form = {"client_id": rp.client_id, "request_uri": first, "answer": "share", "duration": "year", "seen": seen[1]}
    changed = person.browser.post("/oauth/authorize", data=form | {"csrf_token": csrf(screen.text)})
    stays_here(changed, 422)
    assert "has changed since you opened it" in changed.text
    now_seen = re.search(r'name="seen"[^>]*value="([^"]+)"', changed.text)
    assert now_seen
    assert now_seen[1] != seen[1]
    form |= {"seen": now_seen[1], "csrf_token": csrf(changed.text)}
    assert person.browser.post("/oauth/authorize", data=form).status_code == 303
    with db.transaction(settings.database_url) as session:
        [grant] = session.scalars(select(Grant).where(Grant.person_id == person.person_id)).all()
        assert grant.attributes == ["name.full"]


@pytest.mark.parametrize("column", [{"sentence": "sell what we know about you"}, {"retention_days": 3}])
def test_what_is_agreed_to_is_what_was_read(
    rp: RelyingParty, person: Person, settings: Settings, column: dict[str, object]
) -> None:
    uri = rp.push()
    screen = person.browser.get(rp.address(uri))
    with db.transaction(settings.database_url) as session:
        amend(session, only(session, rp.client_id), **column)
    seen = re.search(r'name="seen"[^>]*value="([^"]+)"', screen.text)
    assert seen
    form = {"client_id": rp.client_id, "request_uri": uri, "answer": "share", "duration": "year", "seen": seen[1]}
    stays_here(person.browser.post("/oauth/authorize", data=form | {"csrf_token": csrf(screen.text)}), 422)


def test_who_shares_already_reads_what_becomes_of_that(rp: RelyingParty, person: Person, settings: Settings) -> None:
    stays = "takes the place of what you share with them for this use now. If you do not, that stays as it is."
    first = rp.push()
    assert stays not in person.browser.get(rp.address(first)).text
    assert rp.answer(person.browser, first).status_code == 303
    second = rp.push()
    assert stays in person.browser.get(rp.address(second)).text
    assert query(rp.answer(person.browser, second, "decline"))["error"] == "access_denied"
    with db.transaction(settings.database_url) as session:
        grants = session.scalars(select(Grant).where(Grant.person_id == person.person_id)).all()
        assert sorted(grant.state for grant in grants) == ["active", "refused"]


def test_a_link_that_cannot_be_used_says_so_and_nothing_else(rp: RelyingParty, person: Person) -> None:
    said = person.browser.get(rp.address("urn:ietf:params:oauth:request_uri:unknown")).text
    assert "start again" in said
    assert "send it again" not in said


def test_another_version_of_the_purpose_is_asked_in_full(rp: RelyingParty, person: Person, settings: Settings) -> None:
    wanted = json.dumps([{"type": "ucm_profile", "purpose": rp.purpose, "attributes": ["name.full"]}])
    assert rp.answer(person.browser, rp.push(authorization_details=wanted)).status_code == 303
    assert "Continue with" in person.browser.get(rp.address(rp.push(authorization_details=wanted))).text
    with db.transaction(settings.database_url) as session:
        amend(session, only(session, rp.client_id))
    assert "Continue with" not in person.browser.get(rp.address(rp.push(authorization_details=wanted))).text


def test_two_answers_at_once(app: APIFlask, rp: RelyingParty, person: Person, settings: Settings) -> None:
    uri = rp.push()
    token = csrf(person.browser.get(rp.address(uri)).text)
    form = {"client_id": rp.client_id, "request_uri": uri, "duration": "year", "csrf_token": token}
    held = {name: person.browser.get_cookie(name) for name in ("session", "form")}
    cookies = "; ".join(f"{name}={cookie.decoded_value}" for name, cookie in held.items() if cookie)
    together = Barrier(6)

    def press(answer: str) -> int:
        browser = app.test_client(use_cookies=False)
        together.wait()
        return browser.post("/oauth/authorize", data=form | {"answer": answer}, headers={"Cookie": cookies}).status_code

    with ThreadPoolExecutor(6) as threads:
        assert sorted(threads.map(press, ["share", "decline"] * 3)) == [303] + [410] * 5
    with db.transaction(settings.database_url) as session:
        assert len(session.scalars(select(Grant).where(Grant.person_id == person.person_id)).all()) == 1


def test_it_must_be_opened_within_a_minute(rp: RelyingParty, person: Person, settings: Settings) -> None:
    uri = rp.push()
    age(settings, uri, expires_at=db.now() - timedelta(seconds=1))
    stays_here(person.browser.get(rp.address(uri)))


def test_an_opened_one_may_take_ten_minutes(rp: RelyingParty, person: Person, settings: Settings) -> None:
    uri = rp.push()
    age(settings, uri, opened_at=db.now() - timedelta(minutes=9), expires_at=db.now() - timedelta(minutes=8))
    assert person.browser.get(rp.address(uri)).status_code == 200
    age(settings, uri, opened_at=db.now() - timedelta(minutes=10))
    stays_here(person.browser.get(rp.address(uri)))


def test_links_that_lead_nowhere(rp: RelyingParty, other: RelyingParty, person: Person) -> None:
    uri = rp.push()
    plain = urlencode({"client_id": rp.client_id, "response_type": "code", "redirect_uri": "https://evil.example"})
    for query_string in (
        "", plain, urlencode({"client_id": other.client_id, "request_uri": uri}),
        urlencode({"client_id": rp.client_id, "request_uri": "urn:ietf:params:oauth:request_uri:x"}),
        urlencode({"client_id": rp.client_id, "request_uri": "é\0"}),
        urlencode({"client_id": rp.client_id, "request_uri": "https://evil.example/" + "x" * 6000}),
        urlencode([("client_id", rp.client_id), ("request_uri", uri), ("request_uri", uri)]),
        "client_id=%ff&request_uri=%fe",
    ):  # fmt: skip
        stays_here(person.browser.get("/oauth/authorize?" + query_string))


def test_what_stands_beside_the_request_is_ignored(rp: RelyingParty, person: Person) -> None:
    extra = urlencode({"redirect_uri": "https://evil.example", "state": "other", "scope": "phone"})
    screen = person.browser.get(rp.address(rp.push()) + "&" + extra)
    assert screen.status_code == 200
    assert "evil" not in screen.text


@pytest.mark.parametrize(
    "columns", [{"redirect_uris": ["https://client.example/new"]}, {"state": "suspended"}], ids=["address", "state"]
)
def test_what_was_taken_away_meanwhile(
    rp: RelyingParty, person: Person, settings: Settings, columns: dict[str, object]
) -> None:
    uri = rp.push()
    with db.transaction(settings.database_url) as session:
        session.execute(update(Client).where(Client.client_id == rp.client_id).values(**columns))
    stays_here(person.browser.get(rp.address(uri)))


def test_an_answer_needs_the_form_token(rp: RelyingParty, person: Person, settings: Settings) -> None:
    uri = rp.push()
    form = {"client_id": rp.client_id, "request_uri": uri, "answer": "share", "duration": "year"}
    stays_here(person.browser.post("/oauth/authorize", data=form))
    with db.transaction(settings.database_url) as session:
        assert not session.scalars(select(Grant).where(Grant.person_id == person.person_id)).all()


def test_a_choice_that_was_not_offered(rp: RelyingParty, person: Person) -> None:
    for spoilt in ({"duration": "forever"}, {"attributes": ["birth.date"]}):
        uri = rp.push()
        answer = rp.answer(person.browser, uri, **spoilt)
        stays_here(answer, 422)
        assert "There is a problem" in answer.text
        assert "Error: " in answer.text.partition("</title>")[0]
        assert rp.answer(person.browser, uri).status_code == 303


def test_closing_the_page_records_nothing(rp: RelyingParty, person: Person, settings: Settings) -> None:
    person.browser.get(rp.address(rp.push()))
    with db.transaction(settings.database_url) as session:
        assert not session.scalars(select(Grant).where(Grant.person_id == person.person_id)).all()


def test_an_address_with_a_query_keeps_it(rp: RelyingParty, person: Person) -> None:
    back = rp.answer(person.browser, rp.push(redirect_uri="http://localhost:9/cb?fixed=1", state="a&b=c d"))
    assert back.headers["Location"].startswith("http://localhost:9/cb?fixed=1&code=")
    assert query(back)["state"] == "a&b=c d"
    assert back.headers["Referrer-Policy"] in {"no-referrer", "same-origin"}


def test_without_state_none_comes_back(rp: RelyingParty, person: Person) -> None:
    assert set(query(rp.answer(person.browser, rp.push(state=None)))) == {"code", "iss"}

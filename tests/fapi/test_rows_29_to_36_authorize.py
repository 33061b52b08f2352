"""Checklist rows 29 to 36: the person's browser at the authorization endpoint."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from portal.vault import base64url
from tests.fapi import cast as casting
from tests.fapi.cast import REDIRECT_URI, SENTENCE
from tests.oauth.rp import csrf, query

if TYPE_CHECKING:
    from portal.config import Settings
    from tests.fapi.cast import Party, Person
    from tests.fapi.wire import Wire
    from tests.oauth.rp import Answer


def stays_here(answer: Answer) -> None:
    assert 400 <= answer.status_code < 500
    assert "Location" not in answer.headers


@pytest.mark.parametrize("extra", [{}, {"request": "a.b.c"}, {"request_uri": "https://client.example/request.jwt"}])
def test_row_29_a_plain_request__fapi2_5_3_2_2_3(rp: Party, person: Person, extra: dict[str, str]) -> None:
    plain = {
        "client_id": rp.client_id, "redirect_uri": REDIRECT_URI, "response_type": "code", "scope": "openid",
        "code_challenge": "a" * 43, "code_challenge_method": "S256", "state": "st", **extra,
    }  # fmt: skip
    stays_here(person.wire.get("/oauth/authorize?" + urlencode(plain)))
    stays_here(person.wire.get("/oauth/authorize"))


def test_row_30_success_comes_back_with_state_and_iss__rfc9207_2(rp: Party, person: Person) -> None:
    back = rp.press(person, rp.push())
    assert back.headers["Location"].startswith(REDIRECT_URI + "?")
    assert urlsplit(back.headers["Location"]).fragment == ""
    found = query(back)
    assert found.keys() == {"code", "state", "iss"}
    assert (found["state"], found["iss"]) == ("st", rp.issuer)


def test_row_30_refusal_comes_back_with_state_and_iss__rfc9207_2(rp: Party, person: Person) -> None:
    found = query(rp.press(person, rp.push(), "decline"))
    assert found.keys() <= {"error", "error_description", "state", "iss"}
    assert (found["error"], found["state"], found["iss"]) == ("access_denied", "st", rp.issuer)


def test_row_31_what_stands_beside_is_ignored__rfc9101_5(rp: Party, person: Person) -> None:
    beside = {
        "redirect_uri": "https://evil.example", "scope": "phone", "state": "other", "response_type": "token",
        "nonce": "other", "response_mode": "fragment", "prompt": "none", "code_challenge": "b" * 43,
    }  # fmt: skip
    uri = rp.push()
    screen = person.wire.get(rp.address(uri) + "&" + urlencode(beside))
    assert screen.status_code == 200
    assert "evil.example" not in screen.text
    back = rp.press(person, uri)
    assert back.headers["Location"].startswith(REDIRECT_URI)
    assert query(back)["state"] == "st"


def test_row_31_client_id_or_request_uri_twice__rfc6749_3_1(rp: Party, other: Party, person: Person) -> None:
    address = rp.address(rp.push())
    for more in (urlencode({"client_id": other.client_id}), urlencode({"request_uri": other.push()})):
        stays_here(person.wire.get(f"{address}&{more}"))


def test_row_32_every_way_on_is_303__fapi2_5_3_2_2_10(rp: Party, person: Person, wire: Wire) -> None:
    stranger = wire.get(rp.address(rp.push()))
    assert stranger.status_code in {302, 303}
    assert urlsplit(stranger.headers["Location"]).path == "/account/sign-in"
    assert rp.press(person, rp.push()).status_code == 303
    assert rp.press(person, rp.push(), "decline").status_code == 303


def test_row_32_a_stranger_is_led_back_to_the_same_question__fapi2_5_3_2_2(rp: Party, wire: Wire) -> None:
    uri = rp.push()
    to = parse_qs(urlsplit(wire.get(rp.address(uri)).headers["Location"]).query)["next"]
    assert to == [rp.address(uri)]


@pytest.mark.parametrize("origin", ["https://client.example", "https://evil.example", "null"])
def test_row_33_no_page_of_another_origin_may_read_it__rfc9700_2_6(rp: Party, person: Person, origin: str) -> None:
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "dpop"}
    address = rp.address(rp.push())
    for answer in (
        person.wire.get(address, headers=asked),
        person.wire.send("OPTIONS", address, headers=list(asked.items())),
        person.wire.send("OPTIONS", "/oauth/token", headers=list(asked.items())),
        person.wire.send("OPTIONS", "/oauth/par", headers=list(asked.items())),
        person.wire.get("/oauth/userinfo", headers=asked),
    ):
        assert not [name for name in answer.headers if name.lower().startswith("access-control-")]
        assert answer.status_code < 500


def test_row_34_the_pages_keep_to_themselves__rfc9700_4_16(rp: Party, person: Person, wire: Wire) -> None:
    for page in (person.wire.get(rp.address(rp.push())), wire.get("/account/sign-in")):
        assert page.status_code == 200
        assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]
        assert page.headers["Referrer-Policy"] in {"no-referrer", "same-origin"}
        assert "no-store" in page.headers["Cache-Control"]
        assert csrf(page.text)


def test_row_34_the_way_back_tells_no_referrer__rfc9700_4_2_4(rp: Party, person: Person) -> None:
    back = rp.press(person, rp.push())
    assert back.headers["Referrer-Policy"] in {"no-referrer", "same-origin"}
    assert back.headers["Cache-Control"] == "no-store"


def test_row_34_an_answer_without_the_form_token__oauth21_7(rp: Party, person: Person) -> None:
    uri = rp.push()
    rp.open(person, uri)
    form = {"client_id": rp.client_id, "request_uri": uri, "answer": "share", "duration": "year"}
    stays_here(person.wire.post("/oauth/authorize", data=form))
    stays_here(person.wire.post("/oauth/authorize", data=form | {"csrf_token": "made up"}))
    assert "code" in query(rp.press(person, uri))


def test_row_36_the_page_says_who_asks_what_for_and_where_it_leads__asvs5_10_4_7(rp: Party, person: Person) -> None:
    page = rp.open(person, rp.push()).text
    for said in (rp.company, "client.example", SENTENCE, "Full name", "Aoife Byrne", "Home address"):
        assert said in page, said


def test_row_35_nobody_signed_in_and_no_page_allowed__oidc_core_3_1_2_6(rp: Party, wire: Wire) -> None:
    back = wire.get(rp.address(rp.push(prompt="none")))
    assert back.status_code == 303
    assert back.headers["Location"].startswith(REDIRECT_URI + "?")
    found = parse_qs(urlsplit(back.headers["Location"]).query)
    assert (found["error"], found["state"], found["iss"]) == (["login_required"], ["st"], [rp.issuer])


def test_row_35_signed_in_and_no_page_allowed__oidc_core_3_1_2_6(rp: Party, person: Person) -> None:
    asked = query(rp.open(person, rp.push(prompt="none")))
    assert asked["error"] in {"consent_required", "interaction_required"}
    assert "code" in query(rp.press(person, rp.push(), attributes=["address.home", "email.main"]))
    assert "code" in query(rp.open(person, rp.push(prompt="none")))


@pytest.mark.parametrize("wish", [{"prompt": "login"}, {"max_age": "0"}, {"prompt": "select_account"}])
def test_row_35_a_fresh_sign_in__oidc_core_3_1_2_1(
    rp: Party, person: Person, here: Settings, wish: dict[str, str]
) -> None:
    casting.sign_in(person, here)
    uri = rp.push(**wish)
    pushed_at = int(time.time())
    first = rp.open(person, uri)
    assert first.status_code == 303
    assert urlsplit(first.headers["Location"]).path == "/account/sign-in"
    # What was signed in before cannot answer either, however the form came to be.
    form = {"client_id": rp.client_id, "request_uri": uri, "answer": "share", "duration": "year"}
    form["csrf_token"] = csrf(rp.open(person, rp.push()).text)
    assert "code=" not in person.wire.post("/oauth/authorize", data=form).headers.get("Location", "")
    casting.sign_in(person, here)
    code = query(rp.press(person, uri))["code"]
    assert _auth_time(rp.redeem(code).json["id_token"]) >= pushed_at


@pytest.mark.parametrize("wish", [{"prompt": "none login"}, {"prompt": "create"}, {"max_age": "-1"}, {"max_age": "x"}])
def test_row_35_wishes_that_contradict_themselves__oidc_core_3_1_2_1(rp: Party, wish: dict[str, str]) -> None:
    answer = rp.post("/oauth/par", rp.request(**wish))
    assert (answer.status_code, answer.json["error"]) == (400, "invalid_request")


def _auth_time(id_token: str) -> int:
    return int(json.loads(base64url.decode(id_token.split(".")[1]))["auth_time"])


def test_row_35_auth_time_is_when_they_signed_in__oidc_core_3_1_2_1(rp: Party, person: Person) -> None:
    assert time.time() - 60 < _auth_time(rp.tokens(person)["id_token"]) <= time.time()

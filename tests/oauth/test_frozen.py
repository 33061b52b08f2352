"""What a company and its customer meet while the customer has frozen everything they share (decision 23)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from portal import db
from portal.consent import freezing, queries
from tests.oauth import afar as cast_
from tests.oauth.rp import csrf, query
from tests.oauth.test_other_answers import LESS, offer

if TYPE_CHECKING:
    from flask.testing import FlaskClient

    from portal.config import Settings
    from tests.oauth.conftest import Person
    from tests.oauth.rp import Answer, RelyingParty

NARROW = '[{"type":"ucm_profile","purpose":"orders","attributes":["name.full"]}]'
NOTE = "Everything you share is frozen. If you choose “Share these details”"


def freeze(settings: Settings, person: Person) -> None:
    with db.transaction(settings.database_url) as session:
        freezing.freeze(session, person_id=person.person_id, now=db.now())


def unfreeze(person: Person, way: str) -> Answer:
    page = person.browser.get(way)
    assert page.status_code == 200, page.text
    assert "you go back to the question" in page.text
    return person.browser.post(way, data={"which": "all", "csrf_token": csrf(page.text)})


def states(settings: Settings, person: Person) -> list[str]:
    with db.transaction(settings.database_url) as session:
        return sorted(held.state for held in queries.grants_of(session, person_id=person.person_id))


def pressed(rp: RelyingParty, person: Person, uri: str, answer: str, **form: str) -> Answer:
    page = person.browser.get(rp.address(uri)).text
    fields: dict[str, Any] = {"client_id": rp.client_id, "request_uri": uri}
    return person.browser.post("/oauth/authorize", data=cast_.filled(page, answer) | fields | form)


def test_a_pushed_request_says_nothing_about_anybody(rp: RelyingParty, person: Person, settings: Settings) -> None:
    """RFC 9126: nobody is known yet, so a freeze changes nothing."""
    freeze(settings, person)
    assert rp.push()


def test_the_screen_says_so_and_yes_leads_by_way_of_unfreezing_back_to_it(
    rp: RelyingParty, person: Person, settings: Settings
) -> None:
    freeze(settings, person)
    uri = rp.push()
    shown = person.browser.get(rp.address(uri)).text
    assert NOTE in shown
    assert "No organisation gets anything." in shown
    way = pressed(rp, person, uri, "share", attributes="email.main").headers["Location"]
    assert way.startswith("/sharing/unfreeze?next=/oauth/authorize")
    assert states(settings, person) == []
    back = unfreeze(person, way).headers["Location"]
    assert urlsplit(back).path == "/oauth/authorize"
    again = person.browser.get(back).text
    assert re.search(r'value="email.main" checked', again), "what they chose is as they left it"
    assert NOTE not in again
    assert states(settings, person) == [], "unfreezing shares nothing new"
    answered = pressed(rp, person, uri, "share", attributes="email.main")
    assert rp.redeem(query(answered)["code"]).status_code == 200
    assert states(settings, person) == ["active"]


@pytest.mark.parametrize(("answer", "state"), [("decline", "refused"), ("later", "deferred"), ("never", "refused")])
def test_no_and_not_now_are_kept_all_the_same(
    rp: RelyingParty, person: Person, settings: Settings, answer: str, state: str
) -> None:
    freeze(settings, person)
    assert query(pressed(rp, person, rp.push(), answer))["error"] == "access_denied"
    assert states(settings, person) == [state]


def test_an_offer_waits_for_unfreezing_too(rp: RelyingParty, person: Person, settings: Settings) -> None:
    freeze(settings, person)
    uri = rp.push()
    page = pressed(rp, person, uri, "offer").text
    assert "Before you send an offer you choose what goes on again." in page
    seen = re.search(r'name="seen"[^>]*value="([^"]+)"', page)
    assert seen
    less = {"attributes": "email.main", "mode": "asked", "duration": "month", "seen": seen[1]}
    answered = pressed(rp, person, uri, "counter", **less)
    assert answered.headers["Location"].startswith("/sharing/unfreeze?next=")
    assert states(settings, person) == []


def test_without_a_page_the_company_reads_that_one_is_needed(
    rp: RelyingParty, person: Person, settings: Settings
) -> None:
    """OpenID Connect Core section 3.1.2.6; the consent that would have been confirmed is paused."""
    rp.code(person.browser, authorization_details=NARROW)
    freeze(settings, person)
    told = query(person.browser.get(rp.address(rp.push(prompt="none", authorization_details=NARROW))))
    assert told["error"] == "interaction_required"
    assert told["error_description"].startswith("The person has frozen everything they share.")
    assert states(settings, person) == ["paused"]


def test_who_shares_nothing_with_a_company_lets_it_know_of_no_freeze(
    rp: RelyingParty, person: Person, settings: Settings
) -> None:
    freeze(settings, person)
    told = query(person.browser.get(rp.address(rp.push(prompt="none"))))
    assert (told["error"], "error_description" in told) == ("consent_required", False)


def test_what_is_frozen_is_asked_in_full_and_confirmed_once_it_goes_on(
    rp: RelyingParty, person: Person, settings: Settings
) -> None:
    rp.code(person.browser, authorization_details=NARROW)
    freeze(settings, person)
    uri = rp.push(authorization_details=NARROW)
    way = pressed(rp, person, uri, "share").headers["Location"]
    back = unfreeze(person, way).headers["Location"]
    # It goes on by the unfreezing, so nothing is left but to confirm it.
    assert "Continue with Linden" in person.browser.get(back).text
    assert rp.redeem(query(pressed(rp, person, uri, "share"))["code"]).status_code == 200
    assert states(settings, person) == ["active"]


def test_an_offer_is_brought_back_as_it_was_filled_in_and_is_sent_by_nobody_but_them(
    rp: RelyingParty, person: Person, settings: Settings
) -> None:
    freeze(settings, person)
    way = offer(rp, person).headers["Location"]
    assert way.startswith("/sharing/unfreeze?next=/oauth/authorize")
    back = unfreeze(person, way).headers["Location"]
    page = person.browser.get(back).text
    assert "Your offer is as you left it. It has not been sent" in page
    assert re.findall(r'name="attributes" value="([^"]+)" checked', page) == [LESS["attributes"]]
    assert states(settings, person) == []
    place = parse_qs(urlsplit(back).query)
    fields = {name: place[name][0] for name in ("client_id", "request_uri")}
    sent = person.browser.post("/oauth/authorize", data=cast_.filled(page, "counter") | LESS | fields)
    assert query(sent)["offer"]
    assert states(settings, person) == ["countered"]


def test_an_offer_that_somebody_else_filled_in_ticks_nothing(
    rp: RelyingParty, person: Person, settings: Settings
) -> None:
    freeze(settings, person)
    back = unfreeze(person, offer(rp, person).headers["Location"]).headers["Location"]
    page = person.browser.get(re.sub("by=[0-9a-f]{4}", "by=0000", back)).text
    assert "has not been sent" not in page
    assert re.findall(r'name="attributes" value="([^"]+)" checked', page) == []


def test_a_code_from_before_the_freeze_opens_nothing(rp: RelyingParty, person: Person, settings: Settings) -> None:
    code = rp.code(person.browser)
    freeze(settings, person)
    token = rp.redeem(code).json["access_token"]
    proof = rp.proof("/oauth/userinfo", method="GET", token=token)
    seen = rp.http.get("/oauth/userinfo", headers={"Authorization": f"DPoP {token}", "DPoP": proof})
    assert seen.status_code == 403, seen.text


def test_the_way_back_leads_nowhere_but_here(person: Person, settings: Settings) -> None:
    freeze(settings, person)
    for place in ("https://elsewhere.example/", "//elsewhere.example", "/\\elsewhere.example"):
        page = person.browser.get("/sharing/unfreeze", query_string={"next": place})
        done = person.browser.post(
            "/sharing/unfreeze", query_string={"next": place}, data={"which": "all", "csrf_token": csrf(page.text)}
        )
        assert done.headers["Location"] == "/sharing"
        freeze(settings, person)


def test_a_request_from_afar_waits_and_can_be_refused(http: FlaskClient, settings: Settings, person: Person) -> None:
    """The company is not told of the freeze: its request waits as any other, until it is answered or too old."""
    afar = cast_.make(http, settings, person)
    freeze(settings, person)
    first, second = afar.asked(), afar.asked()
    assert NOTE in person.browser.get(afar.page(first)).text
    way = afar.answer(first, attributes="email.main").headers["Location"]
    assert parse_qs(urlsplit(way).query)["next"][0].startswith(afar.page(first))
    assert afar.rp.poll(first).json["error"] == "authorization_pending"
    afar.answer(second, "later")
    assert afar.rp.poll(second).json["error"] == "access_denied"
    unfreeze(person, way)
    afar.answer(first, attributes="email.main")
    afar.set(first, polled_at=None)
    assert afar.rp.poll(first).status_code == 200
    assert states(settings, person) == ["active", "deferred"]

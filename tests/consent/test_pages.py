"""Sharing in the browser: what it says, and that only a form sent by this person changes anything."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlencode
from uuid import uuid4

import pytest

from portal import db
from portal.consent import chain, queries, services
from tests.consent.offers import NOW, Offer

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from flask import Flask

    from portal.config import Settings
    from portal.consent.models import Grant
    from tests.consent.browser import Browser

VALUES = ("Zenobia Quill", "zenobia@example.org")


@pytest.fixture
def give(settings: Settings) -> Callable[..., Grant]:
    def make(offer: Offer, person_id: UUID, **choice: Any) -> Grant:  # noqa: ANN401 - arguments of `give`
        with db.transaction(settings.database_url) as session:
            return offer.give(session, person_id, **choice)

    return make


@pytest.fixture
def shared(give: Callable[..., Grant], lasting: Offer, browser: Browser) -> Grant:
    return give(lasting, browser.person_id, attributes=["name.full", "email.main"])


def stands(settings: Settings, grant: Grant) -> tuple[str, int]:
    with db.transaction(settings.database_url) as session:
        held = queries.grant(session, person_id=grant.person_id, grant_id=grant.grant_id)
        assert held is not None
        assert chain.intact(queries.versions(session, person_id=grant.person_id, grant_id=grant.grant_id))
        return held.state, held.version


def paths(grant_id: UUID) -> list[str]:
    return [f"/sharing/{grant_id}{part}" for part in ("", "/change", "/stop", "/receipt", "/receipt.json")]


def test_a_card_says_who_what_why_since_and_until(browser: Browser, shared: Grant, lasting: Offer) -> None:
    text = browser.get("/sharing").text
    said = ["So they can send bills to the right address.", "Full name", "Email address", "Kept up to date"]
    for words in (lasting.name, *said, "Not used yet", "When you stop it", "1 organisation can use your details now"):
        assert words in text
    assert str(shared.grant_id) in text
    assert not any(value in text for value in VALUES)


def test_nothing_shared_says_what_to_do(browser: Browser) -> None:
    assert "You do not share your details with any organisation yet" in browser.get("/sharing").text


def test_lists_by_state_and_by_detail(browser: Browser, shared: Grant, lasting: Offer) -> None:
    assert lasting.name in browser.get("/sharing?state=sharing").text
    assert lasting.name not in browser.get("/sharing?state=paused").text
    assert browser.get("/sharing?state=everything").status_code == 422
    by_detail = browser.get("/sharing?view=detail").text
    assert f'/sharing/{shared.grant_id}">{lasting.name}</a>' in by_detail
    assert by_detail.count("Nobody") == 8


def test_reading_changes_nothing(settings: Settings, browser: Browser, shared: Grant) -> None:
    for path in [*paths(shared.grant_id), "/sharing", "/sharing/recipients?attribute=name.full", "/activity"]:
        assert browser.get(path).status_code == 200
    for act in ("pause", "resume"):
        assert browser.get(f"/sharing/{shared.grant_id}/{act}").status_code == 405
    assert stands(settings, shared) == ("active", 1)


def test_strangers_are_sent_to_sign_in(app: Flask, shared: Grant) -> None:
    stranger = app.test_client()
    for path in [*paths(shared.grant_id), "/sharing", "/sharing/recipients", "/activity"]:
        answer = stranger.get(path)
        assert answer.status_code == 303
        assert answer.location.startswith("/account/sign-in?next=")


def test_another_persons_sharing_is_not_there(
    settings: Settings, browser: Browser, lasting: Offer, give: Callable[..., Grant]
) -> None:
    theirs = give(lasting, uuid4())
    assert {browser.get(path).status_code for path in paths(theirs.grant_id)} == {404}
    for act in ("pause", "resume", "stop", "change"):
        assert browser.send(f"/sharing/{theirs.grant_id}/{act}", answer="share").status_code == 404
    assert stands(settings, theirs) == ("active", 1)


def test_without_the_form_token_nothing_happens(settings: Settings, browser: Browser, shared: Grant) -> None:
    for act in ("pause", "stop"):
        assert browser.client.post(f"/sharing/{shared.grant_id}/{act}").status_code == 400
    assert stands(settings, shared) == ("active", 1)


def test_pause_and_resume_lead_back_to_the_card(settings: Settings, browser: Browser, shared: Grant) -> None:
    answer = browser.send(f"/sharing/{shared.grant_id}/pause")
    assert (answer.status_code, answer.location) == (303, f"/sharing#s-{shared.grant_id}")
    page = browser.get("/sharing").text
    assert "They see nothing new. They keep what they already received." in page
    assert "1 is paused." in page
    assert browser.send(f"/sharing/{shared.grant_id}/resume").status_code == 303
    assert stands(settings, shared) == ("active", 3)


def test_htmx_swaps_the_card_and_the_count(browser: Browser, shared: Grant, lasting: Offer) -> None:
    answer = browser.send(f"/sharing/{shared.grant_id}/pause", htmx=True)
    assert answer.status_code == 200
    assert "<html" not in answer.text
    assert f'data-announce="Paused. {lasting.name} sees nothing new."' in answer.text
    assert 'id="sharing-counts" hx-swap-oob="true"' in answer.text
    assert f'action="/sharing/{shared.grant_id}/resume"' in answer.text
    assert "HX-Request" in answer.headers["Vary"]


def test_the_change_screen_ticks_what_is_shared_and_shows_values(browser: Browser, shared: Grant) -> None:
    text = browser.get(f"/sharing/{shared.grant_id}/change").text
    assert 'value="email.main" checked' in text
    assert 'value="phone.mobile" checked' not in text
    assert "They will see: zenobia@example.org" in text
    assert "Zenobia Quill" in text
    assert "Not provided yet" in text


def test_changing_keeps_the_choice_the_end_and_the_words(settings: Settings, browser: Browser, shared: Grant) -> None:
    path = f"/sharing/{shared.grant_id}/change"
    answer = browser.send(path, attributes=["phone.mobile"], duration="keep", answer="share")
    assert (answer.status_code, answer.location) == (303, f"/sharing/{shared.grant_id}/receipt")
    with db.transaction(settings.database_url) as session:
        held = queries.grant(session, person_id=browser.person_id, grant_id=shared.grant_id)
        last = queries.versions(session, person_id=browser.person_id, grant_id=shared.grant_id)[-1]
    assert held is not None
    assert (held.attributes, held.expires_at) == (["name.full", "phone.mobile"], None)
    assert last.shown["sentence"] == "send bills to the right address"
    asked = browser.get(path).text
    for words in (last.shown["title"], *last.shown["durations"], *last.shown["answers"]):
        assert words in asked
    assert not any(value in str(last.shown) for value in VALUES)


@pytest.mark.parametrize(
    "fields",
    [
        {"attributes": ["birth.date"], "duration": "keep"},
        {"attributes": ["name.full"], "duration": "keep"},
        {"attributes": [], "duration": "for-ever"},
        {"attributes": []},
    ],
)
def test_a_choice_that_is_not_offered_is_refused(
    settings: Settings, browser: Browser, shared: Grant, fields: dict[str, Any]
) -> None:
    answer = browser.send(f"/sharing/{shared.grant_id}/change", answer="share", **fields)
    assert answer.status_code == 422
    assert "<title>Error: " in answer.text
    assert "There is a problem" in answer.text
    assert stands(settings, shared) == ("active", 1)


def test_stopping_takes_one_confirmation(settings: Settings, browser: Browser, shared: Grant, lasting: Offer) -> None:
    asked = browser.get(f"/sharing/{shared.grant_id}/stop").text
    assert f"{lasting.name} says: “Bills go to your last known address.”" in asked
    assert browser.send(f"/sharing/{shared.grant_id}/stop").status_code == 303
    assert browser.send(f"/sharing/{shared.grant_id}/stop").status_code == 303
    assert stands(settings, shared) == ("withdrawn", 2)
    assert "Stopped" in browser.get(f"/sharing/{shared.grant_id}").text
    activity = browser.get("/activity?own=1").text
    assert "You stopped sharing" in activity
    assert lasting.name in activity
    assert browser.send(f"/sharing/{shared.grant_id}/resume").status_code == 409


def test_who_stops_what_had_been_ended_meanwhile_reads_that(
    settings: Settings, browser: Browser, shared: Grant, lasting: Offer
) -> None:
    with db.transaction(settings.database_url) as session:
        services.end(session, person_id=shared.person_id, grant_id=shared.grant_id, now=db.now())
    assert browser.send(f"/sharing/{shared.grant_id}/stop").status_code == 303
    page = browser.get(f"/sharing/{shared.grant_id}").text
    assert f"Sharing with {lasting.name} had ended already." in page
    assert f"You stopped sharing with {lasting.name}" not in page


def test_only_what_is_not_shared_anew_is_offered_to_be_shared_again(
    settings: Settings, browser: Browser, shared: Grant, lasting: Offer
) -> None:
    browser.send(f"/sharing/{shared.grant_id}/stop")
    again = f"/sharing/{shared.grant_id}/again"
    assert again in browser.get("/sharing").text
    with db.transaction(settings.database_url) as session:
        lasting.give(session, browser.person_id, now=db.now())
    for place in ("/sharing", f"/sharing/{shared.grant_id}"):
        assert again not in browser.get(place).text


def test_the_receipt_names_details_and_holds_no_value(
    settings: Settings, browser: Browser, shared: Grant, lasting: Offer
) -> None:
    record = browser.get(f"/sharing/{shared.grant_id}/receipt.json").get_json()
    assert record["status"]["dpv"] == "ConsentGiven"
    assert [one["attribute_id"] for one in record["pii_information"]] == ["name.full", "email.main"]
    assert [one["optional"] for one in record["pii_information"]] == [False, True]
    assert record["parties"][0]["trading_name"] == lasting.name
    assert record["events"][-1]["hash"] == record["record_hash"]
    assert record["chain_intact"] is True
    page = browser.get(f"/sharing/{shared.grant_id}/receipt").text
    assert record["receipt_id"] in page
    assert f'href="{settings.url}/sharing/{shared.grant_id}"' in page
    assert "mailto:privacy@brightwell.example" in browser.get(f"/sharing/{shared.grant_id}").text
    assert not any(value in page or value in str(record) for value in VALUES)


def test_before_saving_the_recipients_are_named(
    settings: Settings, browser: Browser, shared: Grant, lasting: Offer
) -> None:
    fragment = browser.get("/sharing/recipients?attribute=email.main", headers={"HX-Request": "true"}).text
    assert "1 organisation can ask for it, but does not accept updates now" in fragment
    assert "will get this" not in fragment
    assert lasting.name in fragment
    assert "<html" not in fragment
    edit = browser.get("/details/email.main/edit").text
    assert lasting.name in edit
    with db.transaction(settings.database_url) as session:
        services.pause(session, person_id=browser.person_id, grant_id=shared.grant_id, now=NOW)
    assert "No organisation gets this" in browser.get("/sharing/recipients?attribute=email.main").text


def test_an_ended_company_still_has_its_card(
    settings: Settings, browser: Browser, shared: Grant, lasting: Offer
) -> None:
    with db.transaction(settings.database_url) as session:
        services.end(session, person_id=browser.person_id, grant_id=shared.grant_id, now=NOW)
    text = browser.get("/sharing?state=stopped").text
    assert "Ended by them" in text
    assert lasting.name in text
    assert browser.get(f"/sharing/{shared.grant_id}/change").status_code == 409


@pytest.mark.parametrize(
    ("back", "led_to"),
    [("/oauth/authorize?client_id=a&request_uri=b", "/oauth/authorize?client_id=a&request_uri=b"),
     ("https://evil.example/", "/details"), ("//evil.example", "/details")],
)  # fmt: skip
def test_a_missing_detail_is_added_and_leads_back_to_the_question(browser: Browser, back: str, led_to: str) -> None:
    path = f"/details/phone.mobile/edit?{urlencode({'next': back})}"
    assert back in unquote(html.unescape(browser.get(path).text))
    answer = browser.send(path, value="+353 85 012 3456")
    assert answer.status_code == 303
    assert answer.location.partition("#")[0].startswith(led_to)


def test_a_missing_detail_added_by_htmx_leads_back_too(browser: Browser) -> None:
    answer = browser.send("/details/phone.mobile/edit?next=/sharing", htmx=True, value="+353 85 012 3456")
    assert answer.headers["HX-Redirect"] == "/sharing"


def test_a_card_left_open_after_a_stop_is_replaced_by_the_truth(browser: Browser, shared: Grant) -> None:
    browser.send(f"/sharing/{shared.grant_id}/stop")
    answer = browser.send(f"/sharing/{shared.grant_id}/pause", htmx=True)
    assert answer.status_code == 200
    assert 'data-announce="This sharing has already stopped.' in answer.text
    assert "See receipt" in answer.text


def test_pausing_on_its_own_page_shows_the_step_at_once(
    settings: Settings, browser: Browser, shared: Grant, lasting: Offer
) -> None:
    path = f"/sharing/{shared.grant_id}"
    form = browser.get(path).text
    assert f'hx-post="{path}/pause?page=agreement" hx-target="#agreement"' in form
    part = browser.send(f"{path}/pause?page=agreement", htmx=True).text
    assert part.strip().startswith('<div class="stack" id="agreement">')
    assert part.count('data-h="What">Paused<') == 1
    assert f'data-announce="Paused. {lasting.name} sees nothing new."' in part
    assert "-2</a>" in part
    assert "<html" not in part
    answer = browser.send(f"{path}/resume?page=agreement")
    assert answer.location == f"{path}#s-{shared.grant_id}"
    assert stands(settings, shared) == ("active", 3)

"""Asking once more: what the person reads and answers under Sharing, and what staff can ask and end."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from portal import db
from portal.consent import approvals, later, queries, services

if TYPE_CHECKING:
    from uuid import UUID

    from portal.config import Settings
    from portal.consent.models import Grant
    from tests.consent.browser import Browser
    from tests.consent.offers import Offer

NAME, MAIL, PHONE = "name.full", "email.main", "phone.mobile"


@pytest.fixture
def lacking(settings: Settings, lasting: Offer, browser: Browser) -> Grant:
    """What the browser's person shares: their name alone."""
    with db.transaction(settings.database_url) as session:
        return lasting.give(session, browser.person_id, now=db.now())


def place(held: Grant) -> str:
    return f"/org/consents/{held.grant_id}"


def asked(settings: Settings, browser: Browser) -> UUID:
    with db.transaction(settings.database_url) as session:
        [one] = approvals.waiting(session, person_id=browser.person_id, now=db.now())
    return one.id


def now_shared(settings: Settings, held: Grant) -> tuple[str, list[str], str]:
    with db.transaction(settings.database_url) as session:
        found = queries.grant(session, person_id=held.person_id, grant_id=held.grant_id)
        assert found
        last = queries.versions(session, person_id=held.person_id, grant_id=held.grant_id)[-1]
        return found.state, found.attributes, last.step


def words(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub("<[^>]*>", " ", page.partition("<main")[2]))


def test_staff_ask_and_the_person_adds_one_of_two(
    staff: Browser, browser: Browser, lacking: Grant, settings: Settings
) -> None:
    assert "Ask once more for what they left out" in staff.get(place(lacking)).text
    assert staff.send(f"{place(lacking)}/ask", attributes=[MAIL, PHONE]).status_code == 303
    here = f"/sharing/requests/{asked(settings, browser)}"
    shown = words(browser.get(here).text)
    assert "Share more with" in shown
    assert "What you share now stays as it is, whatever you answer." in shown
    assert "They have these already" in shown
    assert "Is this the request you expect?" not in shown
    assert not re.search("<input[^>]* checked", browser.get(here).text)
    assert (
        browser.send(here, answer="share", duration="keep", attributes=MAIL, seen=seen(browser, here)).status_code
        == 303
    )
    assert now_shared(settings, lacking) == ("active", [NAME, MAIL], "given")
    assert "you can ask again from" in words(staff.get(place(lacking)).text)


def seen(browser: Browser, here: str) -> str:
    found = re.search(r'name="seen"[^>]*value="([^"]+)"', browser.get(here).text)
    assert found
    return found.group(1)


def test_no_leaves_it_and_is_remembered(staff: Browser, browser: Browser, lacking: Grant, settings: Settings) -> None:
    staff.send(f"{place(lacking)}/ask", attributes=[MAIL])
    here = f"/sharing/requests/{asked(settings, browser)}"
    assert browser.send(here, answer="decline").status_code == 303
    assert now_shared(settings, lacking) == ("active", [NAME], "left-out")
    assert "They cannot ask you for this in the same way again." in words(browser.get(here).text)
    assert "Said no to more" in words(browser.get(f"/sharing/{lacking.grant_id}").text)
    assert "You asked not long ago" in words(staff.get(place(lacking)).text)


def test_an_answer_after_a_pause_changes_nothing_and_can_be_given_later(
    staff: Browser, browser: Browser, lacking: Grant, settings: Settings
) -> None:
    staff.send(f"{place(lacking)}/ask", attributes=[MAIL])
    here = f"/sharing/requests/{asked(settings, browser)}"
    kept = seen(browser, here)
    step(settings, lacking, "pause")
    before = now_shared(settings, lacking)
    refused = browser.send(here, answer="share", duration="keep", attributes=MAIL, seen=kept)
    assert refused.status_code == 409
    for answer in (refused, browser.get(here)):
        assert "You have paused sharing with" in words(answer.text)
        assert f"/sharing/{lacking.grant_id}/resume" in answer.text
    assert now_shared(settings, lacking) == before
    step(settings, lacking, "resume")
    answer = browser.send(here, answer="share", duration="keep", attributes=MAIL, seen=seen(browser, here))
    assert answer.status_code == 303
    assert now_shared(settings, lacking)[:2] == ("active", [NAME, MAIL])


def test_an_answer_after_a_stop_changes_nothing_and_nothing_waits(
    staff: Browser, browser: Browser, lacking: Grant, settings: Settings
) -> None:
    staff.send(f"{place(lacking)}/ask", attributes=[MAIL])
    here = f"/sharing/requests/{asked(settings, browser)}"
    kept = seen(browser, here)
    step(settings, lacking, "withdraw")
    before = now_shared(settings, lacking)
    assert browser.send(here, answer="share", duration="keep", attributes=MAIL, seen=kept).status_code == 409
    assert "There is nothing to answer any more" in words(browser.get(here).text)
    assert "Nothing waits for you." in words(browser.get("/sharing/requests").text)
    assert "asks for your approval" not in words(browser.get("/home").text)
    assert now_shared(settings, lacking) == before


def step(settings: Settings, held: Grant, verb: str) -> None:
    with db.transaction(settings.database_url) as session:
        getattr(services, verb)(session, person_id=held.person_id, grant_id=held.grant_id, now=db.now())


@pytest.mark.parametrize(
    ("sent", "said"), [({}, "Choose at least one detail"), ({"attributes": [NAME]}, "not a valid choice")]
)
def test_staff_read_what_to_mend(staff: Browser, lacking: Grant, sent: dict[str, Any], said: str) -> None:
    answer = staff.send(f"{place(lacking)}/ask", **sent)
    assert (answer.status_code, said.lower() in answer.text.lower()) == (422, True)


def test_staff_who_ask_too_soon_read_why(staff: Browser, lacking: Grant) -> None:
    staff.send(f"{place(lacking)}/ask", attributes=[MAIL])
    answer = staff.send(f"{place(lacking)}/ask", attributes=[PHONE])
    assert answer.status_code == 422
    assert "You asked this person for more not long ago." in answer.text


def test_staff_end_a_consent_once_they_have_read_what_it_means(
    staff: Browser, browser: Browser, lacking: Grant, settings: Settings
) -> None:
    assert "The person is told that you ended it" in staff.get(f"{place(lacking)}/end").text
    assert now_shared(settings, lacking)[0] == "active"
    for _ in range(2):
        assert staff.send(f"{place(lacking)}/end").status_code == 303
    assert now_shared(settings, lacking) == ("ended", [NAME], "ended")
    assert "Ended by them" in browser.get("/sharing").text
    assert "They ended it" in browser.get("/activity").text


def test_staff_find_somebody_by_the_identifier_they_know(staff: Browser, lacking: Grant, settings: Settings) -> None:
    with db.transaction(settings.database_url) as session:
        sub = queries.sub_of(session, person_id=lacking.person_id, company_id=lacking.company_id)
    assert place(lacking) in staff.get(f"/org/consents?person={sub}").text
    assert "You know nobody by this identifier" in staff.get("/org/consents?person=nobody").text
    assert staff.get(f"/org/consents?person={'x' * 101}").status_code == 422
    assert staff.get("/org/consents?after=x").status_code == 422


def test_not_now_leaves_the_detail_to_be_asked_for_another_time(
    staff: Browser, browser: Browser, lacking: Grant, settings: Settings
) -> None:
    staff.send(f"{place(lacking)}/ask", attributes=MAIL)
    here = f"/sharing/requests/{asked(settings, browser)}"
    page = browser.get(here).text
    assert "Not now" in page
    assert "Never ask me again" not in page
    assert browser.send(here, answer="later").status_code == 303
    said = words(browser.get(here).text)
    assert "You put off your answer" in said
    assert "once 30 days have gone by" in said
    assert now_shared(settings, lacking) == ("active", [NAME], "given")
    with db.transaction(settings.database_url) as session:
        last = later.of_grant(session, lacking)
        assert last
        assert last.declined == []

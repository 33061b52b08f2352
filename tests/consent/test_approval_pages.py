"""What a person reads and can do when a company asks from afar, without any script."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from sqlalchemy import update

from portal import config, db
from portal.companies.models import Purpose
from portal.consent import jobs, queries
from portal.consent.models import ApprovalRequest
from portal.consumer import services as consumer
from portal.identity import services as identity
from tests.consent.browser import Browser
from tests.consent.offers import CHOOSES, Offer
from tests.consent.questions import kept, put, states
from tests.identity.conftest import Mailbox, mail_settings, mailbox

if TYPE_CHECKING:
    from uuid import UUID

    from flask import Flask
    from werkzeug.test import TestResponse

    from portal.config import Settings
    from portal.vault.keyring import Keyring

__all__ = ["mail_settings", "mailbox"]
SENSITIVE = [{"attribute": "birth.date", "reason": "To know your age"}]


class Asked:
    """A company that asks somebody at a browser."""

    def __init__(self, settings: Settings, keys: Keyring, browser: Browser, offer: Offer) -> None:
        self.settings, self.keys, self.browser, self.offer = settings, keys, browser, offer

    def ask(self, **given: Any) -> UUID:  # noqa: ANN401 - what to ask
        return put(self.settings, self.keys, self.browser.person_id, self.offer, **given)

    def read(self, path: str) -> str:
        return words(self.browser.get(path).text)

    def press(self, request_id: UUID, answer: str, **fields: Any) -> TestResponse:  # noqa: ANN401 - form fields
        page = f"/sharing/requests/{request_id}"
        found = re.search(r'name="seen"[^>]*value="([^"]+)"', self.browser.get(page).text)
        fields = {"seen": found[1], "duration": "year"} | fields if found else fields
        return self.browser.send(page, answer=answer, **fields)

    def state(self, request_id: UUID) -> str:
        return kept(self.settings, self.browser.person_id, request_id).state


@pytest.fixture
def asked(settings: Settings, keys: Keyring, browser: Browser, lasting: Offer) -> Asked:
    return Asked(settings, keys, browser, lasting)


def words(html: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


def test_the_page_says_who_asks_why_and_what_they_will_see(asked: Asked) -> None:
    name = asked.offer.name
    said = asked.read(f"/sharing/requests/{asked.ask(message='Blue 42')}")
    order = [
        f"Share your details with {name}?", "Is this the request you expect?",
        f"{name} should show you, or read to you, the same words: Blue 42", "You can answer until today at",
        "(9 minutes left)", "so they can send bills to the right address", "They need these",
        "Full name Zenobia Quill", "You choose these", "They will see: zenobia@example.org",
        "How long may they use them?", "Share these details Do not share",
    ]  # fmt: skip
    assert sorted(order, key=said.index) == order


def test_without_words_the_page_says_how_to_be_sure(asked: Asked) -> None:
    said = asked.read(f"/sharing/requests/{asked.ask()}")
    assert f"Approve it only if you are dealing with {asked.offer.name} at this moment." in said
    assert "did not expect a request? Then choose “Do not share”" in said


def test_sharing(asked: Asked) -> None:
    request_id = asked.ask()
    answer = asked.press(request_id, "share", attributes="email.main")
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/sharing/requests/{request_id}")
    assert asked.state(request_id) == "approved"
    with db.transaction(asked.settings.database_url) as session:
        [grant] = queries.grants_of(session, person_id=asked.browser.person_id)
        [request, step] = queries.versions(session, person_id=asked.browser.person_id, grant_id=grant.grant_id)
    assert (request.step, request.state, request.actor) == ("requested", "requested", "company")
    assert grant.attributes == ["name.full", "email.main"]
    assert (step.shown["asked_from_afar"], step.shown["title"]) == (
        True,
        f"Share your details with {asked.offer.name}?",
    )
    after = asked.browser.get(f"/sharing/requests/{request_id}")
    assert "You approved this request" in words(after.text)
    assert f'href="/sharing/{grant.grant_id}"' in after.text


@pytest.mark.parametrize("answer", ["decline", "", "maybe"])
def test_anything_but_share_is_no(asked: Asked, answer: str) -> None:
    request_id = asked.ask()
    assert asked.press(request_id, answer).status_code == 303
    assert asked.state(request_id) == "denied"
    assert states(asked.settings, asked.browser.person_id) == ["refused"]
    assert "You did not approve this request" in asked.read(f"/sharing/requests/{request_id}")


def test_closing_the_page_records_nothing(asked: Asked) -> None:
    request_id = asked.ask()
    asked.read(f"/sharing/requests/{request_id}")
    assert asked.state(request_id) == "waiting"
    assert states(asked.settings, asked.browser.person_id) == []


def test_the_second_window_changes_nothing_and_is_told(asked: Asked) -> None:
    request_id = asked.ask()
    asked.press(request_id, "decline")
    again = asked.browser.send(f"/sharing/requests/{request_id}", answer="share", duration="year", seen="")
    assert again.status_code == 409
    assert "You did not approve this request" in words(again.text)
    assert states(asked.settings, asked.browser.person_id) == ["refused"]


def test_what_is_wrong_is_said_and_what_was_chosen_is_kept(asked: Asked) -> None:
    request_id = asked.ask()
    answer = asked.press(request_id, "share", attributes="email.main", duration="a century")
    assert answer.status_code == 422
    assert "Choose how long they may use them." in words(answer.text)
    assert re.search(r'value="email.main" checked', answer.text)
    assert asked.state(request_id) == "waiting"


def test_an_answer_to_another_question_is_asked_again(asked: Asked) -> None:
    request_id = asked.ask()
    page = f"/sharing/requests/{request_id}"
    seen = re.search(r'name="seen"[^>]*value="([^"]+)"', asked.browser.get(page).text)
    assert seen
    with db.transaction(asked.settings.database_url) as session:
        asked.offer.alter(session, sentence="sell what they learn")
    answer = asked.browser.send(page, answer="share", duration="year", seen=seen[1])
    assert answer.status_code == 422
    assert "Something on this page has changed" in words(answer.text)
    assert asked.state(request_id) == "waiting"


def test_what_is_shared_already_is_only_confirmed(asked: Asked) -> None:
    with db.transaction(asked.settings.database_url) as session:
        grant = asked.offer.give(session, asked.browser.person_id)
    request_id = asked.ask(attributes=["name.full"])
    said = asked.read(f"/sharing/requests/{request_id}")
    assert f"{asked.offer.name} asks for your approval" in said
    assert "Your answer does not change what you share." in said
    assert "Approve Do not approve" in said
    assert asked.press(request_id, "share").status_code == 303
    row = kept(asked.settings, asked.browser.person_id, request_id)
    assert (row.state, row.grant_id) == ("approved", grant.grant_id)
    with db.transaction(asked.settings.database_url) as session:
        held = queries.grant(session, person_id=asked.browser.person_id, grant_id=grant.grant_id)
        assert held
        assert held.version == grant.version


def test_a_confirmation_of_what_ended_meanwhile_is_asked_in_full(asked: Asked) -> None:
    with db.transaction(asked.settings.database_url) as session:
        grant = asked.offer.give(session, asked.browser.person_id)
    request_id = asked.ask(attributes=["name.full"])
    assert asked.browser.send(f"/sharing/{grant.grant_id}/stop").status_code == 303
    answer = asked.browser.send(f"/sharing/requests/{request_id}", answer="share")
    assert answer.status_code == 422
    said = words(answer.text)
    assert "Something on this page has changed since you opened it." in said
    assert "Choose how long they may use them." not in said
    assert asked.state(request_id) == "waiting"


@pytest.mark.parametrize("state", ["paused", "withdrawn", "once", "older"])
def test_what_is_not_shared_as_asked_is_asked_in_full(asked: Asked, state: str) -> None:
    with db.transaction(asked.settings.database_url) as session:
        grant = asked.offer.give(session, asked.browser.person_id, **({"mode": "once"} if state == "once" else {}))
        if state in {"paused", "withdrawn"}:
            grant.state = state
        if state == "older":
            asked.offer.alter(session)
    assert "Share these details" in asked.read(f"/sharing/requests/{asked.ask(attributes=['name.full'])}")


def test_a_request_whose_time_is_over(asked: Asked) -> None:
    request_id = asked.ask()
    late(asked, request_id)
    answer = asked.browser.send(f"/sharing/requests/{request_id}", answer="share", duration="year", seen="")
    assert answer.status_code == 409
    said = asked.read(f"/sharing/requests/{request_id}")
    assert "The time to answer is over" in said
    assert "Nothing was shared." in said
    assert states(asked.settings, asked.browser.person_id) == []


def test_a_request_whose_purpose_was_taken_back(asked: Asked) -> None:
    request_id = asked.ask()
    with db.transaction(asked.settings.database_url) as session:
        mine = update(Purpose).where(Purpose.purpose_id == asked.offer.purpose_id)
        session.execute(mine.values(withdrawn_at=db.now()))
    assert "This request was taken back" in asked.read(f"/sharing/requests/{request_id}")
    assert "Nothing waits for you." in asked.read("/sharing/requests")
    assert "Needs your attention" not in asked.read("/home")


def test_a_request_for_more_than_its_purpose_asks_by_now(asked: Asked) -> None:
    request_id = asked.ask()
    with db.transaction(asked.settings.database_url) as session:
        asked.offer.alter(session, optional=[])
    assert "This request was taken back" in asked.read(f"/sharing/requests/{request_id}")
    assert asked.press(request_id, "share").status_code == 409
    assert states(asked.settings, asked.browser.person_id) == []


def test_somebody_elses_request_is_not_there(asked: Asked, app: Flask) -> None:
    request_id = asked.ask()
    other = Browser(app, asked.settings, asked.keys, {})
    assert other.get(f"/sharing/requests/{request_id}").status_code == 404
    assert other.send(f"/sharing/requests/{request_id}", answer="share").status_code == 404
    assert asked.offer.name not in other.get("/sharing/requests").text
    assert asked.state(request_id) == "waiting"


def test_a_stranger_signs_in_first_and_comes_back(asked: Asked, app: Flask) -> None:
    page = f"/sharing/requests/{asked.ask()}"
    stranger = app.test_client()
    stranger.environ_base["HTTP_HOST"] = asked.settings.url.partition("//")[2]
    answer = stranger.get(page)
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/account/sign-in?next={page}")


def test_the_list_has_what_waits_first_and_what_became_of_the_rest(asked: Asked) -> None:
    assert "Nothing waits for you." in asked.read("/sharing/requests")
    for answer in ("share", "decline"):
        asked.press(asked.ask(), answer)
    late(asked, asked.ask())
    asked.ask()
    said = asked.read("/sharing/requests")
    order = ["Waiting for you", "Look at the request", "Earlier requests", "not answered in time",
             "you did not approve it", "you approved it"]  # fmt: skip
    assert sorted(order, key=said.index) == order
    assert said.count("Look at the request") == 1


def test_home_and_sharing_say_that_something_waits(asked: Asked) -> None:
    assert "Requests (1)" not in asked.read("/sharing")
    request_id = asked.ask(message="Blue 42")
    home = asked.browser.get("/home").text
    assert f"{asked.offer.name} asks for your approval." in words(home)
    assert f'href="/sharing/requests/{request_id}"' in home
    assert "Blue 42" not in home
    assert "Requests (1)" in asked.read("/sharing")


def test_a_request_may_want_both_proofs(asked: Asked) -> None:
    request_id = asked.ask(level=2)
    assert "you will be asked to prove it once more" in asked.read(f"/sharing/requests/{request_id}")
    answer = asked.press(request_id, "share")
    assert answer.headers["Location"].startswith(f"/account/confirm-it-is-you?next=/sharing/requests/{request_id}")
    assert asked.state(request_id) == "waiting"
    prove(asked)
    assert asked.press(request_id, "share").headers["Location"] == f"/sharing/requests/{request_id}"
    assert (asked.state(request_id), kept(asked.settings, asked.browser.person_id, request_id).level) == ("approved", 2)


def test_confirming_may_want_both_proofs_too(asked: Asked) -> None:
    with db.transaction(asked.settings.database_url) as session:
        asked.offer.give(session, asked.browser.person_id)
    request_id = asked.ask(level=2, attributes=["name.full"])
    answer = asked.press(request_id, "share")
    assert answer.headers["Location"] == f"/account/confirm-it-is-you?next=/sharing/requests/{request_id}"
    assert asked.state(request_id) == "waiting"


def test_sensitive_details_want_both_proofs_and_the_choice_is_kept(
    settings: Settings, keys: Keyring, browser: Browser
) -> None:
    with db.transaction(settings.database_url) as session:
        offer = Offer(session, optional=[*SENSITIVE, *CHOOSES])
        consumer.save(
            session, keyring=keys, person_id=browser.person_id, changes={"birth.date": "1984-03-27"}, now=db.now()
        )
    asked = Asked(settings, keys, browser, offer)
    request_id = asked.ask()
    answer = asked.press(request_id, "share", attributes="birth.date", duration="quarter")
    assert answer.status_code == 303
    place = parse_qs(urlsplit(answer.headers["Location"]).query)["next"][0]
    assert place.startswith(f"/sharing/requests/{request_id}?")
    assert asked.state(request_id) == "waiting"
    prove(asked)
    back = browser.get(place).text
    assert re.search(r'value="birth.date" checked', back)
    assert re.search(r'<option selected value="quarter"', back)
    assert asked.press(request_id, "share", attributes="birth.date").status_code == 303
    assert kept(settings, browser.person_id, request_id).level == 2


def test_saying_no_needs_no_second_proof(settings: Settings, keys: Keyring, browser: Browser) -> None:
    with db.transaction(settings.database_url) as session:
        offer = Offer(session, required=SENSITIVE)
    asked = Asked(settings, keys, browser, offer)
    request_id = asked.ask(level=2)
    asked.press(request_id, "decline")
    assert asked.state(request_id) == "denied"


def test_a_letter_says_that_something_waits_and_nothing_else(
    asked: Asked, mailbox: Mailbox, mail_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "current", lambda: replace(mail_settings, egress_allow=frozenset()))
    request_id = asked.ask(message="Blue 42")
    jobs.tell_of_request(str(asked.browser.person_id), str(request_id))
    [letter] = mailbox.mails
    everything = f"{letter['Subject']} {mailbox.text()}"
    assert f"{asked.settings.url}/sharing/requests" in everything
    for secret in ("Blue 42", "Zenobia", asked.offer.name, str(request_id)):
        assert secret not in everything


def test_no_letter_about_what_is_settled(
    asked: Asked, mailbox: Mailbox, mail_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "current", lambda: mail_settings)
    request_id = asked.ask()
    asked.press(request_id, "decline")
    jobs.tell_of_request(str(asked.browser.person_id), str(request_id))
    jobs.tell_of_request(str(db.new_id()), str(db.new_id()))
    assert mailbox.mails == []


def late(asked: Asked, request_id: UUID) -> None:
    with db.transaction(asked.settings.database_url) as session:
        mine = update(ApprovalRequest).where(ApprovalRequest.request_id == request_id)
        session.execute(mine.values(expires_at=db.now() - timedelta(seconds=1)))


def prove(asked: Asked) -> None:
    """Sign in once more, with both proofs."""
    with db.transaction(asked.settings.database_url) as session:
        token = identity.open_session(
            session, person_id=asked.browser.person_id, method="code", browser="a test", now=db.now(), level=2
        )
    asked.browser.client.set_cookie("session", token, domain="localhost")

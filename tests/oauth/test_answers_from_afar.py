"""What a person may answer beside yes and no to a request that waits, and how its company learns of it (CIBA)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from portal import db
from portal.consent import counters, queries
from tests.oauth import afar as cast_
from tests.oauth.rp import csrf

if TYPE_CHECKING:
    from flask.testing import FlaskClient

    from portal.config import Settings
    from portal.consent.models import Grant
    from tests.oauth.afar import Afar
    from tests.oauth.conftest import Person
    from tests.oauth.rp import Answer

LESS = {"attributes": "email.main", "mode": "asked", "duration": "month"}


@pytest.fixture
def afar(http: FlaskClient, settings: Settings, person: Person) -> Afar:
    return cast_.make(http, settings, person)


def grants(afar: Afar) -> list[Grant]:
    with db.transaction(afar.settings.database_url) as session:
        return queries.grants_of(session, person_id=afar.person.person_id)


def steps(afar: Afar) -> list[list[str]]:
    with db.transaction(afar.settings.database_url) as session:
        return [
            [one.step for one in queries.versions(session, person_id=held.person_id, grant_id=held.grant_id)]
            for held in queries.grants_of(session, person_id=afar.person.person_id)
        ]


def words(answer: Answer) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", answer.text).split())


def offer(afar: Afar, asked: str, **form: str) -> Answer:
    """Open the page on which less is offered, and send it as it is filled in here."""
    page = cast_.press(afar.person.browser, afar.page(asked), "offer")
    assert page.status_code == 200, page.text
    seen = re.search(r'name="seen"[^>]*value="([^"]+)"', page.text)
    assert seen
    filled: dict[str, Any] = {"answer": "counter", "seen": seen[1], "csrf_token": csrf(page.text)} | LESS | form
    return afar.person.browser.post(afar.page(asked), data={name: value for name, value in filled.items() if value})


@pytest.mark.parametrize(
    ("answer", "sentence", "state", "heading"),
    [
        ("decline", "The person declined.", "denied", "You did not approve this request"),
        ("later", "The person will decide another time. You may ask again.", "deferred", "You put off your answer"),
        ("never", "This person does not want to be asked for this purpose again.", "denied", "You did not approve"),
    ],
)
def test_the_company_reads_which_no_it_was(afar: Afar, answer: str, sentence: str, state: str, heading: str) -> None:
    """CIBA section 11: the error is always access_denied."""
    asked = afar.asked()
    assert afar.answer(asked, answer).status_code == 303
    told = afar.rp.poll(asked)
    assert (told.status_code, told.json["error"], "offer" in told.json) == (400, "access_denied", False)
    assert told.json["error_description"].startswith(sentence)
    assert afar.question(asked).state == state
    assert heading in words(afar.person.browser.get(afar.page(asked)))
    assert [held.attributes for held in grants(afar)] == [[]]


def test_not_now_is_kept_and_may_be_asked_again(afar: Afar) -> None:
    asked = afar.asked()
    afar.answer(asked, "later")
    assert steps(afar) == [["requested", "deferred"]]
    page = words(afar.person.browser.get("/sharing/requests"))
    assert "you put it off" in page
    again = afar.asked()
    afar.answer(again)
    assert afar.rp.poll(again).status_code == 200


def test_whoever_says_not_now_three_times_in_a_day_is_left_alone(afar: Afar) -> None:
    for _ in range(3):
        afar.answer(afar.asked(), "later")
    refused = afar.ask()
    assert (refused.status_code, refused.json["error"]) == (403, "access_denied")


def test_an_offer_answers_and_begins_when_it_is_accepted(afar: Afar) -> None:
    asked = afar.asked()
    assert offer(afar, asked).headers["Location"] == afar.page(asked)
    [held] = grants(afar)
    assert (held.state, held.attributes, held.mode) == ("countered", ["email.main"], "asked")
    assert steps(afar) == [["requested", "countered"]]
    told = afar.rp.poll(asked)
    assert told.json == {
        "error": "access_denied", "offer": str(held.grant_id),
        "error_description": "The person offers less than you asked for. Nothing is shared until you accept the offer.",
    }  # fmt: skip
    settled = afar.person.browser.get(afar.page(asked))
    assert "You offered them less" in settled.text
    assert f'href="/sharing/{held.grant_id}"' in settled.text
    path = f"/api/v1/grants/{held.grant_id}/acceptance"
    token = afar.rp.token(grant_type="client_credentials", scope="grants:manage").json["access_token"]
    proof = afar.rp.proof(path, method="POST", token=token)
    accepted = afar.rp.http.post(path, headers={"Authorization": f"DPoP {token}", "DPoP": proof})
    assert accepted.status_code == 204
    assert [one.state for one in grants(afar)] == ["active"]
    # What was fetched is an answer to what was asked, and that was a no.
    assert afar.rp.poll(asked).json["error"] == "access_denied"


@pytest.mark.parametrize(
    ("form", "sentence"),
    [
        ({"attributes": ""}, "Choose at least one detail to offer."),
        ({"mode": ""}, "Choose how they may use it."),
        ({"seen": "another"}, "Something on this page has changed"),
        ({"attributes": "name.full", "mode": "kept-up-to-date", "duration": "until"}, "This is all they ask for"),
    ],
)
def test_what_is_no_offer_says_why_and_leaves_the_request_waiting(
    afar: Afar, form: dict[str, str], sentence: str
) -> None:
    asked = afar.asked()
    refused = offer(afar, asked, **form)
    assert (refused.status_code, sentence in refused.text) == (422, True)
    assert (afar.question(asked).state, grants(afar)) == ("waiting", [])
    assert afar.rp.poll(asked).json["error"] == "authorization_pending"
    with db.transaction(afar.settings.database_url) as session:
        due = "SELECT count(*) FROM backchannel_request WHERE ping_due_at IS NOT NULL AND request_id = :id"
        assert session.scalar(text(due), {"id": afar.row(asked).request_id}) == 0


def test_back_and_looking_answer_nothing(afar: Afar) -> None:
    asked = afar.asked()
    assert cast_.press(afar.person.browser, afar.page(asked), "offer").status_code == 200
    assert cast_.press(afar.person.browser, afar.page(asked), "back").headers["Location"] == afar.page(asked)
    for answer in ("later", "offer", "counter", "share"):
        assert afar.person.browser.get(f"{afar.page(asked)}?answer={answer}").status_code == 200
    assert (afar.question(asked).state, grants(afar)) == ("waiting", [])


def test_whoever_shares_already_changes_that_instead(afar: Afar) -> None:
    narrow = '[{"type":"ucm_profile","purpose":"orders","attributes":["name.full"]}]'
    afar.answer(afar.asked(authorization_details=narrow))
    asked = afar.asked()
    page = afar.person.browser.get(afar.page(asked)).text
    assert "Offer them less" not in page
    assert "Not now" in page
    assert cast_.press(afar.person.browser, afar.page(asked), "counter").headers["Location"] == afar.page(asked)
    assert afar.question(asked).state == "waiting"
    afar.answer(asked, "later")
    assert sorted(held.state for held in grants(afar)) == ["active", "deferred"]


def test_of_two_windows_the_first_answers(afar: Afar) -> None:
    asked = afar.asked()
    page = cast_.press(afar.person.browser, afar.page(asked), "offer")
    afar.answer(asked, "later")
    seen = re.search(r'name="seen"[^>]*value="([^"]+)"', page.text)
    assert seen
    late = {"answer": "counter", "seen": seen[1], "csrf_token": csrf(page.text)} | LESS
    assert afar.person.browser.post(afar.page(asked), data=late).status_code == 409
    assert [held.state for held in grants(afar)] == ["deferred"]


def test_the_buttons_are_those_of_the_consent_screen(afar: Afar) -> None:
    """Yes and no alike, nothing ticked, the same words for the rest."""
    page = afar.person.browser.get(afar.page(afar.asked())).text
    screen = afar.person.browser.get(afar.rp.address(afar.rp.push())).text
    buttons = r'<button class="([^"]*)" name="answer" value="(\w+)"[^>]*>([^<]*)<'
    assert re.findall(buttons, page) == re.findall(buttons, screen)
    assert [value for _css, value, _words in re.findall(buttons, page)] == [
        "share", "decline", "offer", "later", "never",
    ]  # fmt: skip
    assert not re.search(r"<input[^>]* checked", page)


def test_an_offer_from_afar_is_taken_back_as_any_other(afar: Afar) -> None:
    asked = afar.asked()
    offer(afar, asked)
    [held] = grants(afar)
    page = afar.person.browser.get(f"/sharing/{held.grant_id}").text
    afar.person.browser.post(f"/sharing/{held.grant_id}/take-back", data={"csrf_token": csrf(page)})
    with db.transaction(afar.settings.database_url) as session, pytest.raises(counters.OfferOverError):
        counters.accept(session, client_id=held.client_id, grant_id=held.grant_id, now=db.now())

"""What a person may answer beside yes and no: not now, never again, and less than they were asked for."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text, update

from portal import db
from portal.companies import particulars
from portal.companies import queries as companies
from portal.companies import services as company_services
from portal.companies.models import Client
from portal.consent import counters, freezing, queries, services, unwanted
from portal.consent.models import Grant
from tests.oauth.afar import make
from tests.oauth.conftest import make_person
from tests.oauth.rp import csrf, query

if TYPE_CHECKING:
    from apiflask import APIFlask
    from flask.testing import FlaskClient
    from sqlalchemy.orm import Session

    from portal.config import Settings
    from portal.vault.keyring import Keyring
    from tests.oauth.afar import Afar
    from tests.oauth.conftest import Person
    from tests.oauth.rp import Answer, RelyingParty

LESS = {"attributes": "email.main", "mode": "asked", "duration": "month"}
NEVER_AGAIN = unwanted.NotWantedError.public


@pytest.fixture
def afar(http: FlaskClient, settings: Settings, person: Person) -> Afar:
    return make(http, settings, person)


def grants(settings: Settings, person: Person) -> list[Grant]:
    with db.transaction(settings.database_url) as session:
        return queries.grants_of(session, person_id=person.person_id)


def steps(settings: Settings, held: Grant) -> list[tuple[str, str, str]]:
    with db.transaction(settings.database_url) as session:
        found = queries.versions(session, person_id=held.person_id, grant_id=held.grant_id)
        return [(one.step, one.actor, one.state) for one in found]


def press(rp: RelyingParty, browser: FlaskClient, uri: str, answer: str, **form: str) -> Answer:
    """Press a button on the consent screen, whatever stood on it before."""
    token = csrf(browser.get(rp.address(uri)).text)
    fields = {"client_id": rp.client_id, "request_uri": uri, "answer": answer, "csrf_token": token, **form}
    return browser.post("/oauth/authorize", data=fields)


def offer(rp: RelyingParty, person: Person, **form: str) -> Answer:
    """Open the offer's page and send it as it is filled in here."""
    uri = rp.push()
    page = press(rp, person.browser, uri, "offer")
    assert page.status_code == 200, page.text
    seen = re.search(r'name="seen"[^>]*value="([^"]+)"', page.text)
    assert seen
    chosen = {name: value for name, value in (LESS | form).items() if value}
    return press(rp, person.browser, uri, "counter", seen=seen[1], **chosen)


@pytest.fixture
def offered(rp: RelyingParty, person: Person, settings: Settings) -> Grant:
    back = offer(rp, person)
    assert back.status_code == 303, back.text
    [held] = grants(settings, person)
    assert query(back)["offer"] == str(held.grant_id)
    return held


def call(rp: RelyingParty, method: str, path: str, scope: str) -> Answer:
    token = rp.token(grant_type="client_credentials", scope=scope).json["access_token"]
    proof = rp.proof(path, method=method, token=token)
    answer: Answer = rp.http.open(path, method=method, headers={"Authorization": f"DPoP {token}", "DPoP": proof})
    return answer


def pull(rp: RelyingParty, settings: Settings, held: Grant) -> Answer:
    with db.transaction(settings.database_url) as session:
        sub = queries.sub_of(session, person_id=held.person_id, company_id=held.company_id)
    return call(rp, "GET", f"/api/v1/people/{sub}", "people:read")


def test_not_now_gives_nothing_and_may_be_asked_again(rp: RelyingParty, person: Person, settings: Settings) -> None:
    back = query(rp.answer(person.browser, rp.push(), "later"))
    assert (back["error"], back["error_description"]) == (
        "access_denied", "The person will decide another time. You may ask again.",
    )  # fmt: skip
    [held] = grants(settings, person)
    assert steps(settings, held) == [("requested", "company", "requested"), ("deferred", "person", "deferred")]
    assert "You put off your answer" in person.browser.get("/sharing").text
    assert rp.redeem(rp.code(person.browser)).status_code == 200


def test_never_again_is_refused_without_asking_until_the_person_lets_them(
    rp: RelyingParty, person: Person, settings: Settings
) -> None:
    back = query(rp.answer(person.browser, rp.push(), "never"))
    assert (back["error"], back["error_description"]) == ("access_denied", NEVER_AGAIN)
    again = person.browser.get(rp.address(rp.push()))
    assert again.status_code == 303
    assert query(again)["error_description"] == NEVER_AGAIN
    assert query(person.browser.get(rp.address(rp.push(prompt="none"))))["error"] == "access_denied"
    [held] = grants(settings, person)
    page = person.browser.get(f"/sharing/{held.grant_id}").text
    assert "They may not ask you for this again" in page
    assert "They may not ask you again" in person.browser.get("/sharing").text
    person.browser.post(f"/sharing/{held.grant_id}/let-them-ask", data={"csrf_token": csrf(page)})
    assert "They may not ask you again" not in person.browser.get("/sharing").text
    assert "They may not ask" not in person.browser.get(f"/sharing/{held.grant_id}").text
    assert steps(settings, held)[-1] == ("asking-allowed", "person", "refused")
    assert rp.redeem(rp.code(person.browser)).status_code == 200


def test_what_is_shared_already_may_be_confirmed_all_the_same(
    rp: RelyingParty, person: Person, settings: Settings
) -> None:
    narrow = '[{"type":"ucm_profile","purpose":"orders","attributes":["name.full"]}]'
    rp.code(person.browser, authorization_details=narrow)
    assert query(rp.answer(person.browser, rp.push(), "never"))["error_description"] == NEVER_AGAIN
    assert rp.code(person.browser, authorization_details=narrow)
    assert query(person.browser.get(rp.address(rp.push())))["error_description"] == NEVER_AGAIN
    assert [held.state for held in grants(settings, person)].count("active") == 1


def test_never_again_holds_from_afar_too(afar: Afar) -> None:
    asked = afar.asked()
    page = afar.person.browser.get(afar.page(asked)).text
    assert "Never ask me again" in page
    afar.person.browser.post(afar.page(asked), data={"answer": "never", "csrf_token": csrf(page)})
    assert afar.rp.poll(asked).json["error"] == "access_denied"
    with db.transaction(afar.settings.database_url) as session:
        for held in queries.grants_of(session, person_id=afar.person.person_id):
            if held.state == "active":
                services.withdraw(session, person_id=held.person_id, grant_id=held.grant_id, now=db.now())
    refused = afar.ask()
    assert (refused.status_code, refused.json["error_description"]) == (403, NEVER_AGAIN)


def test_an_offer_gives_nothing_until_it_is_accepted(
    rp: RelyingParty, person: Person, settings: Settings, offered: Grant
) -> None:
    assert (offered.state, offered.attributes, offered.mode) == ("countered", ["email.main"], "asked")
    assert steps(settings, offered) == [("requested", "company", "requested"), ("countered", "person", "countered")]
    assert pull(rp, settings, offered).json["type"].endswith("consent-absent")
    assert "You offered less" in person.browser.get("/sharing").text
    listed = call(rp, "GET", "/api/v1/grants?state=countered", "grant_management_query")
    assert [one["grant_id"] for one in listed.json["grants"]] == [str(offered.grant_id)]
    path = f"/api/v1/grants/{offered.grant_id}/acceptance"
    assert call(rp, "POST", path, "grants:manage").status_code == 204
    [held] = grants(settings, person)
    assert (held.grant_id, held.state, held.concession) == (
        offered.grant_id, "active", {"without": ["name.full"], "mode": "asked"},
    )  # fmt: skip
    assert pull(rp, settings, held).status_code == 200
    assert call(rp, "POST", path, "grants:manage").json["type"].endswith("offer-over")


def test_what_was_accepted_needs_no_second_answer(
    rp: RelyingParty, person: Person, settings: Settings, offered: Grant
) -> None:
    with db.transaction(settings.database_url) as session:
        counters.accept(session, client_id=rp.client_id, grant_id=offered.grant_id, now=db.now())
    narrow = '[{"type":"ucm_profile","purpose":"orders","attributes":["name.full","email.main"]}]'
    uri = rp.push(authorization_details=narrow)
    assert "Continue with Linden" in person.browser.get(rp.address(uri)).text
    assert rp.redeem(query(rp.answer(person.browser, uri))["code"]).status_code == 200
    # They can share what they left out at any time, and need not.
    page = person.browser.get(f"/sharing/{offered.grant_id}/change").text
    fields = {"csrf_token": csrf(page), "duration": "keep", "attributes": "email.main"}
    seen = re.search(r'name="seen"[^>]*value="([^"]+)"', page)
    assert seen
    saved = person.browser.post(f"/sharing/{offered.grant_id}/change", data=fields | {"seen": seen[1]})
    assert saved.status_code == 303
    assert [held.attributes for held in grants(settings, person)] == [["email.main"]]


def test_a_declined_offer_is_over_and_the_person_reads_so(
    rp: RelyingParty, person: Person, settings: Settings, offered: Grant
) -> None:
    path = f"/api/v1/grants/{offered.grant_id}/refusal"
    assert call(rp, "POST", path, "grants:manage").status_code == 204
    assert steps(settings, offered)[-1] == ("declined", "company", "refused")
    assert "Did not agree to your offer" in person.browser.get(f"/sharing/{offered.grant_id}").text
    assert pull(rp, settings, offered).status_code == 403


def test_the_person_takes_an_offer_back(rp: RelyingParty, person: Person, settings: Settings, offered: Grant) -> None:
    page = person.browser.get(f"/sharing/{offered.grant_id}").text
    assert "Your offer waits for their answer" in page
    person.browser.post(f"/sharing/{offered.grant_id}/take-back", data={"csrf_token": csrf(page)})
    assert steps(settings, offered)[-1] == ("taken-back", "person", "refused")
    path = f"/api/v1/grants/{offered.grant_id}/acceptance"
    assert call(rp, "POST", path, "grants:manage").status_code == 409


def test_another_company_answers_no_offer(other: RelyingParty, offered: Grant) -> None:
    for answer in ("acceptance", "refusal"):
        found = call(other, "POST", f"/api/v1/grants/{offered.grant_id}/{answer}", "grants:manage")
        assert found.status_code == 404


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"attributes": ""}, "Choose at least one detail to offer."),
        ({"mode": ""}, "Choose how they may use it."),
        ({"duration": "ever"}, "Not a valid choice"),
        ({"seen": "another"}, "Something on this page has changed"),
    ],
)
def test_an_offer_that_cannot_be_taken_says_why_and_keeps_what_was_chosen(
    rp: RelyingParty, person: Person, settings: Settings, form: dict[str, str], words: str
) -> None:
    answer = offer(rp, person, **form) if "seen" not in form else _with_another_mark(rp, person)
    assert (answer.status_code, words in answer.text) == (422, True)
    assert ('value="email.main" checked' in answer.text) is (form.get("attributes") is None)
    assert grants(settings, person) == []


def _with_another_mark(rp: RelyingParty, person: Person) -> Answer:
    return press(rp, person.browser, rp.push(), "counter", seen="another", **LESS)


def test_all_that_is_asked_is_no_offer(rp: RelyingParty, person: Person, settings: Settings) -> None:
    whole = {"attributes": "name.full", "mode": "kept-up-to-date", "duration": "until"}
    answer = offer(rp, person, **whole)
    assert (answer.status_code, "This is all they ask for" in answer.text) == (422, True)
    assert grants(settings, person) == []


def test_an_offer_from_an_old_page_is_no_refusal(rp: RelyingParty, person: Person, settings: Settings) -> None:
    uri = rp.push()
    assert press(rp, person.browser, uri, "offer").status_code == 200
    rp.code(person.browser)
    answer = press(rp, person.browser, uri, "counter", seen="old", **LESS)
    assert answer.headers["Location"].startswith("/oauth/authorize?")
    assert [held.state for held in grants(settings, person)] == ["active"]


def test_looking_changes_nothing(rp: RelyingParty, person: Person, settings: Settings) -> None:
    """No GET answers anything, whatever stands behind it, and the offer's page itself keeps nothing."""
    uri = rp.push()
    for answer in ("share", "later", "never", "offer", "counter", "back"):
        person.browser.get(rp.address(uri) + f"&answer={answer}")
    assert press(rp, person.browser, uri, "offer").status_code == 200
    assert press(rp, person.browser, uri, "back").headers["Location"].startswith("/oauth/authorize?")
    assert grants(settings, person) == []


def test_share_and_do_not_share_look_alike_and_nothing_is_ticked(rp: RelyingParty, person: Person) -> None:
    uri = rp.push()
    page = person.browser.get(rp.address(uri)).text
    share, decline = re.findall(r'<button class="([^"]*)" name="answer" value="(?:share|decline)">', page)
    assert share == decline == "btn"
    for shown in (page, press(rp, person.browser, uri, "offer").text):
        assert not re.search(r"<input[^>]* checked", shown)


def test_two_windows_one_offer(rp: RelyingParty, person: Person, settings: Settings) -> None:
    assert offer(rp, person).status_code == 303
    assert offer(rp, person, attributes="name.full").status_code == 303
    assert sorted(held.state for held in grants(settings, person)) == ["countered", "refused"]
    rp.code(person.browser)
    assert sorted(held.state for held in grants(settings, person)) == ["active", "refused", "refused"]


@pytest.fixture
def held_of(settings: Settings) -> Any:  # noqa: ANN401 - a function
    def run(work: Any) -> Any:  # noqa: ANN401 - whatever it returns
        with db.transaction(settings.database_url) as session:
            return work(session)

    return run


def _suspend(session: Session, offered: Grant) -> None:
    session.execute(update(Client).where(Client.client_id == offered.client_id).values(state="suspended"))


def _age(session: Session, offered: Grant) -> None:
    old = update(Grant).where(Grant.grant_id == offered.grant_id)
    session.execute(old.values(changed_at=db.now() - timedelta(days=31)))


def _revise(session: Session, offered: Grant) -> None:
    moved = update(Grant).where(Grant.grant_id == offered.grant_id).values(purpose_version=0)
    session.execute(moved)


@pytest.mark.parametrize("how", [_suspend, _age, _revise], ids=["suspended", "too old", "another text"])
def test_an_offer_that_no_longer_stands_is_not_accepted(held_of: Any, offered: Grant, how: Any) -> None:  # noqa: ANN401
    held_of(lambda session: how(session, offered))
    with pytest.raises(counters.OfferOverError):
        held_of(
            lambda session: counters.accept(
                session, client_id=offered.client_id, grant_id=offered.grant_id, now=db.now()
            )
        )


def test_an_offer_lapses_after_thirty_days(held_of: Any, offered: Grant, settings: Settings) -> None:  # noqa: ANN401
    held_of(lambda session: _age(session, offered))
    held_of(lambda session: counters.lapse_due(session, now=db.now()))
    assert steps(settings, offered)[-1] == ("lapsed", "portal", "refused")


def test_nothing_begins_while_everything_is_frozen(held_of: Any, offered: Grant, settings: Settings) -> None:  # noqa: ANN401
    held_of(lambda session: freezing.freeze(session, person_id=offered.person_id, now=db.now()))
    with pytest.raises(freezing.FrozenError):
        held_of(
            lambda session: counters.accept(
                session, client_id=offered.client_id, grant_id=offered.grant_id, now=db.now()
            )
        )
    assert steps(settings, offered)[-1][0] == "countered"


def test_the_company_hears_of_no_offer_but_by_its_answer(held_of: Any, offered: Grant) -> None:  # noqa: ANN401
    """No message is owed for what never began, and none for its end."""
    held_of(
        lambda session: counters.decline(session, client_id=offered.client_id, grant_id=offered.grant_id, now=db.now())
    )
    owed = held_of(
        lambda session: session.scalar(
            text("SELECT count(*) FROM delivery WHERE grant_id = :grant_id"), {"grant_id": offered.grant_id}
        )
    )
    assert owed == 0


@pytest.fixture
def staff(app: APIFlask, settings: Settings, keys: Keyring, rp: RelyingParty) -> Person:
    """Somebody who acts for the company."""
    member = make_person(app, settings, keys)
    with db.transaction(settings.database_url) as session:
        client = companies.client(session, rp.client_id)
        assert client
        company_services.add_staff(session, company_id=client.company_id, person_id=member.person_id)
    return member


@pytest.mark.parametrize(("act", "state"), [("accept", "active"), ("decline", "refused")])
def test_staff_answer_an_offer_and_learn_no_name(
    *, rp: RelyingParty, person: Person, staff: Person, settings: Settings, offered: Grant, act: str, state: str
) -> None:
    place = f"/org/apps/{rp.client_id}/offers"
    assert place in staff.browser.get(f"/org/apps/{rp.client_id}").text
    page = staff.browser.get(place).text
    assert "Email address" in page
    assert "Aoife" not in page
    assert "aoife@example.org" not in page
    answered = staff.browser.post(f"{place}/{offered.grant_id}/{act}", data={"csrf_token": csrf(page)})
    assert answered.status_code == 303
    assert [held.state for held in grants(settings, person)] == [state]
    assert "No offer waits for you." in staff.browser.get(place).text
    staff.browser.post(f"{place}/{offered.grant_id}/{act}", data={"csrf_token": csrf(page)})
    assert "This offer can no longer be answered" in staff.browser.get(place).text


def test_staff_tell_what_receipts_say_and_mend_what_cannot_be_told(
    staff: Person, settings: Settings, offered: Grant
) -> None:
    page = staff.browser.get("/org/particulars").text
    told = {"address": "1 Main Street", "kind": "ForProfitOrganisation", "storage_locations": "Ireland"}
    refused = staff.browser.post("/org/particulars", data=told | {"csrf_token": csrf(page)})
    assert (refused.status_code, "Write countries by their two letters" in refused.text) == (422, True)
    assert "1 Main Street" in refused.text
    told |= {"storage_locations": "ie", "no_recipients": "y"}
    assert staff.browser.post("/org/particulars", data=told | {"csrf_token": csrf(page)}).status_code == 303
    page = staff.browser.get("/org/particulars").text
    assert re.search(r'value="IE"', page)
    assert re.search(r'<option selected value="ForProfitOrganisation"', page)
    with db.transaction(settings.database_url) as session:
        told_now = particulars.of_company(session, offered.company_id)
    assert (told_now.address, told_now.storage_locations, told_now.no_recipients) == ("1 Main Street", ("IE",), True)

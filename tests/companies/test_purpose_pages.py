"""Declaring, changing and reviewing purposes by HTTP, with the form token on and without JavaScript."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from sqlalchemy import update

from portal import db
from portal.companies import purpose_queries, reviews_web, services, versions
from portal.identity import levels
from portal.identity.models import BrowserSession, Operator
from tests.companies.browser import Browser
from tests.companies.test_pages import APP
from tests.purposes import let_nobody_wait

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask

    from portal.companies.purpose_queries import VersionFacts
    from portal.companies.queries import CompanyFacts
    from portal.config import Settings
    from portal.vault.keyring import Keyring

    Make = Callable[..., dict[str, Any]]

CODE = "send-bills-to-the-right-address"
SAID = {name: value for name, value in APP.items() if name not in {"name", "redirect_uris"}}
TOO_MUCH = {
    "dpv": "DirectMarketing", "lawful_basis": "legitimate-interest", "retention_days": "31",
    "want-birth-date": "optional", "why-birth-date": "To congratulate you",
}  # fmt: skip


@pytest.fixture
def operator(app: Flask, settings: Settings, keys: Keyring) -> Browser:
    browser = Browser(app, settings, keys)
    appoint(settings, browser)
    return browser


def appoint(settings: Settings, browser: Browser) -> None:
    """Make an operator of somebody, who has given both proofs."""
    mine = update(BrowserSession).where(BrowserSession.person_id == browser.person_id)
    with db.transaction(settings.database_url) as session:
        session.add(Operator(person_id=browser.person_id, added_at=db.now()))
        session.execute(mine.values(level=levels.TWO_PROOFS))


@pytest.fixture
def own(settings: Settings, staff: Browser, facts: Make) -> CompanyFacts:
    with db.transaction(settings.database_url) as session:
        return services.register_company(session, **facts(owner=staff.person_id, verified=True))


@pytest.fixture
def live(settings: Settings, own: CompanyFacts) -> str:
    with db.transaction(settings.database_url) as session:
        return services.create_client(
            session, company_id=own.company_id, name="Bills", redirect_uris=["https://brightwell.example/back"],
            environment="live", now=db.now(),
        )  # fmt: skip


def declared(staff: Browser, client_id: str) -> str:
    """Declare the purpose by its form; return where its versions stand."""
    answer = staff.send(f"/org/apps/{client_id}/purposes/new", **SAID)
    assert answer.headers["Location"] == f"/org/apps/{client_id}/purposes/{CODE}"
    return str(answer.headers["Location"])


def versions_of(settings: Settings, client_id: str) -> list[VersionFacts]:
    with db.transaction(settings.database_url) as session:
        return purpose_queries.of_purpose(session, client_id=client_id, code=CODE)


def review_page(settings: Settings, client_id: str) -> str:
    newest = versions_of(settings, client_id)[0].purpose
    return f"/ops/purposes/{newest.purpose_id}/{newest.version}"


def words(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def test_all_that_is_too_much_is_said_beside_its_field_and_stays_typed(staff: Browser, live: str) -> None:
    answer = staff.send(f"/org/apps/{live}/purposes/new", **SAID | TOO_MUCH)
    assert answer.status_code == 422
    for field in ("why-birth-date", "why-address-home", "retention_days", "pulls_a_day", "lawful_basis-0"):
        assert f'href="#{field}"' in answer.text
    assert "looks at most 4 times a day: enter a number of at most 4." in answer.text
    assert "Date of birth. This kind of purpose (send advertising) may not ask for this detail" in answer.text
    assert 'value="To congratulate you"' in answer.text
    assert 'value="31"' in answer.text
    assert staff.get(f"/org/apps/{live}/purposes/{CODE}").status_code == 404


def test_who_only_looks_keeps_nothing(settings: Settings, staff: Browser, live: str) -> None:
    path = f"/org/apps/{live}/purposes/new"
    refused = staff.send(path, **SAID | {"mode": "see-once"})
    assert refused.status_code == 422
    assert "Who sees details once keeps nothing: enter 0" in refused.text
    assert staff.send(path, **SAID | {"mode": "see-once", "retention_days": "0"}).status_code == 303
    [found] = versions_of(settings, live)
    assert (found.purpose.mode, found.purpose.use) == ("once", "see-once")


def test_from_draft_over_sent_back_to_live(
    settings: Settings, staff: Browser, operator: Browser, live: str, own: CompanyFacts
) -> None:
    with db.transaction(settings.database_url) as session:
        let_nobody_wait(session)
    place = declared(staff, live)
    assert "To send bills to the right address (draft)" in staff.get("/org/apps").text
    assert "before you send it for review" in staff.get(place).text
    staff.send(f"{place}/review", act="send")
    assert "Take it back" in staff.get(place).text
    assert own.trading_name in operator.get("/ops/purposes").text
    page = review_page(settings, live)
    assert "send bills to the right address" in operator.get(page).text

    for sent, problem in (({"decision": "back"}, "Say what there is to mend."), ({"words": "Why?"}, "Choose what")):
        answer = operator.send(page, **sent)
        assert answer.status_code == 422
        assert problem in answer.text
    assert operator.send(page, decision="back", words="Leave the email\naddress out.").status_code == 303

    shown = staff.get(place).text
    assert "Leave the email address out." in shown
    mend = staff.get(f"{place}/change").text
    assert "Leave the email address out." in mend
    assert 'value="Where the bill goes"' in mend
    assert staff.send(f"{place}/change", **SAID | {"want-email-main": ""}).status_code == 303
    staff.send(f"{place}/review", act="send")
    assert operator.send(review_page(settings, live), decision="live", words="").status_code == 303
    assert [(one.state, one.in_use) for one in versions_of(settings, live)] == [("live", True), ("sent-back", False)]
    assert ">Live<" in staff.get(place).text
    assert "put live" in operator.get("/ops/purposes").text
    assert operator.get("/ops").status_code == 200


def test_an_operator_sees_what_is_new(settings: Settings, staff: Browser, operator: Browser, live: str) -> None:
    place = declared(staff, live)
    staff.send(f"{place}/review", act="send")
    operator.send(review_page(settings, live), decision="live", words="")
    more = {"want-email-main": "", "want-phone-mobile": "required", "why-phone-mobile": "To call you",
            "retention_days": "60"}  # fmt: skip
    staff.send(f"{place}/change", **SAID | more)
    staff.send(f"{place}/review", act="send")
    said = words(operator.get(review_page(settings, live)).text)
    assert "Mobile phone number: To call you New" in said
    assert "Home address: Where the bill goes New" not in said
    assert "Removed Email address" in said
    assert "60 days New" in said


def test_whoever_is_too_late_is_told(settings: Settings, staff: Browser, operator: Browser, live: str) -> None:
    place = declared(staff, live)
    staff.send(f"{place}/review", act="send")
    page = review_page(settings, live)
    staff.send(f"{place}/review", act="take-back")
    answer = operator.send(page, decision="live", words="")
    assert answer.status_code == 422
    assert "does not wait for review any more" in answer.text
    again = staff.send(f"{place}/review", act="take-back")
    assert "Only a draft can be sent for review" in staff.client.get(again.headers["Location"]).text
    assert staff.send(f"{place}/review", act="approve").status_code == 404
    assert [one.state for one in versions_of(settings, live)] == ["draft"]


def test_staff_who_are_operators_do_not_decide_for_themselves(settings: Settings, staff: Browser, live: str) -> None:
    place = declared(staff, live)
    staff.send(f"{place}/review", act="send")
    appoint(settings, staff)
    page = review_page(settings, live)
    assert "another operator decides" in staff.get(page).text
    assert staff.send(page, decision="live", words="").status_code == 422
    assert [one.state for one in versions_of(settings, live)] == ["waiting"]


def test_what_was_never_sent_is_not_there_for_an_operator(
    settings: Settings, staff: Browser, operator: Browser, live: str
) -> None:
    declared(staff, live)
    page = review_page(settings, live)
    assert operator.get(page).status_code == 404
    assert staff.get(page).status_code == 404
    assert staff.get("/ops/purposes").status_code == 404


def test_a_preview_of_a_change_saves_nothing(settings: Settings, staff: Browser, live: str) -> None:
    place = declared(staff, live)
    answer = staff.send(f"{place}/change", **SAID | {"act": "preview", "sentence": "send gas bills"})
    assert "so they can send gas bills" in answer.text
    assert len(versions_of(settings, live)) == 1


def test_a_number_of_days_that_a_program_declared_is_kept(settings: Settings, staff: Browser, live: str) -> None:
    place = declared(staff, live)
    with db.transaction(settings.database_url) as session:
        services.declare_purpose(
            session, client_id=live, code="short", sentence="send bills", dpv="PaymentManagement", mode="asked",
            required=[("name.full", "To write")], optional=[], retention_days=3, longest_days=45,
            catalogue={"name.full"}, now=db.now(),
        )  # fmt: skip
    assert '<option selected value="45">45 days</option>' in staff.get(f"/org/apps/{live}/purposes/short/change").text
    assert '<option value="45">' not in staff.get(f"{place}/change").text


def test_what_waits_and_what_was_decided_go_on_where_they_stopped(
    settings: Settings, operator: Browser, live: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each purpose is on one page, also where several were sent or decided at the same moment."""
    monkeypatch.setattr(reviews_web, "_PAGE", 2)
    now, sent = db.now(), []
    with db.transaction(settings.database_url) as session:
        let_nobody_wait(session)
        for number in range(5):
            made = services.declare_purpose(
                session, client_id=live, sentence=f"send bills number {number}", dpv="PaymentManagement",
                mode="asked", required=[("name.full", "To write to you")], optional=[], retention_days=9,
                catalogue={"name.full"}, now=now,
            )  # fmt: skip
            versions.send(session, client_id=live, code=made.code, now=now)
            sent.append(made.purpose_id)
    assert turned(operator, "Show more") == sorted(sent)
    with db.transaction(settings.database_url) as session:
        for purpose_id in sent:
            versions.put_live(session, purpose_id=purpose_id, version=1, by=db.new_id(), words="", now=now)
    assert [one for one in turned(operator, "Show older") if one in sent] == sorted(sent, reverse=True)


def turned(operator: Browser, words: str) -> list[UUID]:
    """Follow the link with these words as far as it leads; return the purposes on those pages, in order."""
    pages: list[str] = []
    at = "/ops/purposes"
    while at and len(pages) < 50:
        pages.append(html.unescape(operator.get(at).text))
        link = re.search(rf'href="([^"]+)">{words}<', pages[-1])
        at = link.group(1) if link else ""
    shown = [re.sub(r'(?s)<h2 id="decided".*', "", page) if words == "Show more" else page for page in pages]
    return [UUID(found) for found in re.findall(r'href="/ops/purposes/([0-9a-f-]{36})/1"', "".join(shown))]

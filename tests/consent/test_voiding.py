"""Declaring a consent void: by an operator, for a reason that is asked for, kept, and read by both sides."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select, update

from portal import db
from portal.companies import services as companies
from portal.consent import numbers, queries, renewing
from portal.identity import levels
from portal.identity.models import BrowserSession, Operator
from portal.ledger.models import Disclosure
from tests.consent.browser import Browser

if TYPE_CHECKING:
    from uuid import UUID

    from flask import Flask
    from werkzeug.test import TestResponse

    from portal.config import Settings
    from portal.consent.models import Grant
    from portal.vault.keyring import Keyring
    from tests.consent.offers import Offer

RECORD = {"name.full": "Zenobia Quill"}
WHY = "Somebody else agreed in their name."


@pytest.fixture
def operator(app: Flask, settings: Settings, keys: Keyring) -> Browser:
    made = Browser(app, settings, keys, RECORD)
    theirs = update(BrowserSession).where(BrowserSession.person_id == made.person_id)
    with db.transaction(settings.database_url) as session:
        session.add(Operator(person_id=made.person_id, added_at=db.now()))
        session.execute(theirs.values(level=levels.TWO_PROOFS))
    return made


@pytest.fixture
def held(settings: Settings, lasting: Offer, browser: Browser) -> Grant:
    with db.transaction(settings.database_url) as session:
        made = lasting.give(session, browser.person_id)
        session.expunge(made)
    return made


def state(settings: Settings, grant_id: UUID) -> str:
    with db.transaction(settings.database_url) as session:
        return queries.by_id(session, grant_id=grant_id).state


def text(answer: TestResponse) -> str:
    return html.unescape(answer.text)


def test_for_a_reason_that_is_shown_once_more_before_it_is_done(
    settings: Settings, operator: Browser, browser: Browser, lasting: Offer, held: Grant
) -> None:
    place = f"/ops/consents/{held.grant_id}"
    page = text(operator.get(place))
    for words in (lasting.name, "To send bills to the right address", "Active", "Full name"):
        assert words in page
    assert "Zenobia" not in page
    asked = text(operator.send(place, act="ask", reason=f" {WHY}\n"))
    assert "This cannot be taken back" in asked
    assert f'name="reason" value="{WHY}"' in asked
    assert state(settings, held.grant_id) == "active"
    back = text(operator.send(place, act="back", reason=WHY))
    assert f"{WHY}</textarea>" in back, "what was typed is there to be mended"
    assert operator.send(place, act="void", reason=WHY).location == place
    assert state(settings, held.grant_id) == "invalidated"
    for who, where in ((operator, place), (browser, f"/sharing/{held.grant_id}")):
        assert WHY in text(who.get(where))


def test_each_look_stands_in_the_persons_log(
    settings: Settings, operator: Browser, browser: Browser, held: Grant
) -> None:
    for _ in range(2):
        operator.get(f"/ops/consents/{held.grant_id}")
    mine = select(Disclosure.channel, Disclosure.grant_id, Disclosure.given)
    with db.transaction(settings.database_url) as session:
        looks = mine.where(Disclosure.person_id == browser.person_id, Disclosure.channel == "operator")
        assert [tuple(row) for row in session.execute(looks)] == [("operator", held.grant_id, {})]
    assert "see whether a consent of yours should stand" in text(browser.get("/activity"))


@pytest.mark.parametrize(
    ("reason", "sentence"),
    [
        ("", "Say why, in at most 200 characters."), (" \u200b ", "Say why, in at most 200 characters."),
        ("x" * 201, "The reason must be 200 characters or fewer"), ("a\x07b", "hidden control character"),
    ],
)  # fmt: skip
def test_no_reason_is_no_reason(settings: Settings, operator: Browser, held: Grant, reason: str, sentence: str) -> None:
    for act in ("ask", "void"):
        answer = operator.send(f"/ops/consents/{held.grant_id}", act=act, reason=reason)
        assert answer.status_code == 422
        assert sentence in text(answer)
        assert reason.strip(" \u200b") in text(answer)
    assert state(settings, held.grant_id) == "active"


def test_whoever_comes_second_reads_what_holds_and_what_they_wrote(
    settings: Settings, operator: Browser, held: Grant
) -> None:
    place = f"/ops/consents/{held.grant_id}"
    operator.send(place, act="void", reason=WHY)
    answer = operator.send(place, act="void", reason="Another reason.")
    assert answer.status_code == 409
    assert WHY in text(answer)
    assert 'What you just sent changed nothing. You wrote: <span class="wrap-text">Another reason.' in text(answer)
    with db.transaction(settings.database_url) as session:
        steps = queries.versions(session, person_id=held.person_id, grant_id=held.grant_id)
    assert [step.step for step in steps] == ["given", "invalidated"]


@pytest.mark.parametrize("kind", ["id", "number", "older number", "small letters"])
def test_it_is_found_by_what_is_quoted(operator: Browser, held: Grant, kind: str) -> None:
    number = numbers.of(held.grant_id, 1, held.given_at.year)
    quoted = {
        "id": str(held.grant_id), "number": f" {number} ", "older number": f"{number}0",
        "small letters": number.lower(),
    }[kind]  # fmt: skip
    assert "Look up a consent" in operator.get("/ops").text
    assert operator.get("/ops/consents", query_string={"number": quoted}).location == f"/ops/consents/{held.grant_id}"


@pytest.mark.parametrize(
    "quoted", ["R-2026-00000000-1", "R-2026-1", "5f0c7c53-1b1f-7c5e-8a55-8a5f0c7c531b", "%", "\0", "x" * 101]
)
def test_what_is_nobodys_number_stays_typed(operator: Browser, quoted: str) -> None:
    answer = operator.get("/ops/consents", query_string={"number": quoted})
    assert answer.status_code == 422
    assert "number" in text(answer)
    assert f'value="{quoted}"' in text(answer) or "\0" in quoted


def test_nobody_else_finds_the_page(
    settings: Settings, app: Flask, browser: Browser, lasting: Offer, held: Grant
) -> None:
    with db.transaction(settings.database_url) as session:
        companies.add_staff(session, company_id=lasting.company_id, person_id=browser.person_id)
    for place in ("/ops/consents", f"/ops/consents/{held.grant_id}"):
        assert browser.get(place).status_code == 404
        assert app.test_client().get(place, base_url=settings.url).location.startswith("/account/sign-in")
    assert browser.send(f"/ops/consents/{held.grant_id}", act="void", reason=WHY).status_code == 404
    assert state(settings, held.grant_id) == "active"


def test_an_operator_with_one_proof_gives_the_other_first(settings: Settings, operator: Browser, held: Grant) -> None:
    theirs = update(BrowserSession).where(BrowserSession.person_id == operator.person_id)
    with db.transaction(settings.database_url) as session:
        session.execute(theirs.values(level=levels.ONE_PROOF))
    answer = operator.send(f"/ops/consents/{held.grant_id}", act="void", reason=WHY)
    assert answer.location.startswith("/account/confirm-it-is-you")
    assert state(settings, held.grant_id) == "active"


@pytest.mark.parametrize("whose", ["their own", "their organisation's"])
def test_whoever_is_a_party_to_it_does_not_decide(
    settings: Settings, operator: Browser, lasting: Offer, held: Grant, whose: str
) -> None:
    grant_id = held.grant_id
    with db.transaction(settings.database_url) as session:
        if whose == "their own":
            grant_id = lasting.give(session, operator.person_id).grant_id
        else:
            companies.add_staff(session, company_id=lasting.company_id, person_id=operator.person_id)
    place = f"/ops/consents/{grant_id}"
    assert "another operator decides" in operator.get(place).text
    for act in ("ask", "void"):
        assert operator.send(place, act=act, reason=WHY).status_code == 409
    assert state(settings, grant_id) == "active"
    with db.transaction(settings.database_url) as session:
        mine = queries.by_id(session, grant_id=grant_id).person_id
        given = {"person_id": mine, "grant_id": grant_id, "operator_id": operator.person_id}
        with pytest.raises(renewing.OwnConsentError):
            renewing.invalidate(session, reason=WHY, now=db.now(), **given)

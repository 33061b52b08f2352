"""The pages about deleting: what staff answer, what the person then reads, and who is written to."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from sqlalchemy import select, update

from portal import config, db, mail
from portal.companies import services as companies
from portal.companies.models import CompanyLetter
from portal.consent import deletion_letters, deletions, queries, services
from portal.consent.models import Deletion
from tests.consent.browser import Browser
from tests.consent.offers import Offer
from tests.consent.test_erasure import used

if TYPE_CHECKING:
    from flask import Flask
    from sqlalchemy.orm import Session

    from portal.config import Settings
    from portal.consent.models import Grant
    from portal.vault.keyring import Keyring

NAME, MAIL = "name.full", "email.main"


@pytest.fixture
def wished(settings: Settings, lasting: Offer, browser: Browser) -> Grant:
    """What the browser's person shared and asked to be deleted."""
    with db.transaction(settings.database_url) as session:
        held = lasting.give(session, browser.person_id, attributes=[NAME, MAIL], now=db.now())
        used(session, held)
        return services.withdraw(
            session, person_id=browser.person_id, grant_id=held.grant_id, now=db.now(), erase=True, shown={}
        )


def rows(settings: Settings, held: Grant) -> dict[str, Deletion]:
    with db.transaction(settings.database_url) as session:
        found = deletions.of_grant(session, person_id=held.person_id, grant_id=held.grant_id)
    return {row.attribute: row for row in found}


def pass_days(settings: Settings, held: Grant, days: int) -> None:
    mine = update(Deletion).where(Deletion.grant_id == held.grant_id)
    with db.transaction(settings.database_url) as session:
        session.execute(mine.values(due_at=Deletion.due_at - timedelta(days=days)))


def place(held: Grant) -> str:
    return f"/org/deletions/{held.grant_id}"


def words(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub("<[^>]*>", " ", page.partition("<main")[2]))


def test_staff_see_what_there_is_to_delete_and_say_it_detail_by_detail(
    staff: Browser, wished: Grant, settings: Settings
) -> None:
    assert place(wished) in staff.get("/org/deletions").text
    shown = words(staff.get(place(wished)).text)
    assert "Full name" in shown
    assert "Due by" in shown
    order = {name: number for number, name in enumerate(rows(settings, wished))}
    sent: dict[str, Any] = {
        f"answer_{order[NAME]}": "deleted", f"answer_{order[MAIL]}": "held", f"reason_{order[MAIL]}": "legal-claim",
        f"until_{order[MAIL]}": "2032-12-31", f"words_{order[MAIL]}": "Statute of Limitations",
    }  # fmt: skip
    assert staff.send(place(wished), **sent).status_code == 303
    kept = rows(settings, wished)
    assert (kept[NAME].state, kept[MAIL].state, kept[MAIL].reason) == ("deleted", "held", "legal-claim")
    assert "you said on" in words(staff.get(place(wished)).text)
    assert place(wished) in staff.get("/org/deletions?state=done").text


def sure(staff: Browser, asked: Any) -> Any:  # noqa: ANN401 - Flask's test answers
    """Say yes on the page that counts the details."""
    keys = re.findall(r'name="detail" value="([^"]*)"', asked.text)
    return staff.send("/org/deletions/confirm", detail=keys, sure="1", state="open")


def test_one_button_says_that_all_of_it_is_deleted(staff: Browser, wished: Grant, settings: Settings) -> None:
    asked = staff.send(place(wished), act="all")
    assert "Say that 2 details are deleted?" in asked.text
    assert {row.state for row in rows(settings, wished).values()} == {"asked"}
    assert sure(staff, asked).status_code == 303
    assert {row.state for row in rows(settings, wished).values()} == {"deleted"}
    assert "Nothing is left to say" in staff.get(place(wished)).text


def test_all_of_it_leaves_out_what_is_held_back(staff: Browser, wished: Grant, settings: Settings) -> None:
    hold: dict[str, Any] = {"answer_0": "held", "reason_0": "accounts", "until_0": "2032-12-31"}
    staff.send(place(wished), **hold)
    sure(staff, staff.send(place(wished), act="all"))
    assert sorted(row.state for row in rows(settings, wished).values()) == ["deleted", "held"]


@pytest.mark.parametrize("answer", ["held", "later"])
def test_all_of_it_does_not_pass_over_what_is_filled_in_as_kept(
    staff: Browser, wished: Grant, settings: Settings, answer: str
) -> None:
    kept: dict[str, Any] = {"answer_0": answer, "reason_0": "accounts", "until_0": "2032-12-31", "words_0": "Tax code"}
    refused = staff.send(place(wished), act="all", **kept)
    assert refused.status_code == 422
    assert "You filled in that you must keep this." in refused.text
    assert 'value="Tax code"' in refused.text
    assert {row.state for row in rows(settings, wished).values()} == {"asked"}


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ({}, "Say of at least one detail"),
        ({"answer_0": "held"}, "Say by one of the reasons"),
        ({"answer_0": "held", "reason_0": "accounts"}, "must lie ahead"),
        ({"answer_0": "held", "reason_0": "accounts", "until_0": "2001-01-01"}, "must lie ahead"),
        ({"answer_0": "held", "reason_0": "accounts", "until_0": "soon"}, "Enter a day such as"),
        (
            {"answer_0": "held", "reason_0": "accounts", "until_0": "2032-12-31", "words_0": "87 Main St"},
            "letters only",
        ),
        ({"answer_0": "burnt"}, "Not a valid choice"),
    ],
)
def test_a_page_says_what_to_mend_and_keeps_what_was_typed(
    staff: Browser, wished: Grant, settings: Settings, sent: dict[str, Any], said: str
) -> None:
    answer = staff.send(place(wished), **sent)
    assert (answer.status_code, said in answer.text, "There is a problem" in answer.text) == (422, True, True)
    for name, typed in sent.items():
        if name.startswith(("words", "until")):
            assert f'value="{typed}"' in answer.text
    assert {row.state for row in rows(settings, wished).values()} == {"asked"}


@pytest.mark.parametrize("act", ["nothing", "answer"])
def test_it_is_nobodys_but_the_companys(
    app: Flask, settings: Settings, keys: Keyring, wished: Grant, *, browser: Browser, act: str
) -> None:
    rival = Browser(app, settings, keys, {})
    with db.transaction(settings.database_url) as session:
        companies.add_staff(session, company_id=Offer(session).company_id, person_id=rival.person_id)
    for address in (place(wished), f"/org/consents/{wished.grant_id}", f"/org/consents/{wished.grant_id}/end"):
        assert rival.get(address).status_code == 404
        if act == "answer" and not address.endswith(str(wished.grant_id)):
            assert rival.send(address).status_code == 404
    assert rival.send(place(wished), act="all").status_code == 404
    assert place(wished) not in rival.get("/org/deletions").text
    assert browser.get(place(wished)).location == "/org"


def test_the_person_reads_how_far_it_is_at_the_sharing_on_the_receipt_and_on_home_when_late(
    browser: Browser, staff: Browser, wished: Grant, settings: Settings
) -> None:
    here = f"/sharing/{wished.grant_id}"
    assert "They must by" in words(browser.get("/sharing").text)
    assert "Late with deleting" not in browser.get("/home").text
    order = {name: number for number, name in enumerate(rows(settings, wished))}
    sent: dict[str, Any] = {f"answer_{order[MAIL]}": "held", f"reason_{order[MAIL]}": "accounts"}
    staff.send(place(wished), **sent | {f"until_{order[MAIL]}": "2032-12-31"})
    pass_days(settings, wished, 32)
    for address in ("/sharing", here):
        shown = words(browser.get(address).text)
        assert "They are late. They have not said that they deleted Full name" in shown
        assert "because the law makes them keep their accounts and tax papers" in shown
    assert "Late They have not said that they deleted it." in words(browser.get(f"{here}/receipt").text)
    assert "Late with deleting" in browser.get("/home").text
    staff.send(place(wished), answer_0="deleted", answer_1="deleted")
    assert "They said on" in words(browser.get("/sharing").text)
    assert "Late with deleting" not in browser.get("/home").text
    told = words(browser.get(here).text)
    assert "Said that they deleted: Full name, Email address" in told
    assert "Said that they must keep: Email address" in told


def test_every_answer_stands_in_the_log_and_in_the_receipt(
    browser: Browser, staff: Browser, wished: Grant, settings: Settings
) -> None:
    sure(staff, staff.send(place(wished), act="all"))
    assert "They said that they deleted it" in browser.get("/activity").text
    with db.transaction(settings.database_url) as session:
        kept = queries.versions(session, person_id=wished.person_id, grant_id=wished.grant_id)
    assert (kept[-1].step, kept[-1].actor) == ("deletion-confirmed", "company")
    assert "deletion-confirmed" in browser.get(f"/sharing/{wished.grant_id}/receipt.json").text


def test_companies_are_written_to_a_week_before_and_when_it_is_late(
    wished: Grant, lasting: Offer, settings: Settings
) -> None:
    def written() -> list[str]:
        with db.transaction(settings.database_url) as session:
            deletion_letters.write_due(session, now=db.now())
            mine = select(CompanyLetter.kind).where(CompanyLetter.client_id == lasting.client_id)
            return sorted(session.scalars(mine))

    assert written() == []
    pass_days(settings, wished, 24)
    assert written() == written() == ["deletion_due"]
    pass_days(settings, wished, 10)
    assert written() == written() == ["deletion_due", "deletion_overdue"]


@pytest.mark.parametrize(
    ("kind", "days", "said"),
    [("deletion_due", 25, "2 details are due within a week"), ("deletion_overdue", 31, "passed for 2 details")],
)
def test_a_letter_names_numbers_and_nobody(
    wished: Grant, lasting: Offer, settings: Settings, *, kind: str, days: int, said: str
) -> None:
    pass_days(settings, wished, days)
    with db.transaction(settings.database_url) as session:
        row: Any = CompanyLetter(client_id=lasting.client_id, kind=kind)
        told = deletion_letters.words(session, row, config.current())
    assert told is not None
    subject, body = mail.compose(told.template, service_name="Portal", url="https://portal.example", **told.values)
    assert said in body
    assert lasting.name in subject
    assert "Zenobia" not in body


def test_a_letter_about_what_is_settled_meanwhile_is_not_sent(wished: Grant, lasting: Offer, staff: Browser) -> None:
    sure(staff, staff.send(place(wished), act="all"))
    with db.transaction(config.current().database_url) as session:
        row: Any = CompanyLetter(client_id=lasting.client_id, kind="deletion_overdue")
        assert deletion_letters.words(session, row, config.current()) is None


def test_what_was_only_asked_for_is_not_to_be_deleted(session: Session, offer: Offer) -> None:
    held = offer.give(session, uuid4(), attributes=[NAME])
    used(session, held)
    services.withdraw(session, person_id=held.person_id, grant_id=held.grant_id, now=db.now(), erase=True, shown={})
    found = deletions.of_grant(session, person_id=held.person_id, grant_id=held.grant_id)
    assert [row.attribute for row in found] == [NAME]

"""The pages of a question: its person's, the company's and an operator's, and nobody else's."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import update

from portal import db
from portal.companies import services as companies
from portal.consent import services as consent
from portal.disputes import answers_web, decisions_web, rules
from portal.disputes.models import Dispute
from portal.identity import levels
from portal.identity.models import BrowserSession, Operator
from portal.ledger import queries as ledger
from tests.consent.browser import Browser
from tests.disputes.asking import WORDS, Asker

if TYPE_CHECKING:
    from uuid import UUID

    from flask import Flask
    from werkzeug.test import TestResponse

    from portal.config import Settings
    from portal.vault.keyring import Keyring

RECORD = {"name.full": "Zenobia Quill", "email.main": "zenobia@example.org"}


@dataclass
class Three:
    """The person, somebody at the company and an operator, each at a browser of their own."""

    asker: Asker
    person: Browser
    staff: Browser
    operator: Browser


@pytest.fixture
def three(app: Flask, settings: Settings, keys: Keyring) -> Three:
    person, staff, operator = (Browser(app, settings, keys, RECORD) for _ in range(3))
    asker = Asker(settings, keys, person.person_id)
    hire = partial(companies.add_staff, company_id=asker.offer.company_id, person_id=staff.person_id)
    asker.transact(hire)
    asker.transact(lambda session: session.add(Operator(person_id=operator.person_id, added_at=db.now())))
    theirs = update(BrowserSession).where(BrowserSession.person_id == operator.person_id)
    asker.transact(lambda session: session.execute(theirs.values(level=levels.TWO_PROOFS)))
    return Three(asker, person, staff, operator)


def text(answer: TestResponse) -> str:
    return html.unescape(answer.text)


def test_from_the_row_to_the_decision(three: Three) -> None:
    asker, entry = three.asker, three.asker.row()
    mine, theirs, ours = (
        f"{place}/{entry.disclosure_id}" for place in ("/activity", "/org/questions", "/ops/questions")
    )
    assert f'href="{mine}/question"' in three.person.get("/activity").text
    asked = three.person.send(f"{mine}/question", choice="not-known", words=WORDS, pause="y")
    assert (asked.status_code, asked.location) == (303, f"{mine}/question")
    page = text(three.person.get(f"{mine}/question"))
    assert WORDS in page
    assert "I do not know this organisation" in page
    assert "10 days left" in page
    assert "is paused" in page
    assert "You asked, no answer yet" in text(three.person.get("/activity"))

    assert "A question of a person waits for you: 10 days left" in text(three.staff.get("/org"))
    assert str(entry.disclosure_id) in three.staff.get("/org/questions").text
    page = text(three.staff.get(theirs))
    assert WORDS in page
    assert "name.full" in page
    for value in RECORD.values():
        assert value not in page
    assert str(three.person.person_id) not in page
    assert three.staff.send(theirs, explanation="Your bill.\nOf May.").status_code == 303
    assert "Send" not in three.staff.get(theirs).text

    assert "Answers for you" in three.person.get("/home").text
    page = text(three.person.get(f"{mine}/question"))
    assert "Your bill.\nOf May." in page
    assert "Does that settle it?" in page
    assert three.person.send(f"{mine}/question/look-into", words="I have no bill.").status_code == 303
    assert "Answers for you" not in three.person.get("/home").text

    assert "not settled" in text(three.operator.get("/ops"))
    assert asker.held(entry.disclosure_id).state == rules.ESCALATED
    page = text(three.operator.get(ours))
    for words in (WORDS, "Your bill.", "I have no bill.", asker.offer.name, "version 1: given by person", "Share?"):
        assert words in page, words
    for value in RECORD.values():
        assert value not in page
    decided = three.operator.send(ours, decision=rules.MEND, days="7", reason="Say which bill.")
    assert decided.status_code == 303

    for browser, place in ((three.person, f"{mine}/question"), (three.staff, theirs)):
        page = text(browser.get(place))
        assert "Say which bill." in page
        assert "must mend" in page
    three.staff.send(theirs, explanation="There was none. We deleted it.")
    assert three.person.send(f"{mine}/question/settled").status_code == 303
    assert "Settled" in text(three.person.get("/activity/questions"))
    for place in (f"{mine}/question", mine):
        assert "There was none." in text(three.person.get(place)), "it stays beside the line"


def test_asking_again_leads_to_the_first_question(three: Three) -> None:
    row = three.asker.ask()
    again = three.person.send(f"/activity/{row}/question", words=WORDS)
    assert again.status_code == 303
    assert three.asker.steps(row) == [("asked", "person")]


def test_who_asks_again_in_other_words_reads_that_these_were_not_sent_and_pauses(three: Three) -> None:
    row = three.asker.ask()
    again = three.person.send(f"/activity/{row}/question", words="Again, and otherwise.", pause="y")
    assert again.status_code == 409
    page = text(again)
    for words in (WORDS, "You asked about this already.", "What you wrote was not sent", "Again, and otherwise."):
        assert words in page
    assert "is paused." in page
    assert three.asker.steps(row) == [("asked", "person")]


def test_who_asks_again_only_to_pause_pauses(three: Three) -> None:
    row = three.asker.ask()
    assert three.person.send(f"/activity/{row}/question", words=WORDS, pause="y").status_code == 303
    assert "is paused." in text(three.person.get(f"/activity/{row}/question"))


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({}, "Say what surprises you."), ({"words": " \u200b "}, "Say what surprises you."),
        ({"words": "x" * 2001}, "What you write must be 2000 characters or fewer."),
        ({"words": "a\x07"}, "hidden control character"),
        ({"words": "Fine.", "choice": "made-up"}, "Not a valid choice"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_and_what_was_typed_stays(three: Three, fields: dict[str, str], sentence: str) -> None:
    entry = three.asker.row()
    filled: dict[str, Any] = {"choice": "else", "pause": "y"} | fields
    answer = three.person.send(f"/activity/{entry.disclosure_id}/question", **filled)
    assert answer.status_code == 422
    page = text(answer)
    assert "<title>Error: " in page
    assert sentence in page
    assert fields.get("words", "").strip() in page
    assert 'name="pause" type="checkbox" value="y"' in page
    assert "checked" in page


def test_pausing_is_offered_where_something_is_shared(three: Three) -> None:
    address = f"/activity/{three.asker.row().disclosure_id}/question"
    assert "Pause sharing with" in three.person.get(address).text
    mine = {"person_id": three.person.person_id, "company_id": three.asker.offer.company_id}
    three.asker.transact(lambda session: consent.pause_with(session, **mine))
    assert "Pause sharing with" not in three.person.get(address).text


def test_too_many_open_ones_are_said_plainly_and_the_words_kept(three: Three) -> None:
    for _ in range(rules.MOST_OPEN):
        three.asker.ask()
    entry = three.asker.row()
    answer = three.person.send(f"/activity/{entry.disclosure_id}/question", words="One more.")
    assert answer.status_code == 429
    assert "You have 10 questions open" in text(answer)
    assert "One more." in text(answer)


def test_who_is_second_of_two_answers_still_reads_what_they_wrote(three: Three) -> None:
    row = three.asker.ask()
    three.asker.answer(row, "The first.")
    answer = three.staff.send(f"/org/questions/{row}", explanation="The second, long and careful.")
    assert answer.status_code == 409
    page = text(answer)
    assert "The first." in page
    assert "What you wrote was not sent" in page
    assert "The second, long and careful." in page
    assert three.asker.steps(row)[1:] == [("answered", "company")]


def test_an_objection_too_late_is_refused(three: Three) -> None:
    row = three.asker.ask()
    assert three.person.send(f"/activity/{row}/question/look-into", words="").status_code == 409
    three.asker.answer(row)
    three.asker.settle(row)
    late = three.person.send(f"/activity/{row}/question/look-into", words="It was not I.")
    assert late.status_code == 409
    assert "This question is settled already." in text(late)
    assert "It was not I." in text(late)


def test_an_objection_to_what_is_with_the_operator_already_says_so(three: Three) -> None:
    row = three.asker.ask()
    three.asker.answer(row)
    for words, status in (("The first.", 303), ("The first.", 303), ("The second.", 409)):
        answer = three.person.send(f"/activity/{row}/question/look-into", words=words)
        assert answer.status_code == status
    assert "What you wrote was not sent" in text(answer)
    assert "The second." in text(answer)


def test_a_decision_too_late_is_still_there_to_be_read(three: Three) -> None:
    row = three.asker.with_operator()
    three.operator.send(f"/ops/questions/{row}", decision=rules.UNFOUNDED, reason="The first.")
    late = three.operator.send(f"/ops/questions/{row}", decision=rules.UNFOUNDED, reason="The second, with care.")
    assert late.status_code == 409
    assert "What you wrote was not sent" in text(late)
    assert "The second, with care." in text(late)


@pytest.mark.parametrize("path", ["/activity/{}/question", "/org/questions/{}", "/ops/questions/{}"])
def test_nobody_else_finds_it(app: Flask, settings: Settings, keys: Keyring, three: Three, path: str) -> None:
    row = three.asker.with_operator()
    stranger, other = Browser(app, settings, keys, RECORD), Asker(settings, keys)
    hire = partial(companies.add_staff, company_id=other.offer.company_id, person_id=stranger.person_id)
    three.asker.transact(hire)
    owner = {"/a": three.person, "/o": three.staff}.get(path[:2]) if not path.startswith("/ops") else three.operator
    for browser in (three.person, three.staff, three.operator, stranger):
        answer = browser.get(path.format(row))
        if browser is owner:
            assert answer.status_code == 200
        else:
            assert answer.status_code in {303, 404}
            assert WORDS not in answer.text


def test_an_organisation_that_they_never_heard_of_is_asked_too(three: Three, settings: Settings, keys: Keyring) -> None:
    unknown = Asker(settings, keys, three.person.person_id, shares=False)
    hire = partial(companies.add_staff, company_id=unknown.offer.company_id, person_id=three.operator.person_id)
    unknown.transact(hire)
    entry = unknown.row(outcome="denied", reason="consent-absent", given={})
    address = f"/activity/{entry.disclosure_id}/question"
    page = text(three.person.get(address))
    assert "Refused: you have not shared this with them" in page
    assert "Pause sharing" not in page
    three.person.send(address, choice="not-known", words="Who are you?", pause="y")
    page = text(three.operator.get(f"/org/questions/{entry.disclosure_id}"))
    assert "not known to you" in page
    assert "denied (consent-absent)" in page
    assert three.operator.send(f"/org/questions/{entry.disclosure_id}", explanation="A mistake.").status_code == 303
    assert "A mistake." in text(three.person.get(address))


def test_a_look_by_an_operator_is_put_to_operators(three: Three) -> None:
    entry = three.asker.row(channel="operator", asked=[], given={})
    address = f"/activity/{entry.disclosure_id}/question"
    assert "somebody of ours" in text(three.person.get(address))
    three.person.send(address, words="Who was that?")
    assert "We are looking into it" in text(three.person.get(address))
    assert str(entry.disclosure_id) not in three.staff.get("/org/questions").text
    page = three.operator.get(f"/ops/questions/{entry.disclosure_id}").text
    assert "Explain it" in page
    assert "Suspend the app" not in page
    decided = f"/ops/questions/{entry.disclosure_id}"
    assert three.operator.send(decided, decision=rules.SUSPEND, days="7", reason="No.").status_code == 422
    assert three.operator.send(decided, decision=rules.UNFOUNDED, days="7", reason="I looked.").status_code == 303
    assert "I looked." in text(three.person.get(address))


def test_a_question_about_a_repeat_is_marked_at_the_line_that_stands_for_it(three: Three) -> None:
    at = db.now().replace(hour=12)
    older, newer = (three.asker.row(at=at.replace(minute=minute)) for minute in (1, 2))
    three.asker.ask(older)
    page = text(three.person.get("/activity"))
    assert f'href="/activity/{newer.disclosure_id}/question">I don’t recognise this' in page
    assert f'href="/activity/{older.disclosure_id}/question">You asked, no answer yet' in page


def test_who_reads_it_stands_in_the_activity(three: Three) -> None:
    row = three.asker.with_operator()
    # Not by opening the page, but by sending it nonsense.
    assert three.staff.send(f"/org/questions/{row}").status_code == 422
    assert three.operator.send(f"/ops/questions/{row}").status_code == 422
    found = three.asker.transact(partial(ledger.of_person, person_id=three.person.person_id))
    assert {one.channel for one in found} >= {"staff", "operator"}
    activity = text(three.person.get("/activity"))
    assert "To read your question and answer it" in activity
    assert "To decide about your question" in activity


def test_the_operator_suspends_and_lifts(three: Three) -> None:
    row = three.asker.with_operator()
    address = f"/ops/questions/{row}"
    three.operator.send(address, decision=rules.SUSPEND, days="7", reason="Nobody asked for this.")
    assert "the app was suspended" in three.operator.get("/ops/questions").text
    assert "Lift the suspension" in three.operator.get(address).text
    three.operator.send(f"{address}/lift")
    assert "Lift the suspension" not in three.operator.get(address).text


def test_the_company_list_turns_its_pages(three: Three) -> None:
    rows: list[UUID] = []
    for _ in range(12):
        rows.append(three.asker.ask())
        three.asker.answer(rows[-1])
        three.asker.settle(rows[-1])
    waiting = three.asker.ask()
    page = three.staff.get("/org/questions").text
    assert all(str(row) in page for row in (*rows, waiting))


def turned(browser: Browser, place: str, words: str) -> list[str]:
    """Follow the link with these words as far as it leads; return the questions of the list it continues, in order."""
    pages, at = [], place
    while at:
        pages.append(text(browser.get(at)))
        link = re.search(rf'href="([^"]+)">{words}<', pages[-1])
        at = link.group(1) if link else ""
    return re.findall(rf'href="{place}/([0-9a-f-]{{36}})"', "".join(pages))


def test_lists_go_on_where_they_stopped(three: Three, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each question is on one page, whichever list is turned, and however many bear the same moment."""
    asker, now = three.asker, db.now()
    for module in (answers_web, decisions_web):
        monkeypatch.setattr(module, "_PAGE", 2)
    others = update(Dispute).values(state=rules.SETTLED, look_at=None, due_at=None, letter_at=None)
    asker.transact(lambda session: session.execute(others))
    escalated, waiting = [asker.with_operator() for _ in range(3)], [asker.ask() for _ in range(3)]
    decided = [asker.with_operator() for _ in range(3)]
    for row in decided:
        asker.decide(row, rules.UNFOUNDED)
    mine = update(Dispute).where(Dispute.person_id == asker.person_id)
    asker.transact(lambda session: session.execute(mine.values(changed_at=now, opened_at=now)))
    asker.transact(lambda session: session.execute(mine.where(Dispute.due_at.is_not(None)).values(due_at=now)))
    first_open, older = sorted(map(str, decided))[:0:-1], [str(row) for row in sorted(decided, reverse=True)]
    for browser, place, onward in (
        (three.operator, "/ops/questions", sorted(escalated)),
        (three.staff, "/org/questions", [*sorted(waiting), *sorted(escalated)]),
    ):
        # The first page has the beginning of both lists.
        found = turned(browser, place, "Show more")
        assert [row for row in found if row not in older] == [str(row) for row in onward]
        assert [row for row in found if row in older] == first_open
        assert [row for row in turned(browser, place, "Show older") if row in older] == older


@pytest.mark.parametrize("query", ["after", "before"])
@pytest.mark.parametrize("place", ["/ops/questions", "/org/questions", "/ops/purposes"])
def test_the_end_of_a_list_leads_back(three: Three, place: str, query: str) -> None:
    browser = three.staff if place.startswith("/org") else three.operator
    moment = {"after": "9999-01-01T00:00:00+00:00", "before": "2001-01-01T00:00:00+00:00"}[query]
    page = text(browser.get(place, query_string={query: f"{moment}~{three.person.person_id}"}))
    assert "There are no more." in page or place == "/org/questions"
    assert f'<a href="{place}">Back to the first page' in page
    assert browser.get(place, query_string={query: "yesterday"}).status_code == 422

"""Activity in the browser: a person's own rows, in plain words, narrowed and paged by plain forms and links."""

from __future__ import annotations

import html
import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from portal import db
from portal.ledger import refusals, services
from portal.ledger.services import NewDisclosure, NewOutcome

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from portal.config import Settings
    from tests.consent.browser import Browser

NOW = db.now()


@pytest.fixture
def log(settings: Settings) -> Callable[..., NewDisclosure]:
    """Log one row about somebody, and what became of it."""

    def make(
        person_id: UUID,
        company: str = "Brightwell",
        *,
        became: str = "",
        at: datetime = NOW,
        **members: Any,  # noqa: ANN401 - columns
    ) -> NewDisclosure:
        facts = {"channel": "push", "outcome": "sending", "asked": ["name.full"], "given": {"name.full": 1}}
        with db.transaction(settings.database_url) as session:
            services.open_months(session, now=at)
            context_id = services.context(
                session,
                company_id=members.pop("company_id", uuid4()),
                client_id="c",
                company_name=company,
                purpose="send bills",
            )
            row = NewDisclosure(person_id=person_id, at=at, context_id=context_id, **(facts | members))
            services.record(session, row)
            if became:
                outcome = NewOutcome(
                    person_id=person_id,
                    at=at,
                    disclosure_id=row.disclosure_id,
                    outcome=became,
                    detail="HTTP 202",
                    milliseconds=9,
                )
                services.report(session, outcome, now=NOW)
        return row

    return make


def cells(page: str) -> list[dict[str, str]]:
    rows = re.findall(r'<tr role="row"[^>]*>\s*(<td.*?)</tr>', page, re.DOTALL)
    found = [re.findall(r'data-h="([^"]+)">(.*?)</td>', row, re.DOTALL) for row in rows]
    return [{head: html.unescape(re.sub(r"<[^>]+>", "", text)).strip() for head, text in row} for row in found]


def said(row: dict[str, str]) -> str:
    """Return a row's outcome, without what may be done about it."""
    return row["Outcome"].partition("I don")[0]


def test_each_row_says_who_what_why_how_and_what_became_of_it(
    browser: Browser, log: Callable[..., NewDisclosure]
) -> None:
    log(browser.person_id, became="completed")
    log(browser.person_id, "Library", at=NOW - timedelta(seconds=1), channel="pull", outcome="denied", given={},
        reason="consent-withdrawn")  # fmt: skip
    log(browser.person_id, at=NOW - timedelta(seconds=2), became="failed", given={"email.main": 2, "phone.mobile": 1})
    log(uuid4(), "Somebody Else's Gym")
    first, second, third = cells(browser.get("/activity").text)
    assert (first["Who"], first["Which"], first["Why"]) == ("Brightwell", "Full name", "To send bills")
    assert (first["How"], said(first)) == ("Kept up to date", "Received")
    assert (second["How"], said(second)) == ("They asked", "Refused: you stopped sharing")
    assert (third["Which"], said(third)) == ("Email address, Mobile phone number", "Not accepted")


def test_one_row_in_full_is_only_for_its_person(browser: Browser, log: Callable[..., NewDisclosure]) -> None:
    mine, theirs = log(browser.person_id, became="completed", sealed_to=["enc-7"]), log(uuid4())
    text = browser.get(f"/activity/{mine.disclosure_id}").text
    assert all(words in text for words in ("Brightwell", "Full name", "To send bills", "Received", "enc-7"))
    assert browser.get(f"/activity/{theirs.disclosure_id}").status_code == 404


def test_filters_and_months(browser: Browser, log: Callable[..., NewDisclosure]) -> None:
    company_id, earlier = uuid4(), NOW - timedelta(days=62)
    log(browser.person_id, "Library", company_id=company_id)
    log(browser.person_id, "Gym", at=earlier)
    assert [row["Who"] for row in cells(browser.get(f"/activity?organisation={company_id}").text)] == ["Library"]
    page = browser.get(f"/activity?month={earlier:%Y-%m}").text
    assert [row["Who"] for row in cells(page)] == ["Gym"]
    assert f'value="{earlier:%Y-%m}" selected' in page
    assert "Nothing matches" in browser.get("/activity?month=2001-01").text


@pytest.mark.parametrize("query", ["month=soon", "month=2026-13", "organisation=x", "before=x", "before=2026-01-01~x"])
def test_a_filter_that_makes_no_sense_is_said_so(browser: Browser, query: str) -> None:
    assert browser.get(f"/activity?{query}").status_code == 422


def test_older_rows_follow_by_a_link(browser: Browser, log: Callable[..., NewDisclosure], settings: Settings) -> None:
    first = log(browser.person_id)
    rows = [
        NewDisclosure(
            person_id=browser.person_id, at=NOW - timedelta(seconds=n), context_id=first.context_id, channel="push",
            outcome="sending", asked=["name.full"], given={"name.full": 1},
        )
        for n in range(1, 60)
    ]  # fmt: skip
    with db.transaction(settings.database_url) as session:
        services.record(session, *rows)
    page = browser.get("/activity").text
    assert len(cells(page)) == 50
    link = re.search(r'href="(/activity\?before=[^"]+)"', page)
    assert link
    older = browser.get(html.unescape(link.group(1))).text
    assert len(cells(older)) == 10
    assert "Show older" not in older


def test_nobody_yet_says_so(browser: Browser) -> None:
    assert "Nobody has used your details yet" in browser.get("/activity").text


def test_where_refusals_have_an_end_the_page_says_so(browser: Browser, log: Callable[..., NewDisclosure]) -> None:
    refused: dict[str, Any] = {"channel": "pull", "outcome": "denied", "given": {}, "reason": "consent-withdrawn"}
    company_id = uuid4()
    for ago in range(refusals.MOST_A_DAY + 1, 0, -1):
        last = log(browser.person_id, at=NOW - timedelta(seconds=ago), company_id=company_id, **refused)
        if ago == 3:
            assert "not be listed" not in browser.get("/activity").text
    [only] = cells(browser.get("/activity").text)
    words = "Refused tries that came within a day after this one may not be listed."
    # The hundred-and-first of this day was not written down.
    assert said(only) == f"Refused: you stopped sharing{words}"
    assert f"{refusals.MOST_A_DAY} times that day" in only["When"]
    assert browser.get(f"/activity/{last.disclosure_id}").status_code == 404

"""Activity in Chromium: in every width and colour, by keyboard alone, with scripts and without."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from playwright.sync_api import expect

from portal import db
from portal.ledger import first_uses
from tests.journeys import browser as browsers
from tests.journeys.test_accessibility import LOOKS
from tests.ledger.log_site import Site
from tests.ledger.test_activity import NOON, pulls

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

    from portal.config import Settings
    from portal.vault.keyring import Keyring
    from tests.ledger.log_place import Place


@pytest.fixture
def site(place: Place, settings: Settings, keys: Keyring, tmp_path: Path) -> Iterator[Site]:
    """Everything that a list can show: repeats in a burst, a first use, a refusal, a look, and a step of one's own."""
    made = Site(place, settings, keys, tmp_path)
    pulls(made, *(NOON + timedelta(minutes=n) for n in range(12)), grant_id=uuid4(), grant_version=2)
    pulls(made, NOON - timedelta(hours=3), asked=["name.full", "email.main"])
    pulls(made, NOON - timedelta(days=2), outcome="denied", given={}, reason="consent-paused", company=uuid4())
    pulls(made, NOON - timedelta(days=2, hours=1), channel="staff", asked=[], given={}, reason="developer")
    pulls(made, NOON - timedelta(days=34), channel="consent", reason="given", given={})
    with db.transaction(place.url) as session:
        first_uses.look(session)
    made.publish()
    with made.served():
        yield made


def check(page: Page) -> None:
    page.get_by_role("button", name="Check my log").click()
    expect(page.locator("#log-check-result .note").first).to_be_visible(timeout=30_000)


def wrong(page: Page) -> dict[object, list[str]]:
    """Return what is wrong with the page as it is, in each width and colour."""
    found: dict[object, list[str]] = {}
    for width, scheme in LOOKS:
        browsers.change(page, width=width, scheme=scheme)
        if problems := browsers.problems(page):
            found[page.url, width, scheme] = problems
    return found


def test_every_page_of_the_log_can_be_read_by_everybody(site: Site, chromium: Browser) -> None:
    with site.window(chromium) as page:
        page.goto(f"{site.url}/activity?own=1")
        check(page)
        assert wrong(page) == {}
        for words in (
            "More often than usual: 13 times",
            "First time they got any of your details",
            "12 times that day",
        ):
            expect(page.get_by_text(words).first).to_be_visible()
        page.locator("#activity-rows tbody tr a").first.click()
        assert wrong(page) == {}
        page.goto(f"{site.url}/activity/how-the-log-is-kept")
        expect(page.get_by_role("img", name="From your rows to one signed seal")).to_be_visible()
        assert wrong(page) == {}
        site.place.as_owner("UPDATE disclosure SET message_id = 'x'", "DELETE FROM disclosure WHERE outcome = 'denied'")
        page.goto(f"{site.url}/activity")
        check(page)
        expect(page.locator("#activity-rows .log-mark").first).to_be_visible()
        assert wrong(page) == {}


def test_the_check_is_done_by_keyboard_alone(site: Site, chromium: Browser) -> None:
    with site.window(chromium) as page:
        page.goto(f"{site.url}/activity#check")
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.id") == "log-check-start":
                break
        page.keyboard.press("Enter")
        expect(page.locator("#log-check-result")).to_contain_text("Nothing was changed, removed or moved")
        assert page.locator("#log-check-result").get_attribute("role") == "status"


@pytest.mark.parametrize("scripts", [True, False], ids=["with-javascript", "without-javascript"])
def test_the_list_is_narrowed_and_a_repeat_opened(site: Site, chromium: Browser, *, scripts: bool) -> None:
    with site.window(chromium, scripts=scripts) as page:
        page.goto(f"{site.url}/activity")
        page.get_by_label("Detail").select_option(label="Email address")
        page.get_by_role("button", name="Show").click()
        expect(page.locator("#activity-rows tbody tr")).to_have_count(1)
        expect(page).to_have_url(re.compile("detail=email.main"))
        expect(page.get_by_label("Detail")).to_have_value("email.main")
        expect(page.get_by_role("link", name="Table for a spreadsheet")).to_have_attribute(
            "href", re.compile("detail=email.main")
        )
        page.get_by_role("link", name="Clear what is chosen").click()
        page.get_by_text("12 times that day").click()
        page.locator("details[open] li a").nth(3).click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Gym")


def test_rows_that_come_later_are_marked_too(site: Site, chromium: Browser) -> None:
    site.place.as_owner("UPDATE disclosure SET message_id = 'x' WHERE outcome = 'denied'")
    with site.window(chromium) as page:
        page.goto(f"{site.url}/activity?detail=email.main")
        check(page)
        expect(page.locator("#activity-rows .log-mark")).to_have_count(0)
        page.get_by_label("Detail").select_option(label="All details")
        page.get_by_role("button", name="Show").click()
        expect(page.locator("#activity-rows .log-mark")).to_have_text("Changed: this is not what the log has")

"""Every page of the story: nothing for axe to say at 1280 and 320 px, light and dark, and no sideways scrolling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.journeys import browser as browsers
from tests.journeys.steps import BRIGHTWELL, World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

    from tests.journeys.browser import Scheme
    from tests.journeys.program import Demo

PUBLIC = ("/", "/help", "/how-it-works", "/privacy", "/accessibility", "/organisations", "/account/sign-in",
          "/account/create", "/docs/companies", "/docs/companies/streams", "/docs/errors", "/nothing-here",
          "/oauth/end-session")  # fmt: skip
PERSON = ("/home", "/details", "/details/address.home/edit", "/details/birth.date/edit", "/details/email.main/edit",
          "/details/language.preferred/edit", "/details/contact.channel/edit", "/details/history",
          "/details/address.home/history", "/sharing", "/sharing?view=detail", "/sharing/by-detail/address.home",
          "/sharing/check", "/sharing/freeze", "/sharing/requests", "/activity", "/activity/questions",
          "/account/security", "/account/password", "/account/confirm-it-is-you", "/org", "/org/join",
          "/oauth/end-session")  # fmt: skip
OF_AN_APP = ("/keys", "/keys/address", "/settings", "/purposes/new")
STAFF = ("/org", "/org/apps", "/org/apps/new", "/org/deliveries", "/org/consents", "/org/deletions", "/org/questions",
         "/org/registration-tokens")  # fmt: skip
COMPANY = ("/", "/connect", "/declined", "/callback?state=made-up")


LOOKS: list[tuple[int, Scheme]] = [(1280, "light"), (1280, "dark"), (320, "dark"), (320, "light")]


@pytest.fixture(params=LOOKS, ids=lambda given: f"{given[0]}-{given[1]}")
def look(request: pytest.FixtureRequest) -> tuple[int, Scheme]:
    width, scheme = request.param
    return width, scheme


@pytest.fixture
def page(demo: Demo, chromium: Browser, look: tuple[int, Scheme]) -> Iterator[Page]:
    assert demo.process.poll() is None
    with browsers.window(chromium, width=look[0], scheme=look[1]) as opened:
        yield opened


@pytest.fixture
def any_page(demo: Demo, chromium: Browser) -> Iterator[Page]:
    """A page that `check` looks at in every width and colour scheme."""
    assert demo.process.poll() is None
    with browsers.window(chromium) as opened:
        yield opened


def check(page: Page, *addresses: str) -> None:
    """Visit each address and gather what is wrong on all of them, so that one run shows everything."""
    wrong = {}
    for address in addresses:
        page.goto(address)
        for width, scheme in LOOKS:
            browsers.change(page, width=width, scheme=scheme)
            if found := browsers.problems(page):
                wrong[address, width, scheme] = found
    assert wrong == {}


def signed_in(demo: Demo, page: Page, facts: dict[str, Any]) -> Page:
    World(demo, lambda: page).stranger(facts).sign_in()
    return page


def aoife(demo: Demo) -> dict[str, Any]:
    return next(one for one in demo.report["people"] if one["email"].startswith("aoife@"))


def test_pages_for_everybody(demo: Demo, any_page: Page) -> None:
    check(any_page, *(demo.portal + path for path in PUBLIC))


def test_pages_of_a_person(demo: Demo, any_page: Page) -> None:
    signed_in(demo, any_page, aoife(demo))
    check(any_page, *(demo.portal + path for path in PERSON))


def test_pages_about_one_organisation_and_one_use(demo: Demo, any_page: Page) -> None:
    signed_in(demo, any_page, aoife(demo))
    any_page.goto(demo.portal + "/sharing")
    agreement = any_page.locator("article.card h2 a").first.get_attribute("href") or ""
    any_page.goto(demo.portal + "/activity")
    entry = any_page.locator("tbody tr a").first.get_attribute("href") or ""
    paths = (agreement, f"{agreement}/change", f"{agreement}/stop", f"{agreement}/receipt", entry)
    check(any_page, *(demo.portal + path for path in paths))


def test_forms_with_something_wrong(demo: Demo, page: Page) -> None:
    signed_in(demo, page, aoife(demo))
    page.goto(demo.portal + "/details/birth.date/edit")
    page.get_by_label("Day").fill("31")
    page.get_by_label("Month").fill("2")
    page.get_by_role("button", name="Save").click()
    page.wait_for_selector("[aria-invalid=true]")
    assert browsers.problems(page) == []
    page.goto(demo.portal + "/org/join")
    page.get_by_role("button", name="Register this organisation").click()
    page.wait_for_selector("[aria-invalid=true]")
    assert browsers.problems(page) == []


def test_pages_of_staff(demo: Demo, any_page: Page) -> None:
    signed_in(demo, any_page, demo.report["staff"])
    any_page.goto(demo.portal + "/org/apps")
    app = any_page.get_by_role("main").get_by_role("link", name="Customer accounts").first.get_attribute("href") or ""
    check(any_page, *(demo.portal + path for path in (*STAFF, app, *(app + end for end in OF_AN_APP))))


def test_pages_about_one_endpoint_and_one_message(demo: Demo, any_page: Page) -> None:
    signed_in(demo, any_page, demo.report["staff"])
    any_page.goto(demo.portal + "/org/deliveries")
    message = any_page.locator("tbody a").first.get_attribute("href") or ""
    endpoint = any_page.get_by_role("link", name="See how it does").first.get_attribute("href") or ""
    lists = (f"/org/deliveries?{query}" for query in ("result=waiting", "result=failed", "first=never"))
    paths = (message, endpoint, f"{endpoint}/replay", f"{endpoint}/replay?scope=missing&since=2026-03-05", *lists)
    check(any_page, *(demo.portal + path for path in paths))
    any_page.goto(demo.portal + f"{endpoint}/replay?scope=failed&since=2026-03-05")
    assert any_page.get_by_text("would be sent again").is_visible()


def test_pages_of_the_company(demo: Demo, any_page: Page) -> None:
    check(any_page, *(demo.company + path for path in COMPANY))


def test_the_question_before_sharing(demo: Demo, page: Page) -> None:
    facts = next(one for one in demo.report["people"] if one["email"].startswith("tomas@"))
    page.goto(demo.company + "/connect")
    page.get_by_role("button", name="Connect your details").click()
    World(demo, lambda: page).stranger(facts).fill_in_sign_in()
    page.get_by_role("heading", name=BRIGHTWELL, level=1).wait_for()
    assert browsers.problems(page) == []
    answers = page.locator(".answers .btn").all()
    assert len({(box["width"], box["height"]) for box in (answer.bounding_box() for answer in answers) if box}) == 1
    page.get_by_role("button", name="Do not share").scroll_into_view_if_needed()
    assert page.get_by_role("button", name="Do not share").is_visible()

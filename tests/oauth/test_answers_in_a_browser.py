"""The consent screen's answers in a real browser: 320 px wide, by keyboard alone, and with axe."""

from __future__ import annotations

import socket
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe
from werkzeug.serving import make_server

from portal import db
from portal.app import create_app
from portal.consent import queries
from tests.oauth.conftest import make_person

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

    from portal.config import Settings
    from portal.vault.keyring import Keyring
    from tests.oauth.conftest import Person
    from tests.oauth.rp import RelyingParty


@pytest.fixture
def site(settings: Settings) -> Iterator[Settings]:
    """The portal on a loopback port of its own, as its people reach it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mine = replace(settings, url=f"http://localhost:{port}")
    server = make_server("127.0.0.1", port, create_app(mine), threaded=True)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    yield mine
    server.shutdown()
    serving.join()
    server.server_close()


@pytest.fixture
def reader(site: Settings, keys: Keyring) -> Person:
    return make_person(create_app(site), site, keys)


@pytest.fixture
def page(site: Settings, reader: Person, chromium: Browser) -> Iterator[Page]:
    cookie = reader.browser.get_cookie("session")
    assert cookie
    context = chromium.new_context(viewport={"width": 320, "height": 700}, bypass_csp=True)
    context.add_cookies([{"name": "session", "value": cookie.value, "url": site.url}])
    yield context.new_page()
    context.close()


def press(page: Page, name: str) -> None:
    """By keyboard alone."""
    page.get_by_role("button", name=name, exact=True).focus()
    page.keyboard.press("Enter")


def fits(page: Page) -> None:
    """Hold that nothing is wider than the window, and that axe finds nothing."""
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_an_offer_by_keyboard(site: Settings, page: Page, rp: RelyingParty, reader: Person) -> None:
    page.goto(site.url + rp.address(rp.push()))
    boxes = [page.get_by_role("button", name=name).bounding_box() for name in ("Share these details", "Do not share")]
    share, decline = (box and (box["width"], box["height"]) for box in boxes)
    assert share == decline
    colours = (
        "buttons => buttons.map(one => [getComputedStyle(one).color, getComputedStyle(one).backgroundColor].join())"
    )
    assert len(set(page.locator(".answers button").evaluate_all(colours))) == 1
    page.get_by_text("Other answers").focus()
    page.keyboard.press("Enter")
    fits(page)
    press(page, "Offer them less")
    page.get_by_role("button", name="Send this offer").wait_for()
    assert page.locator("input:checked").count() == 0
    fits(page)
    press(page, "Send this offer")
    page.get_by_role("alert").wait_for()
    assert page.title().startswith("Error: ")
    fits(page)
    for label in ("Email address", "When they ask: they see what is there at that moment"):
        page.get_by_label(label).focus()
        page.keyboard.press("Space")
    page.get_by_label("For how long", exact=True).select_option("1 month")
    with page.expect_request("https://client.example/**") as sent:
        press(page, "Send this offer")
    assert "error=access_denied" in sent.value.url
    with db.transaction(site.database_url) as session:
        [held] = queries.grants_of(session, person_id=reader.person_id)
    assert (held.state, held.attributes, held.mode) == ("countered", ["email.main"], "asked")
    other = page.context.new_page()
    for path in ("", "/receipt"):
        other.goto(f"{site.url}/sharing/{held.grant_id}{path}")
        fits(other)

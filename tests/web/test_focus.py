"""Where the keyboard is after a swap: real htmx and our script in Chromium, on a page that also polls."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from portal.config import asset_folder
from tests.journeys import browser as browsers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page, Route

STATIC = asset_folder("static")
# The policy that the portal sends with its pages, as far as scripts go.
POLICY = "default-src 'self'; script-src 'self'; style-src 'self'; object-src 'none'; base-uri 'none'"
ROW = """<div id="row"><p id="hint" class="shown">A name</p>
<a id="change-row" href="/edit" hx-get="/edit" hx-target="#row" hx-swap="outerHTML">Change</a></div>"""
EDIT = """<div id="row"><p id="hint" class="edited">A name</p>
<form id="change-row" hx-post="/save" action="/save" method="post" hx-target="#row"
hx-swap="outerHTML"><label>Name <input name="value" id="value" {attributes}></label><button>Save</button>
<a href="/row" hx-get="/row" hx-target="#row" hx-swap="outerHTML">Cancel</a></form></div>"""
# As on a page where a change is on its way: it looks again, and again.
POLL = """<div id="watch"><ul><li id="told">On its way</li></ul><a id="again" href="/poll" hx-get="/poll"
hx-trigger="load delay:5ms, click" hx-target="#watch" hx-swap="outerHTML">Check again</a></div>"""
# Settling takes long here, so that a test can let a poll come in its middle.
SETTINGS = '{"includeIndicatorCSS":false,"defaultSettleDelay":200}'
PAGE = f"""<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Focus</title>
<link rel="icon" href="/static/mark.svg"><meta name="htmx-config" content='{SETTINGS}'>
<script src="/static/vendor/htmx/htmx.min.js" defer></script><script src="/static/app.js" defer></script></head>
<body><main id="main" tabindex="-1"><h1>Focus</h1>{POLL}{ROW}<a id="other" href="/">Other</a></main>
<div id="live" role="status"></div></body></html>"""
SETTLED = '<div id="watch"><p>All have it.</p></div>'


class Site:
    """Answers the browser; `polling` says whether there is something left to look for."""

    def __init__(self) -> None:
        self.polling = True
        self.polls = 0
        self.holding = False
        self.held: list[Route] = []
        self.answers = {
            "/": PAGE,
            "/row": ROW,
            "/edit": EDIT.format(attributes="autofocus"),
            "/save": EDIT.format(attributes='aria-invalid="true"'),
        }

    def answer(self, route: Route) -> None:
        path = route.request.url.removeprefix("http://localhost:1")
        if path.startswith("/static/"):
            route.fulfill(path=STATIC / path.removeprefix("/static/"))
            return
        if path == "/poll":
            self.polls += 1
            if self.holding:
                self.held.append(route)
                return
        self.send(route, path)

    def let_go(self) -> None:
        """Answer the poll that waits."""
        self.holding = False
        self.send(self.held.pop(), "/poll")

    def send(self, route: Route, path: str) -> None:
        body = self.answers.get(path) or (POLL if self.polling else SETTLED)
        route.fulfill(body=body, content_type="text/html", headers={"Content-Security-Policy": POLICY})


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def page(chromium: Browser, site: Site) -> Iterator[Page]:
    """A page that asks for nothing elsewhere, breaks no policy and fails in no script."""
    with browsers.window(chromium) as opened:
        opened.route("**/*", site.answer)
        opened.goto("http://localhost:1/")
        yield opened


def press(page: Page, selector: str) -> None:
    """Press Enter on what htmx has taken in hand already."""
    page.locator(f"{selector}[data-htmx-powered]").focus()
    page.keyboard.press("Enter")


def test_cancel_gives_the_keyboard_back_though_a_poll_comes_in_between(page: Page, site: Site) -> None:
    press(page, "a#change-row")
    expect(page.locator("#value")).to_be_focused()
    site.holding = True
    page.wait_for_timeout(500)
    assert site.held
    press(page, "a[href='/row']")
    page.locator("a#change-row").wait_for()
    site.let_go()
    page.wait_for_timeout(500)
    expect(page.get_by_role("link", name="Change")).to_be_focused()


def test_a_mistake_takes_the_keyboard_to_it(page: Page) -> None:
    press(page, "a#change-row")
    page.locator("form[data-htmx-powered]").get_by_role("button", name="Save").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#value")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#value")).to_be_focused()


def test_a_poll_leaves_the_keyboard_where_it_is(page: Page, site: Site) -> None:
    page.locator("#other").focus()
    before = site.polls
    page.wait_for_timeout(800)
    assert site.polls > before + 1
    expect(page.locator("#other")).to_be_focused()


def test_a_poll_does_not_drag_in_a_keyboard_that_is_nowhere(page: Page, site: Site) -> None:
    before = site.polls
    page.wait_for_timeout(800)
    assert site.polls > before + 1
    assert page.evaluate("document.activeElement === document.body")


def test_a_poll_that_takes_the_focused_link_away_puts_the_keyboard_nearby(page: Page, site: Site) -> None:
    page.locator("#again").focus()
    page.wait_for_timeout(100)
    expect(page.locator("#again")).to_be_focused()
    site.polling = False
    expect(page.get_by_text("All have it.")).to_be_visible()
    expect(page.locator("#main")).to_be_focused()

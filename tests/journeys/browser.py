"""A browser that watches itself: nothing outside this machine is asked for, and no page breaks its own policy."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from axe_playwright_python.base import AXE_SCRIPT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, ConsoleMessage, Page, Playwright, Request

Scheme = Literal["light", "dark"]
_HERE = {"localhost", "127.0.0.1"}
_INSIDE = ("data:", "blob:", "about:")
_ARGUMENTS = ["--no-sandbox", "--disable-dev-shm-usage"]
_DESKTOP = 1280
_HEIGHT = 900
# WCAG 2.2 AA and what axe calls best practice: everything it knows.
_AXE = "axe.run(document, {resultTypes: ['violations']})"


@dataclass
class Watch:
    """What a page did that it should not have done."""

    wrong: list[str] = field(default_factory=list)

    def request(self, request: Request) -> None:
        self.address(request.url)

    def address(self, url: str) -> None:
        if not url.startswith(_INSIDE) and urlsplit(url).hostname not in _HERE:
            self.wrong.append(f"asked for {url}")

    def console(self, message: ConsoleMessage) -> None:
        if "Content Security Policy" in message.text:
            self.wrong.append(f"broke the policy: {message.text}")

    def failure(self, error: object) -> None:
        self.wrong.append(f"script failed: {error}")


def path() -> str | None:
    """Return the browser's program, or None where there is none."""
    return os.environ.get("CHROMIUM_BIN") or shutil.which("chromium-headless-shell")


def launch(playwright: Playwright, program: str) -> Browser:
    return playwright.chromium.launch(executable_path=program, args=_ARGUMENTS)


@contextmanager
def window(
    browser: Browser, *, scripts: bool = True, width: int = _DESKTOP, scheme: Scheme = "light"
) -> Iterator[Page]:
    """A fresh browser profile with one page; leaving it asserts that nothing went wrong on the way."""
    watch = Watch()
    context = browser.new_context(
        java_script_enabled=scripts,
        viewport={"width": width, "height": _HEIGHT},
        color_scheme=scheme,
        locale="en-GB",
        timezone_id="Europe/Dublin",
        reduced_motion="reduce",
    )
    context.set_default_timeout(10_000)
    context.on("request", watch.request)
    context.on("console", watch.console)
    context.on("weberror", lambda found: watch.failure(found.error))
    try:
        yield context.new_page()
    finally:
        context.close()
    assert watch.wrong == [], "; ".join(watch.wrong)


def change(page: Page, *, width: int, scheme: Scheme) -> None:
    """Look at the same page in another width and colour scheme."""
    page.set_viewport_size({"width": width, "height": _HEIGHT})
    page.emulate_media(color_scheme=scheme)


def problems(page: Page) -> list[str]:
    """Return what axe finds and whether the page scrolls sideways: one line each, empty when all is well."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    found = page.evaluate(_AXE)["violations"]
    lines = [
        f"{one['id']}: {node['target']} {node['html'][:160]} {node.get('failureSummary', '')}"
        for one in found
        for node in one["nodes"]
    ]
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return lines + ([f"scrolls sideways by {wide} px"] if wide > 0 else [])

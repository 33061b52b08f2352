"""The journeys' own eyes: what they say is never wrong would be seen if it were."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.journeys import browser as browsers

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.journeys.program import Demo

_ADD_SCRIPT = "document.body.append(Object.assign(document.createElement('script'), {text: '1'}))"
_ADD_IMAGE = "document.body.append(Object.assign(document.createElement('img'), {src: 'http://192.0.2.1/a.png'}))"


def do(chromium: Browser, demo: Demo, what: str) -> None:
    with browsers.window(chromium) as page:
        page.goto(demo.company)
        page.evaluate(what)
        page.wait_for_timeout(500)


def test_a_broken_policy_is_seen(chromium: Browser, demo: Demo) -> None:
    with pytest.raises(AssertionError, match="broke the policy"):
        do(chromium, demo, _ADD_SCRIPT)


def test_an_image_from_elsewhere_is_seen(chromium: Browser, demo: Demo) -> None:
    with pytest.raises(AssertionError, match=r"broke the policy|asked for"):
        do(chromium, demo, _ADD_IMAGE)


def test_a_failing_script_is_seen(chromium: Browser, demo: Demo) -> None:
    with pytest.raises(AssertionError, match="script failed"):
        do(chromium, demo, "setTimeout(() => { throw new Error('planted') })")


def test_a_page_elsewhere_is_seen() -> None:
    watch = browsers.Watch()
    for address in ("http://localhost:1/", "data:,", "http://192.0.2.1/", "https://example.org/a"):
        watch.address(address)
    assert watch.wrong == ["asked for http://192.0.2.1/", "asked for https://example.org/a"]


def test_what_axe_knows_and_sideways_scrolling_are_seen(chromium: Browser) -> None:
    with browsers.window(chromium, width=320) as page:
        page.set_content('<main><h1>A</h1><img src="data:,"><div style="width:400px">wide</div></main>')
        found = " ".join(browsers.problems(page))
    assert "image-alt" in found
    assert "html-has-lang" in found
    assert "scrolls sideways by" in found

"""Somebody is on the telephone: the company asks, both read the same words, the person answers, the company knows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.journeys import browser as browsers

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.journeys.steps import World

_PAGES = 20


@pytest.mark.parametrize(
    ("button", "told"), [("Approve", "They approved it"), ("Do not approve", "They did not approve it")]
)
def test_an_approval(world: World, button: str, told: str) -> None:
    person, firm = world.person("eleanor"), world.open_window()
    ask(world, firm, person.name)
    words = firm.locator(".words").inner_text()
    person.go("/home")
    person.page.get_by_role("link", name=re.compile("^Look at the request")).first.click()
    person.sees(words)
    assert not world.scripts or browsers.problems(person.page) == []
    person.page.get_by_role("button", name=button, exact=True).click()
    person.sees(re.compile("You (approved|did not approve) this request"))
    assert not world.scripts or browsers.problems(person.page) == []

    def looks() -> bool:
        if not world.scripts:
            firm.reload()
        return firm.get_by_text(told).is_visible()

    world.until(f"the company reads “{told}”", looks)
    assert not world.scripts or browsers.problems(firm) == []


def ask(world: World, firm: Page, name: str) -> None:
    """Find the customer on the company's own pages, and press the button beside them."""
    for number in range(1, _PAGES):
        firm.goto(f"{world.demo.company}/?page={number}")
        card = firm.locator("li.card").filter(has=firm.get_by_role("heading", name=name))
        if card.count():
            card.get_by_role("button", name=re.compile("^Ask for approval")).click()
            break
    expect(firm.locator(".words")).to_be_visible()

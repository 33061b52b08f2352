"""A new person connects from the company's page: declines kindly, or shares and is a customer at once."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from playwright.sync_api import expect

from tests.journeys.steps import BRIGHTWELL

if TYPE_CHECKING:
    from playwright.sync_api import Locator

    from tests.journeys.steps import Person, World


def newcomer(world: World) -> Person:
    """Somebody who shares with nobody yet; another one for each way of browsing."""
    first = "robin" if world.scripts else "mariya"
    facts = next(one for one in world.demo.report["people"] if one["email"].startswith(f"{first}@"))
    return world.stranger(facts)


def size(button: Locator) -> tuple[float, float]:
    box = button.bounding_box()
    assert box is not None
    return round(box["width"]), round(box["height"])


def asked_by_the_company(person: Person) -> None:
    """Start at the company, sign in on the way, and stand before the question."""
    person.page.goto(person.world.demo.company + "/connect")
    person.page.get_by_role("button", name="Connect your details").click()
    person.fill_in_sign_in()
    expect(person.page.get_by_role("heading", level=1)).to_contain_text(BRIGHTWELL)


def test_declining_shares_nothing_and_is_recorded(world: World) -> None:
    person = newcomer(world)
    asked_by_the_company(person)
    person.page.get_by_role("button", name="Do not share").click()
    expect(person.page).to_have_url(re.compile(f"^{world.demo.company}/declined"))
    person.sees("nothing was shared")

    newest = person.activity()[0]
    assert newest["Who"] == BRIGHTWELL
    assert "not to share" in newest["Outcome"]


def test_sharing_makes_a_customer_at_once(world: World) -> None:
    person = newcomer(world)
    asked_by_the_company(person)
    person.sees("They need these")
    person.sees("send bills to the right address")
    person.sees(person.name)
    ticked = person.page.get_by_role("checkbox")
    assert ticked.count() > 0
    assert not any(box.is_checked() for box in ticked.all())
    share, decline = (person.page.get_by_role("button", name=name) for name in ("Share these details", "Do not share"))
    assert size(share) == size(decline)

    person.page.get_by_label("Email address").check()
    share.click()
    expect(person.page).to_have_url(re.compile(f"^{world.demo.company}/welcome"))
    person.sees(f"Thank you, {person.name}")
    expect(person.page.get_by_role("main")).to_contain_text("@mail.example.org")

    person.go("/sharing")
    expect(person.sharing(BRIGHTWELL)).to_contain_text("Email address")
    assert any(line["Who"] == BRIGHTWELL and line["How"] == "They asked" for line in person.activity())


def test_an_answer_that_was_not_asked_for_is_not_taken(world: World) -> None:
    company = world.company()
    company.go(f"/callback?code=made-up&state=made-up&iss={world.demo.portal}")
    expect(company.page.get_by_role("heading", level=1)).to_have_text("We could not connect you")

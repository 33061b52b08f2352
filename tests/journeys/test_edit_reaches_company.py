"""A person changes an address, sees who will get it, watches it arrive; the company's page shows it at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.journeys.steps import BRIGHTWELL, CANARY

if TYPE_CHECKING:
    from tests.journeys.steps import World

HOME = "Home address"


def test_an_edit_reaches_the_company(world: World) -> None:
    company = world.company()
    company.find("Persephone Featherstonehaughe-Wolfeschlegelsteinhausenberger")
    company.go()
    aoife = world.person("aoife")
    street = f"{'1' if world.scripts else '2'} {CANARY} Street"

    aoife.start_changing(HOME)
    aoife.fill_in_address("Germany", {"Address line 1": street, "Town or city": "Berlin", "Postcode": "10115"})
    aoife.sees("will get this")
    aoife.sees(BRIGHTWELL)
    aoife.save()

    row = aoife.row(HOME)
    expect(row).to_contain_text("Saved")
    expect(row).to_contain_text(street)
    if world.scripts:
        expect(row.get_by_role("link", name="Change")).to_be_focused()
        expect(aoife.page.locator("#live")).to_contain_text("Saved")
    aoife.look_again_until("Brightwell Energy uses it", lambda: "updated" in row.inner_text())
    company.shows(company.card(aoife.name), street)
    expect(company.card(aoife.name)).to_contain_text("pushed")


def test_what_is_wrong_is_said_and_what_was_typed_is_kept(world: World) -> None:
    aoife = world.person("aoife")
    aoife.start_changing("Email address")
    wrong = f"{CANARY} at example"
    aoife.page.get_by_role("main").get_by_label("Email address").fill(wrong)
    aoife.save()
    field = aoife.page.get_by_role("main").get_by_label("Email address")
    expect(field).to_have_value(wrong)
    expect(field).to_have_attribute("aria-invalid", "true")
    aoife.go("/details")
    assert wrong not in aoife.page.content()


@pytest.mark.parametrize("number", ["+353 85 not a number", "123"])
def test_a_number_that_is_none_is_refused(world: World, number: str) -> None:
    aoife = world.person("aoife")
    aoife.start_changing("Mobile phone number")
    aoife.page.get_by_role("main").get_by_label("Mobile phone number").fill(number)
    aoife.save()
    expect(aoife.page.get_by_role("main").get_by_label("Mobile phone number")).to_have_attribute("aria-invalid", "true")


def test_a_change_can_be_put_back(world: World) -> None:
    aoife = world.person("aoife")
    before = f"{CANARY}a{world.scripts}"
    after = f"{CANARY}b{world.scripts}"
    aoife.change("What should we call you?", before)
    aoife.change("What should we call you?", after)
    aoife.go("/details/name.known_as/history")
    aoife.page.get_by_role("listitem").filter(has_text=before).first.get_by_role("button", name="Put this back").click()
    expect(aoife.row("What should we call you?")).to_contain_text(before)

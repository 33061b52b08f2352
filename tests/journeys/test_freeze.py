"""Somebody freezes everything, proves again that it is them, and chooses what goes on; and looks who has what."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from playwright.sync_api import expect

from tests.journeys.steps import BRIGHTWELL, CANARY

if TYPE_CHECKING:
    from tests.journeys.steps import Person, World


def press(person: Person, name: str) -> None:
    """By keyboard alone."""
    button = person.page.get_by_role("main").get_by_role("button", name=name).first
    button.focus()
    person.page.keyboard.press("Enter")


def frozen(person: Person) -> bool:
    return person.page.get_by_role("region", name="Sharing is frozen").count() == 1


def test_freezing_everything_and_going_on_with_a_part(world: World) -> None:
    company, person = world.company(), world.person("marcus" if world.scripts else "layla")
    sub = company.number(person.name)
    person.go("/sharing")
    person.page.get_by_role("link", name="Freeze everything").click()
    assert not frozen(person), "looking freezes nothing"
    press(person, "Freeze everything")
    person.sees("Everything is frozen. No organisation gets anything from now on.")
    for path in ("/home", "/details", "/activity", "/sharing", "/account/security"):
        person.go(path)
        assert frozen(person), path
    assert "refused" in company.refresh(company.find_number(sub))
    person.change("What should we call you?", f"{CANARY} frozen")
    company.go()
    assert CANARY not in company.find_number(sub).inner_text()

    person.page.get_by_role("link", name="Choose what goes on again").first.click()
    boxes = person.page.get_by_role("checkbox")
    for number in range(boxes.count()):
        expect(boxes.nth(number)).not_to_be_checked()
    person.page.get_by_label(BRIGHTWELL).first.check()
    press(person, "Resume what I ticked")
    person.sees("goes on")
    assert not frozen(person)
    expect(person.sharing(BRIGHTWELL)).to_contain_text("Sharing")
    company.shows(company.find(person.name), person.name)


def test_who_has_my_old_number_and_what_do_they_see(world: World) -> None:
    person = world.person("grace" if world.scripts else "hanako")
    person.go("/sharing?view=detail")
    person.page.get_by_role("link", name=re.compile("^Full name")).click()
    person.sees("Who has your full name?")
    person.sees("Your current one")
    person.page.get_by_role("main").get_by_role("link", name=BRIGHTWELL).first.click()
    person.page.get_by_role("link", name=re.compile("^What they see today")).first.click()
    person.sees(person.name)
    person.page.get_by_text("The message itself, letter by letter").click()
    expect(person.page.get_by_label("The message")).to_contain_text("urn:ucm:event:profile")


def test_one_press_says_that_it_is_still_right(world: World) -> None:
    person = world.person("mariya" if world.scripts else "robin")
    person.go("/sharing")
    person.page.get_by_role("link", name="Check that it is still right").click()
    person.sees("Are these still right to share?")
    keep = person.page.get_by_role("button", name=re.compile("^(Still right: keep sharing|Keep sharing until)"))
    if keep.count():
        keep.first.click()
        person.sees("You keep sharing with 1 organisation.")
    else:
        person.sees("You share nothing at the moment")


def test_a_change_says_what_it_adds_and_takes_away(world: World) -> None:
    person = world.person("persephone" if world.scripts else "widodo")
    person.go("/sharing")
    person.sharing(BRIGHTWELL).get_by_role("link", name=re.compile("^Change what they get")).click()
    boxes = person.page.get_by_role("checkbox")
    box, marks = boxes.first, person.page.locator(".when-on:visible, .when-off:visible")
    assert marks.count() == 0
    box.click()
    assert marks.count() == 1
    box.click()
    assert marks.count() == 0

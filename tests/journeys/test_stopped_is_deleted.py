"""Staff say what they deleted and what they must keep, and ask once more; people read and answer it, step by step."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from playwright.sync_api import expect

from tests.journeys import browser as browsers
from tests.journeys.steps import BRIGHTWELL

if TYPE_CHECKING:
    from tests.journeys.steps import Person, World

LOOKS: tuple[tuple[int, browsers.Scheme], ...] = ((320, "dark"), (1280, "light"))


def dana(world: World) -> Person:
    person = world.stranger(world.demo.report["staff"])
    person.sign_in()
    return person


def look(person: Person) -> None:
    """Nothing for axe to say, and no sideways scrolling, in a narrow dark window and a wide light one."""
    # Axe is a script itself, and looks at the same page where there are others.
    for width, scheme in LOOKS if person.world.scripts else ():
        browsers.change(person.page, width=width, scheme=scheme)
        assert browsers.problems(person.page) == []


def press(person: Person, name: str) -> None:
    """By keyboard alone."""
    button = person.page.get_by_role("main").get_by_role("button", name=name).first
    button.focus()
    person.page.keyboard.press("Enter")


def say(staff: Person, name: str) -> None:
    """Say of many details that they are deleted, and yes once they are counted."""
    press(staff, name)
    staff.sees(re.compile("^Say that .* deleted"))
    look(staff)
    press(staff, "Yes, ")
    staff.sees(re.compile("You said that .* of 1 person"))


def test_what_somebody_asked_to_be_deleted_is_answered_detail_by_detail(world: World) -> None:
    person = world.person("grace" if world.scripts else "hanako")
    sub = world.company().number(person.name)
    person.go("/sharing")
    person.sharing(BRIGHTWELL).get_by_role("link", name="Stop sharing").click()
    press(person, "Stop sharing")
    person.sees("They must by")
    here = person.page.url

    staff = dana(world)
    staff.go("/org/deletions")
    look(staff)
    staff.page.get_by_role("link", name=f"of {sub}").first.click()
    look(staff)
    press(staff, "Save")
    staff.sees("There is a problem")
    first = staff.page.get_by_role("main").get_by_role("group").first
    first.get_by_label("We must keep it for now").check()
    details = staff.page.get_by_role("main").locator("details").first
    if not details.get_attribute("open"):
        details.locator("summary").click()
    details.get_by_label("Why you must keep it").select_option(
        label="The law makes us keep our accounts and tax papers"
    )
    details.get_by_label("The day on which you will delete it").fill("2032-12-31")
    press(staff, "Save")
    staff.sees("Saved. The person reads it in their portal.")

    person.page.goto(here)
    person.sees(re.compile("until 31 December 2032, because the law makes them keep their accounts and tax papers"))
    look(person)
    staff.go(f"/org/deletions?person={sub}")
    look(staff)
    press(staff, "We deleted what I ticked")
    staff.sees("Tick the details that you deleted first.")
    say(staff, "We deleted all in this list")
    staff.page.get_by_role("link", name=f"of {sub}").last.click()
    staff.sees(f"Delete what {sub} shared")
    there = staff.page.url
    say(staff, "We deleted all of it")
    staff.page.goto(there)
    staff.sees("Nothing is left to say")
    look(staff)
    person.page.goto(here)
    person.sees(re.compile(r"They said on .* that they deleted it\."))
    person.page.get_by_role("link", name=re.compile("^Receipt")).click()
    person.sees("What you asked")
    look(person)


def asked_for_more(world: World, person: Person) -> None:
    """Have staff ask for something that somebody left out, and open the request."""
    staff = dana(world)
    sub = world.company().number(person.name)
    staff.go(f"/org/consents?person={sub}")
    look(staff)
    staff.page.get_by_role("link", name=sub).first.click()
    look(staff)
    staff.page.get_by_role("checkbox").first.check()
    press(staff, "Ask them")
    staff.sees("you can ask again from")
    person.go("/sharing/requests")
    person.page.get_by_role("link", name=re.compile("^Look at the request")).first.click()


def test_a_yes_while_all_is_frozen_leads_by_way_of_unfreezing_to_not_now(world: World) -> None:
    person = world.person("persephone" if world.scripts else "widodo")
    asked_for_more(world, person)
    person.sees("They ask for more, once")
    asked = person.page.url
    person.go("/sharing/freeze")
    press(person, "Freeze everything")
    person.sees("Everything is frozen. No organisation gets anything from now on.")
    person.page.goto(asked)
    person.sees("Everything you share is frozen. If you choose")
    look(person)
    person.page.get_by_role("checkbox").first.check()
    press(person, "Share these details")
    person.sees("Afterwards you go back to the question that you were answering.")
    look(person)
    press(person, "Resume all" if person.page.get_by_role("checkbox").count() > 1 else "Resume it")
    person.sees("Your choices are as you left them.")
    expect(person.page.get_by_role("checkbox").first).to_be_checked()
    person.page.get_by_text("Other answers").click()
    look(person)
    press(person, "Not now")
    person.sees("You put off your answer")
    look(person)


def test_what_was_left_out_is_asked_for_once_and_a_no_stays(world: World) -> None:
    person = world.person("marcus" if world.scripts else "layla")
    asked_for_more(world, person)
    person.sees("They ask for more, once")
    person.sees(f"How {BRIGHTWELL} has done so far")
    assert person.page.locator("input:checked").count() == 0
    answers = person.page.locator(".answers .btn").all()
    assert len({(box["width"], box["height"]) for box in (one.bounding_box() for one in answers) if box}) == 1
    look(person)
    press(person, "Do not share")
    person.sees("They cannot ask you for this in the same way again.")
    person.go("/sharing")
    expect(person.sharing(BRIGHTWELL)).to_contain_text("Sharing")

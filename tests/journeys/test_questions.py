"""I don't recognise this: a person asks, the company explains, it does not settle it, an operator decides."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from playwright.sync_api import expect

from tests.journeys import browser as browsers
from tests.journeys.steps import BRIGHTWELL, CANARY
from tests.journeys.test_purposes import dana, olu, press

if TYPE_CHECKING:
    from tests.journeys.steps import Person, World

ASK = re.compile("^I don’t recognise this")
ASKED = f"I closed my account there. {CANARY}"
ANSWER = f"We sent your last bill. {CANARY}"
STILL = f"I never had a bill. {CANARY}"
REASON = f"The bill was for somebody else. {CANARY}"


def looks_well(person: Person) -> None:
    """Narrow and at night, where it is hardest, nothing is wrong with the page; the story goes on there."""
    if person.world.scripts:
        browsers.change(person.page, width=320, scheme="dark")
        assert browsers.problems(person.page) == []


def asker(world: World) -> Person:
    return world.person("hanako" if world.scripts else "layla")


def asked(person: Person) -> str:
    """Ask about the newest line of Brightwell's, pausing at the same time; return its address."""
    person.go("/activity")
    row = (
        person.page.locator("tbody tr")
        .filter(has_text=BRIGHTWELL)
        .filter(has=person.page.get_by_role("link", name=ASK))
    )
    row.first.get_by_role("link", name=ASK).click()
    expect(person.page.get_by_role("heading", level=1)).to_have_text("I don’t recognise this")
    looks_well(person)
    press(person, f"Ask {BRIGHTWELL}")
    person.sees("There is a problem")
    looks_well(person)
    person.page.get_by_label("I know them, but I did not expect this use").check()
    person.page.get_by_label("Say it in your own words").fill(ASKED)
    person.page.get_by_label(f"Pause sharing with {BRIGHTWELL}").check()
    press(person, f"Ask {BRIGHTWELL}")
    person.sees("You asked, no answer yet")
    person.sees(f"Sharing with {BRIGHTWELL} is paused.")
    looks_well(person)
    return person.page.url


def open_question(person: Person, place: str, address: str) -> None:
    """Find the question in a list, and open it there."""
    row = address.split("/")[-2]
    person.go(place)
    looks_well(person)
    person.page.locator(f'a[href="{place}/{row}"]').click()


def answered(staff: Person, address: str, name: str) -> None:
    staff.go("/org")
    staff.page.get_by_role("link", name=re.compile("^Answer (it|them)")).click()
    open_question(staff, "/org/questions", address)
    for words in (ASKED, "name.full", "10 days left"):
        staff.sees(words)
    expect(staff.page.get_by_role("main")).not_to_contain_text(name)
    press(staff, "Send")
    staff.sees("There is a problem")
    looks_well(staff)
    staff.page.get_by_label("Your explanation").fill(ANSWER)
    press(staff, "Send")
    staff.sees("Answered")
    looks_well(staff)


def not_settled(person: Person) -> None:
    person.go("/home")
    looks_well(person)
    person.page.get_by_role("link", name=re.compile("^Read the answer")).first.click()
    person.sees(ANSWER)
    looks_well(person)
    person.page.get_by_label("What is still open?").fill(STILL)
    press(person, "No, look into it")
    person.sees("We are looking into it")
    looks_well(person)


def decided(operator: Person, address: str, name: str) -> None:
    operator.go("/ops")
    operator.page.get_by_role("link", name=re.compile("not settled")).click()
    open_question(operator, "/ops/questions", address)
    for words in (ASKED, ANSWER, STILL, "Each proof was checked just now.", "Whole: each version follows"):
        operator.sees(words)
    looks_well(operator)
    expect(operator.page.get_by_role("main")).not_to_contain_text(name)
    press(operator, "Decide")
    operator.sees("There is a problem")
    looks_well(operator)
    operator.page.get_by_label("The organisation must mend something").check()
    operator.page.get_by_label("Reason").fill(REASON)
    press(operator, "Decide")
    operator.sees("Decided. Both sides are written to.")
    looks_well(operator)


def test_from_a_line_to_a_decision_that_both_sides_read(world: World) -> None:
    person, staff, operator = asker(world), dana(world), olu(world)
    address = asked(person)
    person.go("/sharing")
    expect(person.sharing(BRIGHTWELL)).to_contain_text("Paused")
    answered(staff, address, person.name)
    not_settled(person)
    decided(operator, address, person.name)

    open_question(staff, "/org/questions", address)
    staff.sees(REASON)
    staff.page.get_by_label("Your explanation").fill(f"We deleted the bill. {CANARY}")
    press(staff, "Send")
    person.page.goto(address)
    person.sees(REASON)
    person.sees("We deleted the bill.")
    press(person, "Yes, it is settled")
    person.go("/activity/questions")
    person.sees("Settled")
    looks_well(person)
    person.go("/sharing")
    person.sharing(BRIGHTWELL).get_by_role("button", name="Resume").click()


def test_it_is_asked_by_keyboard(world: World) -> None:
    person = world.person("joao" if world.scripts else "persephone")
    person.go("/activity")
    link = person.page.get_by_role("link", name=ASK).first
    link.focus()
    person.page.keyboard.press("Enter")
    words = person.page.get_by_label("Say it in your own words")
    for _ in range(40):
        person.page.keyboard.press("Tab")
        if words.evaluate("element => element === document.activeElement"):
            break
    person.page.keyboard.type("What was that?")
    for _ in range(3):
        person.page.keyboard.press("Tab")
        if person.page.evaluate("document.activeElement.tagName") == "BUTTON":
            break
    person.page.keyboard.press("Enter")
    person.sees("You asked, no answer yet")
    press(person, "It is settled")
    person.sees("Settled. Question and answer stay here.")

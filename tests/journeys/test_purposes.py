"""A company declares what it wants details for; an operator looks at it; it is live, or sent back and mended."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from playwright.sync_api import expect

from tests.journeys import browser as browsers
from tests.journeys.test_accessibility import LOOKS

if TYPE_CHECKING:
    from tests.journeys.steps import Person, World

APP = "Customer accounts"


def dana(world: World) -> Person:
    person = world.stranger(world.demo.report["staff"])
    person.sign_in()
    return person


def olu(world: World) -> Person:
    """The operator, with both proofs given."""
    person = world.stranger(world.demo.report["operator"])
    person.sign_in()
    before = len(person.codes_in_mail(person.facts["email"]))
    person.go("/ops")
    expect(person.page.get_by_role("heading", level=1)).to_have_text("Confirm it is you")
    person.page.get_by_role("button", name="Email me a code").click()
    person.page.get_by_label("6-digit code").fill(person.code_from_mail(person.facts["email"], beyond=before))
    person.page.get_by_role("button", name="Continue").click()
    expect(person.page.get_by_role("heading", level=1)).to_have_text("What waits for you")
    looks_well(person)
    return person


def looks_well(person: Person) -> None:
    """As it is now, wide in light and narrow in dark, nothing is wrong with it; it goes on narrow."""
    if person.world.scripts:
        for width, scheme in LOOKS[::2]:
            browsers.change(person.page, width=width, scheme=scheme)
            assert browsers.problems(person.page) == []
    person.page.set_viewport_size({"width": 320, "height": 900})


def ask_for(person: Person, label: str, want: str, reason: str) -> None:
    person.page.get_by_label(label, exact=True).select_option(label=want)
    person.page.get_by_label(re.compile(f"^Reason.*{label}", re.IGNORECASE)).fill(reason)


def press(person: Person, name: str) -> None:
    person.page.get_by_role("button", name=name).click()


def decide(person: Person, sentence: str, choice: str, words: str) -> None:
    person.go("/ops")
    person.page.get_by_role("link", name=re.compile("to review")).click()
    looks_well(person)
    person.page.get_by_role("link", name=re.compile(sentence)).first.click()
    looks_well(person)
    person.page.get_by_label(re.compile(f"^{choice}")).check()
    person.page.get_by_label("What the organisation reads").fill(words)
    press(person, "Decide")


def test_declared_sent_back_mended_and_live(world: World) -> None:
    sentence = f"tell you of offers {'by letter' if world.scripts else 'by email'}"
    staff, operator = dana(world), olu(world)
    staff.go("/org/apps")
    staff.page.get_by_role("main").get_by_role("link", name=APP).first.click()
    staff.page.get_by_role("link", name="Add a purpose").click()
    staff.page.get_by_label("What do you need people’s details for?").fill(sentence)
    staff.page.get_by_label("Kind of purpose").select_option(label="Send advertising")
    ask_for(staff, "Full name", "Needed", "To address you.")
    ask_for(staff, "Date of birth", "Wished for", "To congratulate you.")
    press(staff, "Add this purpose")

    staff.sees("There is a problem")
    staff.sees(re.compile("may not ask for this detail: leave it out"))
    staff.sees(re.compile("enter a number of at most 4"))
    looks_well(staff)
    expect(staff.page.get_by_label("What do you need people’s details for?")).to_have_value(sentence)
    staff.page.get_by_label("Date of birth", exact=True).select_option(label="Not asked for")
    staff.page.get_by_label("Most times you look at one person’s details in a day").fill("2")
    press(staff, "Add this purpose")
    expect(staff.page.get_by_role("heading", level=1)).to_have_text(f"To {sentence}")
    staff.sees("Draft")
    looks_well(staff)
    press(staff, "Send for review")
    staff.sees("Sent for review")

    decide(operator, sentence, "Send it back", "Say how often you write.")
    operator.sees("Sent back, with your words.")

    staff.page.reload()
    staff.sees("Say how often you write.")
    looks_well(staff)
    staff.page.get_by_role("link", name="Mend it").click()
    looks_well(staff)
    expect(staff.page.get_by_label("Most times you look at one person’s details in a day")).to_have_value("2")
    staff.page.get_by_label("What do you need people’s details for?").fill(f"{sentence} twice a year")
    press(staff, "Save this version")
    press(staff, "Send for review")

    decide(operator, sentence, "Put it live", "")
    operator.sees("It is live.")
    staff.page.reload()
    expect(staff.page.locator("article").first).to_contain_text("Live")
    expect(staff.page.locator("article").last).to_contain_text("Sent back")


def test_it_is_done_by_keyboard(world: World) -> None:
    staff = dana(world)
    staff.go("/org/apps")
    staff.page.get_by_role("main").get_by_role("link", name=APP).first.focus()
    staff.page.keyboard.press("Enter")
    staff.page.get_by_role("heading", name="Purposes").wait_for()
    staff.page.get_by_role("link", name=re.compile("^To send bills")).focus()
    staff.page.keyboard.press("Enter")
    staff.page.get_by_role("link", name="Change it").focus()
    staff.page.keyboard.press("Enter")
    staff.page.get_by_label("What do you need people’s details for?").focus()
    staff.page.keyboard.press("Enter")
    expect(staff.page.get_by_role("heading", level=1)).to_contain_text("To send bills")


def test_the_guide_shows_the_ceilings(world: World) -> None:
    staff = dana(world)
    staff.go("/docs/companies/purposes")
    staff.sees("AgeVerification")
    looks_well(staff)


def test_nobody_else_gets_in(world: World) -> None:
    for person in (dana(world), world.person("robin")):
        person.go("/ops/purposes")
        expect(person.page.get_by_role("heading", level=1)).not_to_contain_text("Purposes")
        expect(person.page.get_by_role("link", name="Operator")).to_have_count(0)

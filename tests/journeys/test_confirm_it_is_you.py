"""A detail that needs more care: with one proof of who they are, a person gives the other one and goes on."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from playwright.sync_api import expect

if TYPE_CHECKING:
    from tests.journeys.steps import Person, World

GYM = "Northside Gym"
BORN = "Date of birth"


def at_the_choice(person: Person) -> None:
    person.go("/sharing")
    person.sharing(GYM).get_by_role("link", name=re.compile("^Change what they get")).click()


def save(person: Person) -> None:
    person.page.get_by_role("button", name="Save these choices").click()


def stop_sharing_the_birthday(person: Person) -> None:
    at_the_choice(person)
    person.page.get_by_label(BORN).uncheck()
    save(person)
    expect(person.page.get_by_role("heading", level=1)).to_contain_text("eceipt")


def test_after_the_password_a_code_by_email(world: World) -> None:
    person = world.person("aoife")
    stop_sharing_the_birthday(person)

    at_the_choice(person)
    person.page.get_by_label(BORN).check()
    save(person)
    expect(person.page.get_by_role("heading", level=1)).to_have_text("Confirm it is you")
    before = len(person.codes_in_mail(person.facts["email"]))
    person.page.get_by_role("button", name="Email me a code").click()
    code = person.page.get_by_label("6-digit code")
    code.fill("12345")
    person.page.get_by_role("button", name="Continue").click()
    expect(person.page.get_by_role("alert")).to_contain_text("There is a problem")
    code.fill(person.code_from_mail(person.facts["email"], beyond=before))
    person.page.get_by_role("button", name="Continue").click()

    expect(person.page).to_have_url(re.compile("/change"))
    expect(person.page.get_by_label(BORN)).to_be_checked()
    save(person)
    expect(person.page.get_by_role("heading", level=1)).to_contain_text("eceipt")
    person.go("/sharing")
    expect(person.sharing(GYM)).to_contain_text(BORN)


def test_after_a_code_the_password(world: World) -> None:
    facts = next(one for one in world.demo.report["people"] if one["email"].startswith("aoife@"))
    person = world.stranger(facts)
    person.go("/account/sign-in")
    person.page.get_by_label("Email address").fill(facts["email"])
    before = len(person.codes_in_mail(facts["email"]))
    person.page.get_by_role("button", name="Email me a code instead").click()
    person.page.get_by_label("6-digit code").fill(person.code_from_mail(facts["email"], beyond=before))
    person.page.get_by_role("button", name="Continue").click()
    expect(person.page).to_have_url(re.compile("/home"))

    person.go("/account/confirm-it-is-you?next=/sharing")
    person.page.get_by_label("Password").fill("not my password at all")
    person.page.get_by_role("button", name="Continue").click()
    person.sees("That is not your password")
    person.page.get_by_label("Password").fill(facts["password"])
    person.page.get_by_role("button", name="Continue").click()
    expect(person.page).to_have_url(re.compile("/sharing$"))

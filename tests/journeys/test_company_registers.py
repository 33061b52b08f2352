"""Someone registers their company, an app with a purpose, public keys, and an endpoint that proves itself."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

import keys

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Page

    from tests.journeys.receiver import Receiver
    from tests.journeys.steps import Person, World


def fill(page: Page, answers: dict[str, str]) -> None:
    for label, answer in answers.items():
        page.get_by_label(label, exact=True).fill(answer)


def registered(world: World) -> tuple[Person, str]:
    """A company named after the way of browsing, and the person who registered it."""
    person = world.person("tomas" if world.scripts else "niamh")
    name = f"Larkspur Books {'A' if world.scripts else 'B'}"
    person.go("/org")
    person.page.get_by_role("link", name="Register your organisation").click()
    answers = {
        "Legal name": f"{name} Ltd",
        "Trading name": name,
        "Registration number": "IE 700001",
        "Contact email address": "people@larkspur.example.org",
        "Address of your privacy page": "https://larkspur.example.org/privacy",
        "What happens for a person who stops sharing?": "We send books to the last address we have.",
    }
    fill(person.page, answers)
    person.page.get_by_label("Country", exact=True).select_option(label="Ireland")
    person.page.get_by_role("button", name="Register this organisation").click()
    person.sees(f"{name} is registered")
    return person, name


def ask_for(person: Person, label: str, want: str, reason: str) -> None:
    person.page.get_by_label(label, exact=True).select_option(label=want)
    person.page.get_by_label(re.compile(f"^Reason.*{label}", re.IGNORECASE)).fill(reason)


def add_app(person: Person) -> None:
    person.page.get_by_role("link", name="New app").click()
    answers = {
        "Name of the app": "Orders",
        "Redirect addresses": "http://localhost:9/callback",
        "What do you need people’s details for?": "send books to the right address",
    }
    fill(person.page, answers)
    person.page.get_by_label("Kind of purpose").select_option(index=1)
    ask_for(person, "Home address", "Needed", "It is where the books go.")
    ask_for(person, "Mobile phone number", "Wished for", "To say when the parcel comes.")
    person.page.get_by_role("button", name="Show what people will be asked").click()
    person.sees("This is what people will be asked")
    person.page.get_by_role("button", name="Register this app").click()
    expect(person.page.get_by_role("heading", level=1)).to_have_text("Orders")


def prove(person: Person, address: str) -> None:
    """From the page of an app to its endpoint, and have it prove itself."""
    person.page.get_by_role("region", name="Endpoint").get_by_role("link").first.click()
    person.page.get_by_role("main").locator("input[type=url]").fill(address)
    person.page.get_by_role("button", name="Prove it").click()


def test_a_company_registers_and_its_endpoint_proves_itself(world: World, receiver: Receiver, tmp_path: Path) -> None:
    person, _name = registered(world)
    add_app(person)

    person.page.get_by_role("link", name="Add keys").click()
    jwks = keys.ensure(tmp_path).public_jwks()
    person.page.get_by_label("Public keys (JWK Set)").fill(json.dumps(jwks))
    person.page.get_by_role("button", name="Add these keys").click()
    person.sees(jwks["keys"][0]["kid"])

    person.page.get_by_role("link", name="Back to Orders").click()
    prove(person, receiver.url)
    person.sees("Proven: the endpoint sent the challenge back")
    assert "verification" in next(iter(receiver.claims[-1]["events"]))
    person.go("/org/deliveries")
    expect(person.page.get_by_role("heading", level=1)).to_contain_text("Deliveries")


@pytest.mark.parametrize("address", ["http://192.168.0.1/events", "https://127.0.0.1/events", "ftp://example.org"])
def test_an_endpoint_that_may_not_be_reached_is_refused(world: World, address: str) -> None:
    dana = world.stranger(world.demo.report["staff"])
    dana.sign_in()
    dana.go("/org/apps")
    dana.page.get_by_role("main").get_by_role("link", name="Customer accounts").first.click()
    prove(dana, address)
    expect(dana.page).to_have_title(re.compile("^Error: "))
    expect(dana.page.get_by_role("main").locator("input[type=url]")).to_have_value(address)
    expect(dana.page.get_by_role("main")).to_contain_text(f"{world.demo.company}/events")


def test_what_is_wrong_in_an_application_is_said_beside_it(world: World) -> None:
    person = world.person("widodo")
    person.go("/org/join")
    person.page.get_by_label("Trading name").fill("Kept as typed")
    person.page.get_by_role("button", name="Register this organisation").click()
    person.sees("There is a problem")
    expect(person.page.get_by_label("Trading name")).to_have_value("Kept as typed")


def test_staff_see_the_deliveries_of_their_own_company(world: World) -> None:
    dana = world.stranger(world.demo.report["staff"])
    dana.sign_in()
    dana.go("/org/deliveries")
    assert dana.page.locator("tbody tr").count() > 0

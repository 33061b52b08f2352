"""A person says that a detail is still right: nothing changes, and the company learns it without being sent a value."""

from __future__ import annotations

from typing import TYPE_CHECKING

from store import Store

if TYPE_CHECKING:
    from tests.journeys.steps import World


def test_still_right_reaches_the_company(world: World) -> None:
    company = world.company()
    person = world.person("widodo" if world.scripts else "persephone")
    sub = company.number(person.name)
    person.go("/details")
    person.page.get_by_role("button", name="Yes, all of it is still right").click()
    person.sees("Still right:")
    store = Store(world.demo.customers_files()[0])
    world.until(
        "the company has been told",
        lambda: any(row["kind"] == "confirmed" and row["sub"] == sub for row in store.journal()),
    )
    company.shows(company.find_number(sub), "still right on")

"""A person stops sharing: the company is told and deletes, its next question is refused, both pages say the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.sync_api import expect

from store import Store
from tests.journeys.steps import BRIGHTWELL, CANARY

if TYPE_CHECKING:
    from tests.journeys.steps import World


def test_stopping_acts_on_both_sides(world: World) -> None:
    company = world.company()
    person = world.person("eleanor" if world.scripts else "juergen")
    sub = company.number(person.name)

    person.go("/sharing")
    person.sharing(BRIGHTWELL).get_by_role("link", name="Stop sharing").click()
    person.sees("What happens if you stop")
    expect(person.page.get_by_label("Ask them to delete what they have")).to_be_checked()
    person.page.get_by_role("button", name="Stop sharing").click()
    person.sees("None of your details was on its way.")
    person.sees("They must by")

    company.shows(company.find_number(sub), "Stopped – we must delete")
    expect(company.find_number(sub)).not_to_contain_text(person.name)
    expect(company.find_number(sub)).to_contain_text("They asked on")
    refusal = company.refresh(company.find_number(sub))
    assert "refused" in refusal

    person.go("/sharing")
    expect(person.sharing(BRIGHTWELL)).to_contain_text("Stopped")
    lines = person.activity()
    assert any("stopped sharing" in line["Outcome"] for line in lines)
    assert any(line["How"] == "They asked" and "Refused" in line["Outcome"] for line in lines)

    person.change("What should we call you?", f"{CANARY} after")
    company.go()
    assert CANARY not in company.find_number(sub).inner_text()
    told = [row for row in Store(world.demo.customers_files()[0]).journal() if row["sub"] == sub]
    assert told[0]["kind"] == "consent erasure", "nothing came after the news that they stopped"
    assert [line for line in person.activity() if line["How"] == "Kept up to date"] == [
        line for line in lines if line["How"] == "Kept up to date"
    ]

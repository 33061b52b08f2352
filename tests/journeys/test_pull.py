"""The company asks: for one person at a click, answered at once; and for 200 people, answered by a job."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from playwright.sync_api import expect

if TYPE_CHECKING:
    from tests.journeys.steps import World


def test_refresh_now_is_answered_at_once(world: World) -> None:
    company = world.company()
    notice = company.refresh(company.find("Widodo"))
    assert "answered at once" in notice
    company.go()
    expect(company.card("Widodo")).to_contain_text("asked")
    expect(company.card("Widodo")).to_contain_text("22 Corporation Street")


def test_two_hundred_people_at_once(world: World) -> None:
    company = world.company()
    company.find("Widodo")
    company.go()
    company.page.get_by_role("button", name="Ask for 200 people at once").click()
    expect(company.page.get_by_role("progressbar")).to_be_visible()

    def finished() -> bool:
        if not world.scripts:
            company.page.reload()
        return company.page.get_by_text("The results are here").count() > 0

    world.until("the results are here", finished)
    expect(company.page.get_by_text(re.compile("200 of 200 answered"))).to_be_visible()
    expect(company.page.get_by_role("listitem").filter(has_text="answered and opened")).to_have_text(
        "200 answered and opened"
    )

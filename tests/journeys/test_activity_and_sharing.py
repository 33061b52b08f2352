"""Activity shows every disclosure: who, which details, why, how, when, outcome.  Sharing pauses, changes, resumes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.sync_api import expect

from tests.journeys.steps import BRIGHTWELL, CANARY

if TYPE_CHECKING:
    from tests.journeys.steps import World


def test_activity_shows_what_was_sent_and_what_was_asked_for(world: World) -> None:
    company = world.company()
    joao = world.person("joao")
    email = f"{CANARY}{world.scripts}@example.org".lower()
    joao.change("Email address", email)
    company.shows(company.find(joao.name), email)
    company.refresh(company.find(joao.name))

    lines = joao.activity()
    asked = next(line for line in lines if line["How"] == "They asked")
    sent = next(line for line in lines if line["How"] == "Kept up to date")
    assert asked["Who"] == sent["Who"] == BRIGHTWELL
    assert "Email address" in sent["Which details"]
    assert "Full name" in asked["Which details"]
    assert asked["Why"] == sent["Why"] == "To send bills to the right address"
    assert sent["Outcome"].startswith("Received")
    assert all(line["When"] for line in lines)


def test_one_line_can_be_read_in_full(world: World) -> None:
    joao = world.person("joao")
    joao.activity()
    joao.page.locator("tbody tr a").first.click()
    for words in ("Who", "Why", "How", "When", "Outcome", "Reference"):
        expect(joao.page.get_by_role("term").filter(has_text=words).first).to_be_visible()


def test_the_log_is_checked_in_ones_own_browser_or_without_the_page(world: World) -> None:
    joao = world.person("joao")
    joao.go("/activity")
    joao.page.get_by_role("link", name="Check my log").first.click()
    if world.scripts:
        joao.page.get_by_role("button", name="Check my log").click()
        joao.sees("Nothing was changed, removed or moved.")
    else:
        joao.page.get_by_text("Check it without this page").click()
        joao.sees("portal verify activity-log.json")
    joao.page.get_by_role("link", name="How your log is kept honest").click()
    expect(joao.page.get_by_role("heading", level=1)).to_have_text("How your log is kept honest")


def test_pausing_holds_everything_back_until_it_is_resumed(world: World) -> None:
    company = world.company()
    hanako = world.person("hanako")
    sub = company.number(hanako.name)

    hanako.go("/sharing")
    hanako.sharing(BRIGHTWELL).get_by_role("button", name="Pause").click()
    expect(hanako.sharing(BRIGHTWELL)).to_contain_text("Paused")
    company.shows(company.find_number(sub), "Paused")
    refusal = company.refresh(company.find_number(sub))
    assert "refused" in refusal

    hanako.go("/sharing")
    hanako.sharing(BRIGHTWELL).get_by_role("button", name="Resume").click()
    expect(hanako.sharing(BRIGHTWELL).get_by_role("button", name="Pause")).to_be_visible()
    company.shows(company.find_number(sub), "Sharing")


def test_sharing_less_takes_the_detail_away_from_the_company(world: World) -> None:
    first, label = ("persephone", "Email address") if world.scripts else ("layla", "Mobile phone number")
    company = world.company()
    person = world.person(first)
    sub = company.number(person.name)
    kept = "Email" if world.scripts else "Mobile"
    expect(company.card_of(sub)).to_contain_text(kept)

    person.go("/sharing")
    person.sharing(BRIGHTWELL).get_by_role("link", name="Change what they get").click()
    person.page.get_by_label(label).uncheck()
    person.page.get_by_role("button", name="Save these choices").click()
    person.go("/sharing")
    expect(person.sharing(BRIGHTWELL)).not_to_contain_text(label)

    def gone() -> bool:
        return kept not in company.find_number(sub).locator("dt").all_inner_texts()

    world.until(f"the company no longer shows {kept}", gone)

"""The words of the story: what people do on the portal's pages and on the company's, one step each."""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import requests
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Locator, Page

    from tests.journeys.program import Demo

BRIGHTWELL = "Brightwell Energy"
# Everything that the journeys type into a page as somebody's detail holds it: the search at rest looks for it.
CANARY = f"canary{secrets.token_hex(6)}"
PHONE_CANARY = f"12{secrets.randbelow(10**5):05}"
_PATIENCE = 15.0
_LOOK = 0.2


@dataclass
class World:
    """The demo, and a way to open one more browser on it."""

    demo: Demo
    open_window: Callable[[], Page] = field(repr=False)
    scripts: bool = True

    def person(self, first_name: str) -> Person:
        """One of the cast, at a browser of their own, signed in."""
        facts = next(one for one in self.demo.report["people"] if one["email"].startswith(f"{first_name}@"))
        person = self.stranger(facts)
        person.sign_in()
        return person

    def stranger(self, facts: dict[str, Any]) -> Person:
        """Somebody at a browser, not signed in."""
        return Person(self, self.open_window(), facts)

    def company(self) -> Company:
        """Somebody at the demo company, looking at its own page."""
        return Company(self, self.open_window())

    def until(self, what: str, look: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not look():
            assert time.monotonic() < deadline, f"{what}, within {_PATIENCE:.0f} seconds"
            time.sleep(_LOOK)


@dataclass
class Person:
    """An individual at the portal."""

    world: World
    page: Page
    facts: dict[str, Any] = field(repr=False)

    @property
    def name(self) -> str:
        return str(self.facts["name"])

    def go(self, path: str) -> None:
        self.page.goto(self.world.demo.portal + path)

    def sees(self, text: str | re.Pattern[str]) -> None:
        expect(self.page.get_by_text(text).first).to_be_visible()

    def sign_in(self) -> None:
        self.go("/account/sign-in")
        self.fill_in_sign_in()
        expect(self.page).to_have_url(re.compile("/home"))

    def fill_in_sign_in(self) -> None:
        self.page.get_by_label("Email address").fill(self.facts["email"])
        self.page.get_by_label("Password").fill(self.facts["password"])
        self.page.get_by_role("main").get_by_role("button", name="Sign in").click()

    def codes_in_mail(self, address: str) -> list[str]:
        """Return the six digits in each mail to `address`, newest first."""
        articles = requests.get(self.world.demo.mailbox, timeout=5).text.split("<article>")
        return [code for text in articles if address in text for code in re.findall(r"\b\d{3} \d{3}\b", text)]

    def code_from_mail(self, address: str, *, beyond: int = 0) -> str:
        """Read the newest six digits that were mailed to `address`, once there are more than `beyond`."""
        found: list[str] = []

        def look() -> bool:
            found[:] = self.codes_in_mail(address)
            return len(found) > beyond

        self.world.until(f"a code is mailed to {address}", look)
        return found[0]

    def create_account(self, address: str) -> None:
        self.go("/account/create")
        self.page.get_by_label("Email address").fill(address)
        self.page.get_by_role("button", name="Send me a code").click()
        self.page.get_by_label("6-digit code").fill(self.code_from_mail(address))
        self.page.get_by_role("button", name="Continue").click()
        self.page.get_by_role("link", name="Do without").click()
        expect(self.page).to_have_url(re.compile("/home"))

    def row(self, label: str) -> Locator:
        """The line of one detail on *Your details*."""
        return self.page.locator(".sum > div").filter(has=self.page.get_by_text(label, exact=True)).first

    def start_changing(self, label: str) -> None:
        self.go("/details")
        self.row(label).get_by_role("link", name=re.compile("^(Change|Add) ")).click()

    def save(self) -> None:
        self.page.get_by_role("button", name=re.compile("^Save")).click()

    def change(self, label: str, value: str) -> None:
        """Change a detail that has one field."""
        self.start_changing(label)
        self.page.get_by_role("main").get_by_label(label).fill(value)
        self.save()
        expect(self.row(label)).to_contain_text("Saved")

    def fill_in_address(self, country: str, lines: dict[str, str]) -> None:
        """Choose the country first; its fields then come by themselves, or by a button where there are no scripts."""
        self.page.get_by_label("Country", exact=True).select_option(label=country)
        if not self.world.scripts:
            self.page.get_by_role("button", name="Update fields").click()
        # Every field of the new country stands there before anything is typed.
        for label in lines:
            expect(self.page.get_by_label(label, exact=True)).to_be_visible()
        for label, value in lines.items():
            self.page.get_by_label(label, exact=True).fill(value)

    def look_again_until(self, what: str, look: Callable[[], bool]) -> None:
        """Wait for what changes by itself; without scripts, by loading the page again."""

        def once_more() -> bool:
            if look():
                return True
            if not self.world.scripts:
                self.page.reload()
            return look()

        self.world.until(what, once_more)

    def sharing(self, company: str) -> Locator:
        """The organisation's card on *Sharing*."""
        return self.page.locator("article.card").filter(has=self.page.get_by_role("link", name=company)).first

    def activity(self) -> list[dict[str, str]]:
        """The lines of *Activity*, one's own decisions among them, newest first, as heading → text."""
        self.go("/activity?own=1")
        heads = self.page.locator("thead th").all_inner_texts()
        rows = self.page.locator("tbody tr").all()
        return [dict(zip(heads, row.locator("td").all_inner_texts(), strict=True)) for row in rows]


@dataclass
class Company:
    """Somebody at Brightwell Energy, and what its own pages show."""

    world: World
    page: Page

    def go(self, path: str = "/") -> None:
        self.page.goto(self.world.demo.company + path)

    def card(self, name: str) -> Locator:
        return self.page.locator("li.card").filter(has=self.page.get_by_role("heading", name=name, exact=True))

    def card_of(self, sub: str) -> Locator:
        """A customer's card by number: after they stopped, the name is gone."""
        return self.page.locator(f'li.card[data-sub="{sub}"]')

    def find(self, name: str) -> Locator:
        """Turn the pages until the customer's card is there."""
        self.world.until(f"{name} is among the customers", lambda: self._turn_pages(self.card(name)))
        return self.card(name)

    def find_number(self, sub: str) -> Locator:
        self.world.until("the customer is on a page", lambda: self._turn_pages(self.card_of(sub)))
        return self.card_of(sub)

    def _turn_pages(self, card: Locator) -> bool:
        self.go()
        while not card.count():
            older = self.page.get_by_role("link", name="Older")
            if not older.count():
                return False
            older.click()
            self.page.wait_for_load_state()
        return True

    def number(self, name: str) -> str:
        return str(self.find(name).get_attribute("data-sub"))

    def shows(self, card: Locator, text: str) -> None:
        """Wait until it shows there: by itself, or by looking again where there are no scripts."""

        def look() -> bool:
            if not self.world.scripts and not (card.count() and text in card.inner_text()):
                self.page.reload()
            return bool(card.count()) and text in card.inner_text()

        self.world.until(f"the company's page shows {text!r}", look)

    def refresh(self, card: Locator) -> str:
        """Press *Refresh now*; return what the page says about the answer."""
        card.get_by_role("button", name="Refresh now").click()
        notice = self.page.locator(".note").first
        expect(notice).to_be_visible()
        return notice.inner_text()

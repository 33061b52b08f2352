"""Home: what needs attention, with whom somebody shares, and who used it lately."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from portal import db
from portal.consent import services
from portal.ledger import services as ledger
from portal.ledger.services import NewDisclosure, NewOutcome
from tests.consent.offers import NOW, Offer
from tests.counting import statements

if TYPE_CHECKING:
    from collections.abc import Callable

    from portal.config import Settings
    from portal.consent.models import Grant
    from tests.consent.browser import Browser


@pytest.fixture
def share(settings: Settings, browser: Browser) -> Callable[..., tuple[Offer, Grant]]:
    """Share with one more organisation."""

    def make(**choice: Any) -> tuple[Offer, Grant]:  # noqa: ANN401 - arguments of `give`
        required = choice.pop("required", None)
        with db.transaction(settings.database_url) as session:
            offer = Offer(session, **({"required": required} if required else {}))
            return offer, offer.give(session, browser.person_id, **choice)

    return make


def use(settings: Settings, browser: Browser, name: str, *, minutes_ago: int, channel: str = "pull") -> None:
    at = NOW - timedelta(minutes=minutes_ago)
    with db.transaction(settings.database_url) as session:
        ledger.open_months(session, now=at)
        context = ledger.context(
            session, company_id=db.new_id(), client_id="c", company_name=name, purpose="send bills"
        )
        row = NewDisclosure(
            person_id=browser.person_id, at=at, context_id=context, channel=channel, outcome="sending",
            asked=["name.full"], given={"name.full": 1},
        )  # fmt: skip
        became = NewOutcome(
            person_id=browser.person_id, at=at, disclosure_id=row.disclosure_id, outcome="completed", detail="",
            milliseconds=1,
        )  # fmt: skip
        ledger.record(session, row)
        ledger.report(session, became, now=NOW)


def words(browser: Browser) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", browser.get("/home").text).split())


def test_somebody_new_reads_how_it_begins(browser: Browser) -> None:
    home = words(browser)
    assert "You do not share your details with any organisation now." in home
    assert "Good to know" in home
    assert "Nobody has used your details yet." in home
    assert "Needs your attention" not in home


def test_who_it_is_shared_with_and_since_when(browser: Browser, share: Callable[..., tuple[Offer, Grant]]) -> None:
    one, _ = share()
    other, _ = share()
    home = words(browser)
    assert "Sharing with 2 organisations" in home
    assert f"{one.name} Sharing since " in home
    assert f"{other.name} Sharing since " in home
    assert "Good to know" not in home
    assert "Needs your attention" not in home


def test_what_is_paused_or_ends_soon_or_misses_something_needs_attention(
    settings: Settings, browser: Browser, share: Callable[..., tuple[Offer, Grant]]
) -> None:
    paused, held = share()
    with db.transaction(settings.database_url) as session:
        services.pause(session, person_id=browser.person_id, grant_id=held.grant_id, now=NOW)
    ending, _ = share(days=20)
    lacking, _ = share(required=[{"attribute": "phone.home", "reason": "To ring you"}], attributes=["phone.home"])
    home = words(browser)
    order = [f"{lacking.name} needs what you have not given yet: add your home phone number"]
    order += [f"Sharing with {ending.name} ends on", f"Sharing with {paused.name} is paused since"]
    assert sorted(order, key=home.index) == order
    assert "Sharing with 2 organisations" in home
    text = browser.get("/home").text
    assert 'href="/details/phone.home/edit"' in text
    assert f'href="/sharing/{held.grant_id}"' in text


def test_what_is_over_is_of_no_concern(
    settings: Settings, browser: Browser, share: Callable[..., tuple[Offer, Grant]]
) -> None:
    offer, held = share(required=[{"attribute": "phone.home", "reason": "To ring you"}], attributes=["phone.home"])
    with db.transaction(settings.database_url) as session:
        services.withdraw(session, person_id=browser.person_id, grant_id=held.grant_id, now=NOW)
    home = words(browser)
    assert "Needs your attention" not in home
    assert "You do not share your details with any organisation now." in home
    assert offer.name not in home


def test_the_last_five_uses_and_no_decisions(
    settings: Settings, browser: Browser, share: Callable[..., tuple[Offer, Grant]]
) -> None:
    share()
    for number in range(7):
        use(settings, browser, f"Reader {number}", minutes_ago=number)
    home = words(browser)
    assert [f"Reader {number}," in home for number in range(7)] == [True] * 5 + [False] * 2
    assert "They asked. Received." in home
    assert "You decided" not in home


def test_sharing_with_more_costs_no_more_queries(
    settings: Settings, browser: Browser, share: Callable[..., tuple[Offer, Grant]]
) -> None:
    share()
    with statements(settings) as few:
        browser.get("/home")
    for number in range(7):
        share()
        use(settings, browser, f"Reader {number}", minutes_ago=number)
    with statements(settings) as many:
        home = browser.get("/home").text
    assert "and 2 more" in home
    assert len(many) == len(few)
    # Who is signed in and for which company (2 each), whether they look after the portal, whether all is frozen, the
    # record and its key, the cards (4), what waits, the uses.
    assert len(few) <= 15, few

"""Who has which version of a detail: by what arrived, what is current, what is shared, and what is to be deleted."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from portal import db, events
from portal.consent import deletions, holders, queries, services
from portal.consent.deletions import Said
from portal.consumer import services as consumer
from portal.ledger import services as ledger
from tests.consent.offers import Offer

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from portal.config import Settings
    from portal.consent.holders import Holder
    from portal.consent.models import Grant
    from portal.vault.keyring import Keyring
    from tests.consent.browser import Browser

OLD, NEW = "+353851234567", "+353857654321"
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def _deletions() -> None:
    events.listen(events.GrantChanged, deletions.on_grant_changed)


@pytest.fixture
def act(settings: Settings) -> Callable[..., Any]:
    def run(service: Callable[..., Any], **keywords: Any) -> Any:  # noqa: ANN401 - whatever a service takes and returns
        with db.transaction(settings.database_url) as session:
            return service(session, **keywords)

    return run


@pytest.fixture
def save(act: Callable[..., Any], keys: Keyring, browser: Browser) -> Callable[[str], None]:
    """Change the mobile number of whoever is in the browser."""

    def change(number: str) -> None:
        act(consumer.save, keyring=keys, person_id=browser.person_id, changes={"phone.mobile": number}, now=db.now())

    return change


@pytest.fixture
def shared(settings: Settings, lasting: Offer, browser: Browser, save: Callable[[str], None]) -> Grant:
    save(OLD)
    with db.transaction(settings.database_url) as session:
        return lasting.give(session, browser.person_id, attributes=["name.full", "phone.mobile"])


def tell(
    settings: Settings, grant: Grant, version: int, outcome: str = "completed", at: datetime | None = None
) -> None:
    """Log that a number was sent, and what became of it."""
    row = ledger.NewDisclosure(
        person_id=grant.person_id, at=at or db.now(), context_id=grant.context_id, channel="push", outcome="sending",
        asked=["phone.mobile"], given={"phone.mobile": version}, grant_id=grant.grant_id, grant_version=1,
    )  # fmt: skip
    with db.transaction(settings.database_url) as session:
        ledger.record(session, row)
        if outcome != "sending":
            said = ledger.NewOutcome(
                person_id=row.person_id, at=row.at, disclosure_id=row.disclosure_id, outcome=outcome, detail="",
                milliseconds=1,
            )  # fmt: skip
            ledger.report(session, said, now=db.now())


def of(settings: Settings, grant: Grant, now: datetime | None = None) -> Holder | None:
    with db.transaction(settings.database_url) as session:
        row = holders.of_detail(session, person_id=grant.person_id, attribute="phone.mobile", now=now or db.now())
    return next((one for one in row.holders if one.card.id == grant.grant_id), None)


def test_nothing_was_sent_yet(settings: Settings, shared: Grant) -> None:
    found = of(settings, shared)
    assert found
    assert (found.holds, found.version, found.since) == ("nothing", None, None)


@pytest.mark.parametrize(
    ("told", "came_to"),
    [
        ([(1, "completed"), (2, "completed")], ("current", 2, False)),
        ([(1, "completed"), (2, "failed")], ("old", 1, False)),
        ([(1, "completed"), (2, "sending")], ("old", 1, True)),
        ([(1, "completed"), (2, "unknown")], ("old", 1, True)),
        ([(2, "completed"), (2, "unknown")], ("current", 2, False)),
        ([(1, "unknown")], ("nothing", None, True)),
        ([(1, "failed")], ("nothing", None, False)),
        ([(1, "completed"), (2, "suppressed")], ("old", 1, False)),
        ([(1, "suppressed")], ("nothing", None, False)),
        ([(2, "completed"), (1, "completed")], ("current", 2, False)),  # a late answer to an old question
    ],
)
def test_what_arrived_decides(
    settings: Settings,
    shared: Grant,
    save: Callable[[str], None],
    told: list[tuple[int, str]],
    came_to: tuple[str, int | None, bool],
) -> None:
    save(NEW)
    for number, outcome in told:
        tell(settings, shared, number, outcome)
    found = of(settings, shared)
    assert found
    assert (found.holds, found.version, found.on_its_way) == came_to


def test_it_is_held_since_it_came_first(settings: Settings, shared: Grant) -> None:
    first = db.now() - DAY
    tell(settings, shared, 1, at=first)
    tell(settings, shared, 1)
    found = of(settings, shared)
    assert found
    assert found.since == first


def test_taken_back_stopped_asked_and_deleted(settings: Settings, shared: Grant, act: Callable[..., Any]) -> None:
    tell(settings, shared, 1)
    mine: dict[str, Any] = {"person_id": shared.person_id, "grant_id": shared.grant_id}
    act(services.change, **mine, attributes=["name.full"], mode="asked", days=None, level=1, shown={}, now=db.now())
    left = of(settings, shared)
    assert left
    assert left.holds == "left"
    assert "You no longer share it. They must delete it by" in left.more
    act(services.pause, **mine, now=db.now() + 10 * DAY)
    act(services.resume, **mine, now=db.now() + 10 * DAY)
    again = of(settings, shared)
    assert again
    assert again.due_at == left.due_at, "a pause gives nobody more time"
    past = of(settings, shared, db.now() + 31 * DAY)
    assert past
    assert (past.holds, "They had to delete it by" in past.more) == ("past", True)
    act(services.withdraw, **mine, erase=True, now=db.now())
    asked = of(settings, shared)
    assert asked
    assert (asked.holds, asked.look.tag) == ("asked", "Asked to delete it")
    overdue = of(settings, shared, db.now() + 40 * DAY)
    assert overdue
    assert overdue.holds == "overdue"
    said = Said(attribute="phone.mobile", deleted=True)
    act(deletions.answer, **mine, said=[said], channel="api", now=db.now())
    gone = of(settings, shared)
    assert gone
    assert gone.holds == "deleted"


def test_what_is_shared_for_the_same_use_again_is_said_once(
    settings: Settings, shared: Grant, act: Callable[..., Any], lasting: Offer
) -> None:
    tell(settings, shared, 1)
    act(services.withdraw, person_id=shared.person_id, grant_id=shared.grant_id, erase=True, now=db.now())
    with db.transaction(settings.database_url) as session:
        anew = lasting.give(session, shared.person_id, attributes=list(shared.attributes), now=db.now())
    tell(settings, anew, 1)
    with db.transaction(settings.database_url) as session:
        row = holders.of_detail(session, person_id=shared.person_id, attribute="phone.mobile", now=db.now())
    assert [(one.card.id, one.holds) for one in row.holders] == [(anew.grant_id, "current")]
    assert (row.said, row.organisations) == ("1 organisation has the current one", 1)


def test_who_holds_my_old_number(
    settings: Settings, shared: Grant, browser: Browser, save: Callable[[str], None], lasting: Offer
) -> None:
    with db.transaction(settings.database_url) as session:
        other = Offer(session).give(session, browser.person_id, attributes=["name.full", "phone.mobile"])
    tell(settings, shared, 1)
    save(NEW)
    tell(settings, other, 2)
    page = browser.get("/sharing/by-detail/phone.mobile").text
    current, _, before = page.partition("Until ")
    assert lasting.name in before
    assert lasting.name not in current
    for words in ("765 4321", "123 4567", "Has an older one", "Has the current one", "You agreed on"):
        assert words in page
    overview = browser.get("/sharing?view=detail").text
    assert "1 organisation has the current one, 1 has an older one" in overview
    assert "765 4321" not in overview


def test_who_stops_reads_what_they_have(
    settings: Settings, shared: Grant, browser: Browser, save: Callable[[str], None]
) -> None:
    tell(settings, shared, 1)
    save(NEW)
    assert "They have now: Mobile phone number (an older one)." in browser.get(f"/sharing/{shared.grant_id}/stop").text
    browser.send(f"/sharing/{shared.grant_id}/stop", erase="1")
    with db.transaction(settings.database_url) as session:
        step = queries.versions(session, person_id=shared.person_id, grant_id=shared.grant_id)[-1]
    assert step.shown["has"] == ["phone.mobile"]


def test_nobody_else_sees_it_and_unknown_details_are_none(browser: Browser, shared: Grant) -> None:
    assert "Nobody. No organisation has got it" in browser.get("/sharing/by-detail/birth.date").text
    assert browser.get("/sharing/by-detail/shoe.size").status_code == 404
    assert browser.get(f"/sharing/{shared.grant_id}/today").status_code == 200

"""Are these still right to share?  One press keeps one, or all; looking keeps nothing."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from portal import db
from portal.consent import chain, queries, services
from portal.web.dates import day
from tests.consent.offers import Offer

if TYPE_CHECKING:
    from portal.config import Settings
    from portal.consent.models import Grant
    from tests.consent.browser import Browser

DAY = timedelta(days=1)
pytestmark = pytest.mark.usefixtures("old_months")


@pytest.fixture
def held(settings: Settings, browser: Browser) -> list[Grant]:
    """Shared for 100 days 96 days ago, for 90 days yesterday, until stopped; paused; and just once."""
    now = db.now()
    terms: list[dict[str, object]] = [
        {"days": 100, "now": now - 96 * DAY},
        {"days": 90, "now": now - DAY},
        {"now": now - 500 * DAY},
        {"days": 90, "now": now - DAY},
        {"days": 7, "mode": "once", "now": now},
    ]
    with db.transaction(settings.database_url) as session:
        made = [Offer(session).give(session, browser.person_id, **each) for each in terms]
        services.pause(session, person_id=browser.person_id, grant_id=made[3].grant_id, now=now)
    return made


def stand(settings: Settings, grant: Grant) -> Grant:
    with db.transaction(settings.database_url) as session:
        found = queries.grant(session, person_id=grant.person_id, grant_id=grant.grant_id)
        assert found
        assert chain.intact(queries.versions(session, person_id=grant.person_id, grant_id=grant.grant_id))
        return found


def test_the_most_pressing_comes_first_and_nothing_is_ticked(browser: Browser, held: list[Grant]) -> None:
    page = browser.get("/sharing/check").text
    places = [page.find(f'id="n-{grant.grant_id}"') for grant in held]
    assert 0 < places[0] < places[1]
    assert places[3:] == [-1, -1]
    for words in (
        "It ends very soon.",
        "96 % of its time has gone by",
        "Keep all 3 of them",
        "Still right: keep sharing",
    ):
        assert words in page
    assert not re.search(r"<input[^>]* checked", page)


def test_one_press_keeps_one_for_as_long_again(settings: Settings, browser: Browser, held: list[Grant]) -> None:
    until = db.now() + 100 * DAY
    assert f"Keep sharing until {day(until)}" in browser.get("/sharing/check").text
    assert stand(settings, held[0]).version == held[0].version, "looking keeps nothing"
    assert browser.send("/sharing/check", keep=str(held[0].grant_id)).status_code == 303
    kept = stand(settings, held[0])
    assert kept.expires_at
    assert abs(kept.expires_at - until) < timedelta(minutes=1)
    with db.transaction(settings.database_url) as session:
        step = queries.versions(session, person_id=kept.person_id, grant_id=kept.grant_id)[-1]
    assert (step.step, step.shown["answers"]) == ("renewed", [f"Keep sharing until {day(until)}"])
    assert stand(settings, held[1]).version == held[1].version


def test_a_pause_between_does_not_shorten_it(settings: Settings, browser: Browser, held: list[Grant]) -> None:
    mine = {"person_id": browser.person_id, "grant_id": held[0].grant_id}
    with db.transaction(settings.database_url) as session:
        services.pause(session, **mine, now=db.now())
        services.resume(session, **mine, now=db.now())
    browser.send("/sharing/check", keep=str(held[0].grant_id))
    kept = stand(settings, held[0])
    assert kept.expires_at
    assert kept.expires_at > db.now() + 99 * DAY


def test_one_press_keeps_all(settings: Settings, browser: Browser, held: list[Grant]) -> None:
    answer = browser.send("/sharing/check", keep=[str(grant.grant_id) for grant in held[:3]])
    assert answer.status_code == 303
    assert "You keep sharing with 3 organisations." in browser.get("/sharing/check").text
    assert [stand(settings, grant).version for grant in held[:3]] == [grant.version + 1 for grant in held[:3]]
    assert stand(settings, held[2]).expires_at is None


def test_what_is_not_ones_own_is_not_kept(
    settings: Settings, browser: Browser, held: list[Grant], lasting: Offer
) -> None:
    with db.transaction(settings.database_url) as session:
        theirs = lasting.give(session, db.new_id())
    browser.send("/sharing/check", keep=[str(theirs.grant_id), str(held[3].grant_id), "x"])
    assert "Nothing was changed." in browser.get("/sharing/check").text
    assert stand(settings, theirs).version == theirs.version


def test_share_again_begins_anew(settings: Settings, browser: Browser, lasting: Offer) -> None:
    with db.transaction(settings.database_url) as session:
        old = lasting.give(session, browser.person_id, attributes=["name.full", "email.main"])
    assert "You share with" in browser.get(f"/sharing/{old.grant_id}/again").text
    with db.transaction(settings.database_url) as session:
        services.withdraw(session, person_id=browser.person_id, grant_id=old.grant_id, now=db.now())
    assert "Share again" in browser.get(f"/sharing/{old.grant_id}").text
    page = browser.get(f"/sharing/{old.grant_id}/again").text
    assert "Share with" in page
    assert not re.search(r"<input[^>]* checked", page)
    seen = page.partition('name="seen"')[2].partition('value="')[2].partition('"')[0]
    answer: dict[str, Any] = {"seen": seen, "answer": "share", "duration": "year", "attributes": "email.main"}
    assert browser.send(f"/sharing/{old.grant_id}/again", answer="decline").status_code == 303
    assert browser.send(f"/sharing/{old.grant_id}/again", answer="share", duration="").status_code == 422
    made = browser.send(f"/sharing/{old.grant_id}/again", **answer)
    assert made.status_code == 303
    assert str(old.grant_id) not in made.headers["Location"]
    assert stand(settings, old).state == "withdrawn"
    again = browser.send(f"/sharing/{old.grant_id}/again", **answer)
    assert again.headers["Location"] == made.headers["Location"].removesuffix("/receipt")


@pytest.mark.parametrize("how", ["ended", "refused"])
def test_what_the_organisation_ended_begins_with_it(
    settings: Settings, browser: Browser, lasting: Offer, how: str
) -> None:
    with db.transaction(settings.database_url) as session:
        held = lasting.give(session, browser.person_id)
        if how == "ended":
            services.end(session, person_id=browser.person_id, grant_id=held.grant_id, now=db.now())
        else:
            services.withdraw(session, person_id=browser.person_id, grant_id=held.grant_id, now=db.now())
            asked: dict[str, Any] = {"client_id": lasting.client_id, "purpose_id": lasting.purpose_id}
            held = services.refuse(
                session, services.Reply(person_id=browser.person_id, shown={}, now=db.now(), **asked)
            )
    assert "start on their own site" in browser.get(f"/sharing/{held.grant_id}/again").text


def test_a_change_marks_what_it_adds_and_takes_away(browser: Browser, lasting: Offer, settings: Settings) -> None:
    with db.transaction(settings.database_url) as session:
        held = lasting.give(session, browser.person_id, attributes=["name.full", "email.main"])
    page = browser.get(f"/sharing/{held.grant_id}/change").text
    assert "Removed: they get it no more" in page
    assert "New: they get it from now on" in page

"""Asking a company to delete what it has: when stopping, or later; kept with the words, told once."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from portal import db
from portal.consent import chain, queries, services, terms
from portal.ledger.services import NewDisclosure, record
from tests.consent.offers import NOW, Offer

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from portal import events
    from portal.config import Settings
    from portal.consent.models import Grant
    from tests.consent.browser import Browser

LATER = NOW + timedelta(days=3)
WORDS = {"title": "Stop sharing?", "erasure": {"asked": True}}


def used(session: Session, grant: Grant, outcome: str = "completed") -> None:
    row = NewDisclosure(
        person_id=grant.person_id, at=NOW, context_id=grant.context_id, channel="push", outcome=outcome,
        asked=list(grant.attributes), given=dict.fromkeys(grant.attributes, 1), grant_id=grant.grant_id,
        grant_version=1,
    )  # fmt: skip
    record(session, row)


@pytest.fixture
def held(session: Session, offer: Offer) -> Grant:
    return offer.give(session, uuid4())


def stop(session: Session, held: Grant, **words: Any) -> Grant:  # noqa: ANN401 - arguments of `withdraw`
    return services.withdraw(session, person_id=held.person_id, grant_id=held.grant_id, now=LATER, **words)


def ask(session: Session, held: Grant) -> Grant:
    return services.ask_erasure(session, person_id=held.person_id, grant_id=held.grant_id, shown=WORDS, now=LATER)


def test_stopping_keeps_the_wish_and_the_words_in_one_step(session: Session, held: Grant) -> None:
    used(session, held)
    stop(session, held, erase=True, shown=WORDS)
    kept = queries.versions(session, person_id=held.person_id, grant_id=held.grant_id)
    assert [(one.step, one.shown) for one in kept][1:] == [("withdrawn", WORDS)]
    assert chain.intact(kept)
    assert (held.state, held.erasure_asked_at) == ("withdrawn", LATER)


@pytest.mark.parametrize("outcome", [None, "denied", "suppressed"])
def test_who_got_nothing_is_asked_for_nothing(session: Session, held: Grant, outcome: str | None) -> None:
    if outcome:
        used(session, held, outcome)
    stop(session, held, erase=True)
    ask(session, held)
    assert (held.version, held.erasure_asked_at) == (2, None)


@pytest.mark.parametrize("outcome", ["completed", "sending"])
def test_it_can_be_asked_later_once(
    session: Session, held: Grant, told: list[events.GrantChanged], outcome: str
) -> None:
    used(session, held, outcome)
    stop(session, held)
    for _ in range(2):
        ask(session, held)
    assert (held.version, held.state, held.changed_at, held.erasure_asked_at) == (3, "withdrawn", LATER, LATER)
    assert len(told) == 2
    kept = queries.versions(session, person_id=held.person_id, grant_id=held.grant_id)
    assert ([one.step for one in kept], chain.intact(kept)) == (["given", "withdrawn", "erasure-asked"], True)


def test_the_wish_of_somebody_who_stops_what_has_ended_meanwhile_is_kept(session: Session, held: Grant) -> None:
    used(session, held)
    services.end(session, person_id=held.person_id, grant_id=held.grant_id, now=NOW)
    stop(session, held, erase=True, shown=WORDS)
    kept = queries.versions(session, person_id=held.person_id, grant_id=held.grant_id)
    assert [(one.step, one.shown) for one in kept][1:] == [("ended", {}), ("erasure-asked", WORDS)]
    assert (held.state, held.erasure_asked_at) == ("ended", LATER)


def test_what_is_still_shared_is_not_asked_back(session: Session, held: Grant) -> None:
    used(session, held)
    with pytest.raises(services.StillSharingError):
        ask(session, held)


def test_what_ran_out_is_closed_first(session: Session, offer: Offer) -> None:
    held = offer.give(session, uuid4(), days=1)
    used(session, held)
    ask(session, held)
    assert (held.state, held.erasure_asked_at) == ("expired", LATER)


@pytest.mark.parametrize(
    ("changed", "expires", "days", "by"), [(3, None, 30, 33), (3, 90, 30, 33), (5, 1, 30, 31), (3, 90, 0, 3)]
)
def test_the_time_to_delete_runs_from_the_end(changed: int, expires: int | None, days: int, by: int) -> None:
    found = terms.delete_by(
        changed_at=NOW + timedelta(days=changed),
        expires_at=None if expires is None else NOW + timedelta(days=expires),
        retention_days=days,
    )
    assert found == NOW + timedelta(days=by)


@pytest.fixture
def mine(settings: Settings, lasting: Offer, browser: Browser) -> Grant:
    with db.transaction(settings.database_url) as session:
        held = lasting.give(session, browser.person_id, now=db.now())
        used(session, held)
        return held


def test_the_page_offers_it_ticked_and_says_until_when(browser: Browser, mine: Grant) -> None:
    shown = browser.get(f"/sharing/{mine.grant_id}/stop").text
    assert 'name="erase" value="1" checked' in shown
    assert "The law may make them keep some of it" in shown
    browser.send(f"/sharing/{mine.grant_id}/stop", erase="1")
    card = browser.get(f"/sharing/{mine.grant_id}").text
    assert "to delete what they have on" in card
    assert "They must by" in card
    assert "Stopped and asked them to delete what they have" in card
    receipt = json.loads(browser.get(f"/sharing/{mine.grant_id}/receipt.json").text)
    assert receipt["events"][-1]["shown"]["erasure"]["asked"] is True
    assert receipt["chain_intact"] is True


def test_whoever_unticks_it_can_ask_later(browser: Browser, mine: Grant) -> None:
    browser.send(f"/sharing/{mine.grant_id}/stop")
    card = browser.get(f"/sharing/{mine.grant_id}").text
    assert "They must by" not in card
    assert "Ask them to delete it" in card
    browser.send(f"/sharing/{mine.grant_id}/ask-deletion")
    card = browser.get(f"/sharing/{mine.grant_id}").text
    assert "They must by" in card
    assert "Ask them to delete it" not in card
    assert "You asked them to delete what they have" in browser.get("/activity?own=1").text

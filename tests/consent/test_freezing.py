"""Freezing everything: what was active pauses, what was paused stays so, and nothing new begins meanwhile."""

from __future__ import annotations

import re
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from sqlalchemy import event, update

from portal import db
from portal.consent import chain, freezing, later, queries, renewing, rules, services
from portal.consent.freezing import FrozenError
from portal.consent.models import Grant
from portal.identity.models import BrowserSession
from portal.ledger import queries as ledger
from tests.consent.offers import NOW, Offer
from tests.consent.questions import kept as asking_state
from tests.consent.questions import put
from tests.consent.test_races import kept, together

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from sqlalchemy.orm import Session

    from portal.config import Settings
    from portal.vault.keyring import Keyring
    from tests.consent.browser import Browser


@pytest.fixture
def offers(settings: Settings) -> list[Offer]:
    with db.transaction(settings.database_url) as session:
        return [Offer(session) for _ in range(3)]


@pytest.fixture
def held(settings: Settings, offers: list[Offer], browser: Browser) -> list[Grant]:
    """What somebody shares: two that are active and one that they have paused."""
    with db.transaction(settings.database_url) as session:
        made = [offer.give(session, browser.person_id) for offer in offers]
        services.pause(session, person_id=browser.person_id, grant_id=made[2].grant_id, now=NOW)
    return made


def states(settings: Settings, grants: list[Grant]) -> list[str]:
    with db.transaction(settings.database_url) as session:
        found = [queries.grant(session, person_id=each.person_id, grant_id=each.grant_id) for each in grants]
        return [each.state + "*" * (each.frozen_at is not None) for each in found if each]


def freeze(settings: Settings, person_id: UUID) -> None:
    with db.transaction(settings.database_url) as session:
        freezing.freeze(session, person_id=person_id, now=db.now())


def test_what_was_paused_before_stays_paused_after(settings: Settings, held: list[Grant], browser: Browser) -> None:
    freeze(settings, browser.person_id)
    assert states(settings, held) == ["paused*", "paused*", "paused"]
    with db.transaction(settings.database_url) as session:
        wanted = {held[0].grant_id, held[2].grant_id, uuid4()}
        done = freezing.unfreeze(session, person_id=browser.person_id, resume=wanted, now=db.now())
    assert done == (1, 1)
    assert states(settings, held) == ["active", "paused", "paused"]
    with db.transaction(settings.database_url) as session:
        assert freezing.since(session, person_id=browser.person_id) is None
        for grant, steps in zip(held, (["frozen", "resumed"], ["frozen", "paused"], ["paused"]), strict=True):
            versions = queries.versions(session, person_id=grant.person_id, grant_id=grant.grant_id)
            assert chain.intact(versions)
            assert [each.step for each in versions][-len(steps) :] == steps


def test_the_policy_names_the_freeze(settings: Settings, held: list[Grant], browser: Browser) -> None:
    freeze(settings, browser.person_id)
    with db.transaction(settings.database_url) as session:
        for grant, refusal in zip(
            held, (rules.Refusal.FROZEN, rules.Refusal.FROZEN, rules.Refusal.PAUSED), strict=True
        ):
            stands = queries.standing(session, person_id=grant.person_id, grant_id=grant.grant_id)
            for channel in rules.Channel:
                decision = rules.decide(
                    stands, client_id=grant.client_id, channel=channel, requested=None, now=db.now()
                )
                assert decision == ((), refusal)


@pytest.mark.parametrize("act", ["give", "give anew", "resume", "change", "renew"])
def test_nothing_new_while_it_lasts(
    settings: Settings, held: list[Grant], offers: list[Offer], browser: Browser, act: str
) -> None:
    freeze(settings, browser.person_id)
    grant = held[2]
    mine: dict[str, Any] = {"person_id": grant.person_id, "grant_id": grant.grant_id, "now": db.now()}
    terms: dict[str, Any] = {"attributes": ["name.full"], "mode": "asked", "days": None, "level": 1, "shown": {}}
    with db.transaction(settings.database_url) as session:
        acts = {
            "give": partial(offers[2].give, session, browser.person_id),
            "give anew": partial(Offer(session).give, session, browser.person_id),
            "resume": partial(services.resume, session, **mine),
            "change": partial(services.change, session, **mine, **terms),
            "renew": partial(renewing.renew, session, **mine, level=1, shown={}),
        }
        with pytest.raises(FrozenError):
            acts[act]()
    assert states(settings, held) == ["paused*", "paused*", "paused"]


def test_stopping_is_always_possible(settings: Settings, held: list[Grant], browser: Browser) -> None:
    freeze(settings, browser.person_id)
    with db.transaction(settings.database_url) as session:
        services.withdraw(session, person_id=browser.person_id, grant_id=held[0].grant_id, now=db.now())
        freezing.unfreeze(session, person_id=browser.person_id, resume={held[0].grant_id}, now=db.now())
    assert states(settings, held)[0].startswith("withdrawn")


def test_freezing_twice_is_one_step(settings: Settings, held: list[Grant], browser: Browser) -> None:
    freeze(settings, browser.person_id)
    with db.transaction(settings.database_url) as session:
        since = freezing.since(session, person_id=browser.person_id)
        assert freezing.freeze(session, person_id=browser.person_id, now=db.now()) == 0
        assert freezing.since(session, person_id=browser.person_id) == since
    assert states(settings, held) == ["paused*", "paused*", "paused"]


def test_giving_and_freezing_at_once_leaves_nothing_active(settings: Settings, lasting: Offer) -> None:
    """Whoever gives comes before the freeze, which pauses it, or after it, and is refused."""
    for _ in range(8):
        person_id = uuid4()

        def give(session: Session, person_id: UUID = person_id) -> None:
            try:
                lasting.give(session, person_id)
            except FrozenError:
                session.rollback()

        together(settings, give, partial(freezing.freeze, person_id=person_id, now=db.now()), give)
        assert all(grant.state == "paused" and grant.frozen_at for grant in kept(settings, person_id))


def test_resuming_and_freezing_at_once_leaves_nothing_active(settings: Settings, lasting: Offer) -> None:
    for _ in range(8):
        person_id = uuid4()
        with db.transaction(settings.database_url) as session:
            grant = lasting.give(session, person_id)
            services.pause(session, person_id=person_id, grant_id=grant.grant_id, now=NOW)

        def resume(session: Session, grant: Grant = grant) -> None:
            try:
                services.resume(session, person_id=grant.person_id, grant_id=grant.grant_id, now=db.now())
            except FrozenError:
                session.rollback()

        together(settings, resume, partial(freezing.freeze, person_id=person_id, now=db.now()))
        assert [each.state for each in kept(settings, person_id)] == ["paused"]


@pytest.fixture
def counted(settings: Settings) -> Iterator[list[str]]:
    """Every statement that the process sends while the test runs; a batch of rows is one."""
    heard: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        heard.append(statement)

    engine = db.engine(settings.database_url)
    event.listen(engine, "before_cursor_execute", note)
    yield heard
    event.remove(engine, "before_cursor_execute", note)


def test_five_hundred_consents_cost_no_more_statements_than_two(settings: Settings, counted: list[str]) -> None:
    costs = []
    for many in (2, 500):
        person_id = uuid4()
        with db.transaction(settings.database_url) as session:
            first = Offer(session)
            made = first.give(session, person_id)
            copies = [_like(made) for _ in range(many - 1)]
            session.add_all(copies)
        counted.clear()
        started = db.now()
        freeze(settings, person_id)
        spent = (db.now() - started).total_seconds()
        frozen = len(counted)
        counted.clear()
        with db.transaction(settings.database_url) as session:
            resume = {grant.grant_id for grant in (made, *copies[: many // 2 - 1])}
            freezing.unfreeze(session, person_id=person_id, resume=resume, now=db.now())
        costs.append((frozen, len(counted)))
        assert spent < 3
        with db.transaction(settings.database_url) as session:
            rows = ledger.of_person(session, person_id=person_id, limit=2000)
            assert len(rows) == 2 * many + 1
    assert costs[0] == costs[1]


def _like(grant: Grant) -> Grant:
    """Another consent of the same person, for another purpose of the same app; its chain begins with the freeze."""
    columns = {
        name: getattr(grant, name)
        for name in (
            "person_id", "company_id", "client_id", "purpose_version", "context_id", "state", "mode", "attributes",
            "given_at", "changed_at", "expires_at", "retention_days", "level",
        )
    }  # fmt: skip
    return Grant(**columns, purpose_id=uuid4(), version=0)


def test_the_page_freezes_and_the_strip_is_everywhere(settings: Settings, held: list[Grant], browser: Browser) -> None:
    assert "2 uses of your details are paused" in browser.get("/sharing/freeze").text
    assert states(settings, held)[0] == "active", "looking freezes nothing"
    assert browser.send("/sharing/freeze").status_code == 303
    assert states(settings, held) == ["paused*", "paused*", "paused"]
    for path in (
        "/home",
        "/details",
        "/sharing",
        "/activity",
        "/account/security",
        "/help",
        f"/sharing/{held[0].grant_id}",
    ):
        assert "Everything you share is frozen" in browser.get(path).text, path
    card = browser.get(f"/sharing/{held[0].grant_id}").text
    assert "Frozen" in card
    assert "/resume" not in card
    assert "/resume" not in browser.get("/sharing").text, "nor can what was paused before be resumed"
    refused = browser.send(f"/sharing/{held[2].grant_id}/resume")
    assert refused.status_code == 409
    assert "All sharing is frozen." in refused.text
    assert "you first choose what goes on again" in browser.get(f"/sharing/{held[0].grant_id}/change").text


def test_a_question_from_afar_waits_while_it_lasts(
    settings: Settings, keys: Keyring, browser: Browser, lasting: Offer
) -> None:
    request_id = put(settings, keys, browser.person_id, lasting)
    asked = f"/sharing/requests/{request_id}"
    browser.send("/sharing/freeze")
    found = re.search(r'name="seen"[^>]*value="([^"]+)"', browser.get(asked).text)
    assert found
    answer: dict[str, Any] = {"answer": "share", "duration": "year", "seen": found[1], "attributes": "email.main"}
    assert "Everything you share is frozen. If you choose" in browser.get(asked).text
    way = browser.send(asked, **answer).headers["Location"]
    assert way.startswith("/sharing/unfreeze?next=/sharing/requests/")
    assert asking_state(settings, browser.person_id, request_id).state == "waiting"
    assert "you go back to the question" in browser.get(way).text
    back = browser.send(way, which="all").headers["Location"]
    # What they chose before is as they left it, and only their answer shares it.
    assert re.search(r'value="email.main" checked', browser.get(back).text)
    assert asking_state(settings, browser.person_id, request_id).state == "waiting"
    browser.send(asked, **answer)
    assert asking_state(settings, browser.person_id, request_id).state == "approved"


def test_a_change_leads_by_way_of_unfreezing_back_to_what_was_chosen(
    settings: Settings, held: list[Grant], browser: Browser
) -> None:
    change = f"/sharing/{held[0].grant_id}/change"
    found = re.search(r'name="seen"[^>]*value="([^"]+)"', browser.get(change).text)
    assert found
    browser.send("/sharing/freeze")
    answer: dict[str, Any] = {"duration": "year", "seen": found[1], "attributes": "phone.mobile"}
    way = browser.send(change, **answer).headers["Location"]
    assert way.startswith(f"/sharing/unfreeze?next={change}")
    back = browser.send(way, which="all").headers["Location"]
    shown = browser.get(back).text
    assert re.search(r'value="phone.mobile" checked', shown)
    assert re.search(r'selected value="year"', shown)
    assert states(settings, held) == ["active", "active", "paused"]


def test_what_goes_on_is_chosen_and_nothing_is_ticked(settings: Settings, held: list[Grant], browser: Browser) -> None:
    browser.send("/sharing/freeze")
    page = browser.get("/sharing/unfreeze").text
    assert page.count('name="resume"') == 2
    assert not re.search(r'name="resume"[^>]*checked', page)
    assert browser.send("/sharing/unfreeze", resume=str(held[1].grant_id), which="ticked").status_code == 303
    assert states(settings, held) == ["paused", "active", "paused"]
    assert "Everything you share is frozen" not in browser.get("/home").text
    assert browser.get("/sharing/unfreeze").status_code == 303


def test_all_that_was_shared_goes_on_at_one_press(settings: Settings, held: list[Grant], browser: Browser) -> None:
    browser.send("/sharing/freeze")
    browser.send("/sharing/unfreeze", which="all")
    assert states(settings, held) == ["active", "active", "paused"]


def test_unfreezing_takes_a_fresh_sign_in(settings: Settings, held: list[Grant], browser: Browser) -> None:
    """Whoever only found the open browser can freeze, which harms nobody, and cannot undo it."""
    browser.send("/sharing/freeze")
    long_ago = update(BrowserSession).where(BrowserSession.person_id == browser.person_id)
    with db.transaction(settings.database_url) as session:
        session.execute(long_ago.values(authenticated_at=db.now() - timedelta(hours=1)))
    answer = browser.send("/sharing/unfreeze", which="all")
    assert answer.status_code == 303
    assert answer.headers["Location"].startswith("/account/sign-in")
    assert states(settings, held) == ["paused*", "paused*", "paused"]


def test_sharing_again_leads_by_way_of_unfreezing_back_to_the_question(
    settings: Settings, held: list[Grant], browser: Browser
) -> None:
    stopped = held[0]
    browser.send(f"/sharing/{stopped.grant_id}/stop")
    browser.send("/sharing/freeze")
    again = f"/sharing/{stopped.grant_id}/again"
    page = browser.get(again)
    assert (page.status_code, "Everything you share is frozen. If you choose" in page.text) == (200, True)
    found = re.search(r'name="seen"[^>]*value="([^"]+)"', page.text)
    assert found
    answer: dict[str, Any] = {"answer": "share", "duration": "year", "seen": found[1], "attributes": "email.main"}
    way = browser.send(again, **answer).headers["Location"]
    assert way.startswith(f"/sharing/unfreeze?next={again}")
    assert browser.get(f"/sharing/{stopped.grant_id}").text.count("Share again") >= 1
    back = browser.send(way, which="ticked").headers["Location"]
    shown = browser.get(back).text
    assert re.search(r'value="email.main" checked', shown)
    assert "Everything you share is frozen" not in shown
    assert states(settings, held) == ["withdrawn", "paused", "paused"], "only what is ticked goes on"
    made = browser.send(again, **answer)
    assert made.headers["Location"].endswith("/receipt")


def test_a_question_about_more_stays_open_while_what_it_adds_to_is_frozen(
    settings: Settings, keys: Keyring, held: list[Grant], offers: list[Offer], browser: Browser
) -> None:
    with db.transaction(settings.database_url) as session:
        request_id = later.ask(
            session, keyring=keys, client_id=offers[0].client_id, grant_id=held[0].grant_id,
            attributes=["phone.mobile"], now=db.now(),
        )  # fmt: skip
    asked = f"/sharing/requests/{request_id}"
    browser.send("/sharing/freeze")
    page = browser.get(asked).text
    assert "They ask for more, once" in page
    found = re.search(r'name="seen"[^>]*value="([^"]+)"', page)
    assert found
    answer: dict[str, Any] = {"answer": "share", "duration": "keep", "seen": found[1], "attributes": "phone.mobile"}
    way = browser.send(asked, **answer).headers["Location"]
    assert way.startswith(f"/sharing/unfreeze?next={asked}")
    back = browser.send(way, which="all").headers["Location"]
    assert re.search(r'value="phone.mobile" checked', browser.get(back).text)
    browser.send(asked, **answer)
    assert asking_state(settings, browser.person_id, request_id).state == "approved"

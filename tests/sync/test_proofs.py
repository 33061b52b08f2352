"""A proof takes as long as a stranger's server does: what happens meanwhile is neither held up nor missed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text, update

from portal import db
from portal.consent import services as consent
from portal.consumer import services as consumer
from portal.sync import jobs, services
from portal.sync.models import Delivery
from tests.sync.cast import SHARED

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.orm import Session

    from tests.companies.browser import Browser
    from tests.sync.cast import Firm, Shared, World

_A_MOMENT = 0.5


@pytest.fixture
def firm(world: World) -> Firm:
    return world.firm(enabled=False)


def prove(browser: Browser, firm: Firm, url: str | None = None) -> int:
    return browser.send(f"/org/apps/{firm.client_id}/endpoint", url=url or firm.receiver.url).status_code


def give(session: Session, person_id: UUID, firm: Firm) -> None:
    consent.give(
        session,
        person_id=person_id, client_id=firm.client_id, purpose_id=firm.purpose_id, now=db.now(),
        attributes=SHARED, mode="kept-up-to-date", days=None, level=1, shown={},
    )  # fmt: skip


def forget(world: World, shared: Shared) -> None:
    """Let a subscription be as one that no step and no edit has told anything of."""
    gone = text("DELETE FROM delivery WHERE grant_id = :grant_id")
    world.transact(lambda session: session.execute(gone, {"grant_id": shared.grant_id}))


def test_no_transaction_waits_for_a_strangers_server(world: World, browser: Browser, firm: Firm) -> None:
    waiting = text("SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'")
    seen: list[int] = []
    firm.receiver.behave = lambda _number: seen.append(world.transact(lambda session: session.scalar(waiting)))
    assert prove(browser, firm) == 303
    assert seen == [0]


def test_consent_given_during_a_proof_is_heard_of(world: World, browser: Browser, firm: Firm) -> None:
    given: list[Shared] = []
    firm.receiver.behave = lambda number: given.append(world.share(world.person(), firm)) if number == 1 else None
    assert prove(browser, firm) == 303
    jobs.drain()
    assert firm.receiver.newest(given[0].sub)["name.full"] == (1, "Ada Byrne")


def test_consent_not_yet_committed_at_the_end_of_a_proof_is_found(world: World, browser: Browser, firm: Firm) -> None:
    person_id = world.person()
    with db.sessions(world.settings.database_url)() as giving:
        give(giving, person_id, firm)
        assert prove(browser, firm) == 303
        giving.commit()
    jobs.tidy(world.settings, now=db.now())
    jobs.drain()
    assert firm.receiver.journal[-1].values["name.full"] == (1, "Ada Byrne")


def test_an_edit_not_yet_committed_at_the_end_of_a_proof_arrives(world: World, browser: Browser, firm: Firm) -> None:
    shared = world.share(world.person(), firm)
    with ThreadPoolExecutor(1) as other, db.sessions(world.settings.database_url)() as editing:
        consumer.save(
            editing,
            keyring=world.keyring, person_id=shared.person_id, changes={"email.main": "new@example.org"}, now=db.now(),
        )  # fmt: skip
        proving = other.submit(prove, browser, firm)
        wait([proving], timeout=_A_MOMENT)
        jobs.drain()
        editing.commit()
        assert proving.result() == 303
    jobs.drain()
    assert firm.receiver.newest(shared.sub)["email.main"] == (2, "new@example.org")


def test_proving_again_sends_what_was_missed(world: World, browser: Browser, firm: Firm) -> None:
    shared = world.share(world.person(), firm)
    prove(browser, firm)
    jobs.drain()
    world.save(shared.person_id, email__main="new@example.org")
    missed = update(Delivery).where(Delivery.grant_id == shared.grant_id).values(generation=Delivery.acked_generation)
    world.transact(lambda session: session.execute(missed))
    jobs.drain()
    assert firm.receiver.newest(shared.sub)["email.main"] == (1, "ada@example.org")
    assert prove(browser, firm) == 303
    jobs.drain()
    assert firm.receiver.newest(shared.sub)["email.main"] == (2, "new@example.org")
    told = len(firm.receiver.journal)
    assert prove(browser, firm) == 303
    jobs.drain()
    assert len(firm.receiver.journal) == told + 1


def test_tidying_leaves_an_edit_under_way_for_the_next_time(world: World, firm: Firm, browser: Browser) -> None:
    shared = world.share(world.person(), firm)
    prove(browser, firm)
    forget(world, shared)
    with db.sessions(world.settings.database_url)() as editing:
        consumer.save(
            editing,
            keyring=world.keyring, person_id=shared.person_id, changes={"birth.date": "1984-03-27"}, now=db.now(),
        )  # fmt: skip
        jobs.tidy(world.settings, now=db.now())
        assert world.delivery(shared) is None
        editing.commit()
    jobs.tidy(world.settings, now=db.now())
    assert world.delivery(shared).generation == 1


@pytest.mark.parametrize("state", ["pending", "disabled"])
def test_tidying_owes_nothing_to_an_endpoint_that_is_not_told(world: World, firm: Firm, state: str) -> None:
    shared = world.share(world.person(), firm)
    place(world, firm, state)
    forget(world, shared)
    jobs.tidy(world.settings, now=db.now())
    assert world.delivery(shared) is None


def place(world: World, firm: Firm, state: str) -> None:
    def keep(session: Session) -> None:
        made = services.enable_endpoint(session, client_id=firm.client_id, url=firm.receiver.url, now=db.now())
        made.state = state

    world.transact(keep)


def test_a_failed_proof_leaves_every_mark_of_the_working_endpoint(world: World, browser: Browser, firm: Firm) -> None:
    assert prove(browser, firm) == 303
    kept = world.endpoint(firm)
    firm.receiver.behave = lambda _number: (500, {}, b"")
    assert prove(browser, firm) == 422
    same = world.endpoint(firm)
    assert (same.url, same.state, same.verified_at) == (kept.url, "enabled", kept.verified_at)


def test_a_proof_wipes_away_what_failed_before(world: World, browser: Browser, firm: Firm) -> None:
    assert prove(browser, firm) == 303
    failing = {"state": "disabled", "failures": 4, "failing_since": db.now(), "last_problem": "It answered 500."}
    failing |= {"circuit_until": db.now() + timedelta(minutes=1), "disabled_at": db.now()}
    world.set_stream(firm, **failing)
    assert prove(browser, firm) == 303
    found = world.endpoint(firm)
    assert (found.state, found.failures, found.failing_since, found.circuit_until) == ("enabled", 0, None, None)


def test_tidying_looks_at_no_sharing_when_no_endpoint_is_new(world: World, firm: Firm) -> None:
    shared = world.share(world.person(), firm)
    place(world, firm, "enabled")
    forget(world, shared)
    jobs.tidy(world.settings, now=db.now() + timedelta(days=2))
    assert world.delivery(shared) is None
    jobs.tidy(world.settings, now=db.now())
    assert world.delivery(shared) is not None

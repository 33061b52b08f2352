"""While everything is frozen nothing reaches a company by any way, and it is told why; then it catches up once."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from portal import config, db, events
from portal.consent import freezing
from portal.ledger import queries as ledger
from portal.sync import courier, jobs, services
from portal.sync.messages import CONSENT, PROFILE
from tests.sync.test_drift import ask, one

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from portal.sync.models import Delivery
    from tests.sync.caller import Caller
    from tests.sync.cast import Firm, Shared, World


@pytest.fixture(autouse=True)
def _wired() -> None:
    events.listen(events.GrantsChanged, services.on_grants_changed)


def freeze(world: World, shared: Shared) -> None:
    def act(session: Session) -> None:
        freezing.hold(session, person_id=shared.person_id)
        freezing.freeze(session, person_id=shared.person_id, now=db.now())

    world.transact(act)


def unfreeze(world: World, shared: Shared) -> None:
    resume = {shared.grant_id}
    world.transact(lambda session: freezing.unfreeze(session, person_id=shared.person_id, resume=resume, now=db.now()))


def drain() -> None:
    courier.drain(config.current())


def told(firm: Firm) -> list[dict[str, Any]]:
    return [message.claims["events"] for message in firm.receiver.journal]


def test_one_word_of_the_pause_then_silence_then_one_catch_up(world: World, firm: Firm, shared: Shared) -> None:
    drain()
    freeze(world, shared)
    drain()
    assert [each[CONSENT]["change"] for each in told(firm) if CONSENT in each] == ["given", "paused"]
    for number in ("+353851111111", "+353852222222"):
        world.save(shared.person_id, phone__mobile=number)
        drain()
    assert len(told(firm)) == 2
    unfreeze(world, shared)
    drain()
    [last] = told(firm)[2:]
    assert last[CONSENT]["change"] == "resumed"
    assert last[PROFILE]["complete"]
    assert firm.receiver.journal[-1].values["phone.mobile"][1] == "+353852222222"
    assert up_to_date(world.delivery(shared))


def test_pause_and_resume_are_one_catch_up(world: World, firm: Firm, shared: Shared) -> None:
    """Experience 1.5: `consent.paused` once, then silence; `consent.resumed` with the current values, once."""
    drain()
    world.step("pause", shared)
    drain()
    world.save(shared.person_id, phone__mobile="+353851111111")
    world.save(shared.person_id, name__full="Ada King")
    drain()
    world.step("resume", shared)
    drain()
    drain()
    changes = [each.get(CONSENT, {}).get("change") for each in told(firm)]
    assert changes == ["given", "paused", "resumed"]
    values = firm.receiver.journal[-1].values
    assert (values["name.full"][1], values["phone.mobile"][1]) == ("Ada King", "+353851111111")


def test_what_was_due_at_the_freeze_is_not_sent(world: World, firm: Firm, shared: Shared) -> None:
    drain()
    world.save(shared.person_id, phone__mobile="+353851111111")
    freeze(world, shared)
    drain()
    assert all(PROFILE not in each for each in told(firm)[1:])


def test_a_pull_says_why_and_is_logged(world: World, shared: Shared, caller: Caller) -> None:
    assert caller.get(f"/api/v1/people/{shared.sub}").status_code == 200
    freeze(world, shared)
    started = time.perf_counter()
    refused = caller.get(f"/api/v1/people/{shared.sub}")
    assert time.perf_counter() - started < 1
    assert refused.status_code == 403
    assert refused.get_json()["type"].endswith("/consent-frozen")
    rows = world.transact(lambda session: ledger.of_person(session, person_id=shared.person_id))
    assert (rows[0].channel, rows[0].outcome, rows[0].reason) == ("pull", "denied", "consent-frozen")
    unfreeze(world, shared)
    assert caller.get(f"/api/v1/people/{shared.sub}").status_code == 200


def test_a_batch_and_a_check_say_why(world: World, shared: Shared, caller: Caller) -> None:
    other = world.share(world.person(), world.firms[0])
    started = caller.post("/api/v1/pulls", json={"subjects": [shared.sub, other.sub]}).get_json()["id"]
    jobs.run_pull(started)
    freeze(world, shared)
    results = caller.get(f"/api/v1/pulls/{started}/result").get_json()["results"]
    assert results[0] == {"sub": shared.sub, "problem": "consent-frozen"}, "what was prepared is not handed out"
    assert "message" in results[1], "one person's freeze is nobody else's"
    assert one(ask(caller, (shared.sub, {"email.main": "ada@example.org"})))["problem"] == "consent-frozen"
    later = caller.post("/api/v1/pulls", json={"subjects": [shared.sub]}).get_json()["id"]
    jobs.run_pull(later)
    [refused] = caller.get(f"/api/v1/pulls/{later}/result").get_json()["results"]
    assert refused["problem"] == "consent-frozen"


@pytest.mark.parametrize("strict", [False, True])
def test_freezing_while_messages_leave(world: World, *, strict: bool) -> None:
    """What leaves has been logged before the freeze; after it, nothing does, however the two meet."""
    firms = [world.firm() for _ in range(4)]
    if strict:
        for firm in firms:
            world.make_strict(firm)
    person_id = world.person()
    shares = [world.share(person_id, firm) for firm in firms]
    drain()
    world.save(person_id, phone__mobile="+353851111111")
    for firm in firms:
        firm.receiver.behave = lambda _number: 0.2
    sender = threading.Thread(target=courier.drain, args=(config.current(),))
    sender.start()
    time.sleep(0.1)
    freeze(world, shares[0])
    frozen_at = world.transact(lambda session: freezing.since(session, person_id=person_id))
    sender.join()
    drain()
    rows = world.transact(lambda session: ledger.of_person(session, person_id=person_id, limit=200))
    assert not [row for row in rows if row.given and row.at > frozen_at]
    sent = len([row for row in rows if row.given])
    world.save(person_id, phone__mobile="+353852222222")
    drain()
    rows = world.transact(lambda session: ledger.of_person(session, person_id=person_id, limit=200))
    assert len([row for row in rows if row.given]) == sent
    for firm in firms:
        assert all(value != (3, "+353852222222") for each in firm.receiver.journal for value in each.values.values())
        assert firm.receiver.journal[-1].claims["events"][CONSENT]["change"] == "paused"


def up_to_date(delivery: Delivery) -> bool:
    return delivery.acked_generation == delivery.generation and delivery.told_state == "active"

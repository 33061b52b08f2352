"""What an edit or a step makes due, what a claim takes of it, and what an acknowledgement leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import event

from portal import db
from portal.sync import jobs, outbox, rules
from tests.sync.outbox_steps import claim, entries, finish

if TYPE_CHECKING:
    from tests.sync.cast import Firm, Shared, World


@pytest.fixture
def shared(world: World, firm: Firm) -> Shared:
    """A person who shares, whose first message has arrived."""
    made = world.share(world.person(), firm)
    jobs.drain()
    return made


def test_first_message_is_complete_and_tells_the_consent(world: World, firm: Firm, shared: Shared) -> None:
    message = firm.receiver.journal[0]
    assert message.values == {"name.full": (1, "Ada Byrne"), "email.main": (1, "ada@example.org")}
    assert message.profile is not None
    assert message.consent is not None
    assert message.profile["complete"] is True
    assert message.consent["state"] == "active"
    assert message.claims["sub_id"]["sub"] == shared.sub
    assert message.claims["aud"] == firm.client_id
    assert [entry.outcome for entry in entries(world, shared.person_id)] == ["completed"]


def test_edit_sends_only_what_changed(world: World, firm: Firm, shared: Shared) -> None:
    world.save(shared.person_id, email__main="new@example.org")
    jobs.drain()
    message = firm.receiver.journal[-1]
    assert message.values == {"email.main": (2, "new@example.org")}
    assert message.profile is not None
    assert message.profile["complete"] is False
    assert message.consent is None
    assert entries(world, shared.person_id)[0].given == {"email.main": 2}


def test_edit_of_something_not_shared_tells_nobody(world: World, firm: Firm, shared: Shared) -> None:
    before = world.delivery(shared).generation
    world.save(shared.person_id, birth__date="1984-03-27")
    assert world.delivery(shared).generation == before
    assert len(firm.receiver.journal) == 1


def test_edits_that_pile_up_are_one_message_of_the_newest_state(world: World, firm: Firm, shared: Shared) -> None:
    for number in range(5):
        world.save(shared.person_id, email__main=f"{number}@example.org")
    jobs.drain()
    assert len(firm.receiver.journal) == 2
    assert firm.receiver.newest(shared.sub)["email.main"] == (6, "4@example.org")


def test_fan_out_is_one_statement_for_every_subscription(world: World) -> None:
    person_id = world.person()
    for _ in range(3):
        world.share(person_id, world.firm())
    seen: list[str] = []
    engine = db.engine(world.settings.database_url)

    def count(_conn: object, _cursor: object, statement: str, *_rest: object) -> None:
        if "INSERT INTO delivery" in statement:
            seen.append(statement)

    event.listen(engine, "before_cursor_execute", count)
    world.save(person_id, email__main="x@example.org")
    event.remove(engine, "before_cursor_execute", count)
    assert len(seen) == 1


def test_lease_keeps_a_second_worker_away_until_it_ends(world: World, firm: Firm, shared: Shared) -> None:
    world.save(shared.person_id, email__main="x@example.org")
    assert [parcel.grant_id for parcel in claim(world)] == [shared.grant_id]
    assert claim(world) == []
    jobs.drain()
    assert len(firm.receiver.journal) == 1
    world.due_now()
    jobs.drain()
    assert firm.receiver.newest(shared.sub)["email.main"][1] == "x@example.org"


def test_edit_while_sending_stays_due(world: World, firm: Firm, shared: Shared) -> None:
    def edit(number: int) -> None:
        if number == 2:
            world.save(shared.person_id, email__main="second@example.org")

    firm.receiver.behave = edit
    world.save(shared.person_id, email__main="first@example.org")
    jobs.drain()
    assert firm.receiver.newest(shared.sub)["email.main"][1] == "second@example.org"
    assert len({message.jti for message in firm.receiver.journal}) == 3


def test_stopping_tells_the_company_once_and_then_nothing(world: World, firm: Firm, shared: Shared) -> None:
    world.step("withdraw", shared)
    jobs.drain()
    last = firm.receiver.journal[-1]
    assert last.consent is not None
    assert last.profile is None
    assert (last.consent["state"], last.consent["attributes"]) == ("withdrawn", [])
    world.save(shared.person_id, email__main="secret@example.org")
    jobs.drain()
    assert len(firm.receiver.journal) == 2
    assert entries(world, shared.person_id, "notice")[0].message_id == last.jti


def test_pause_holds_and_resume_sends_the_whole_state(world: World, firm: Firm, shared: Shared) -> None:
    world.step("pause", shared)
    jobs.drain()
    world.save(shared.person_id, email__main="quiet@example.org")
    jobs.drain()
    assert len(firm.receiver.journal) == 2
    world.step("resume", shared)
    jobs.drain()
    profile = firm.receiver.journal[-1].profile
    assert profile is not None
    assert profile["complete"] is True
    assert firm.receiver.newest(shared.sub)["email.main"][1] == "quiet@example.org"


def test_acknowledgement_under_a_lost_lease_changes_nothing(world: World, shared: Shared) -> None:
    world.save(shared.person_id, email__main="x@example.org")
    (lost,) = claim(world)
    world.due_now()
    (held,) = claim(world)
    good = rules.Result(outcome=rules.Outcome.COMPLETED)
    finish(world, [outbox.Sent(lost, good)])
    assert world.delivery(shared).acked_generation < world.delivery(shared).generation
    finish(world, [outbox.Sent(held, good)])
    assert world.delivery(shared).acked_generation == world.delivery(shared).generation

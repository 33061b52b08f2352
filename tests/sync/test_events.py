"""What each event holds: confirmed details, a thin notice, a wish to delete; and what the log says of them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from portal import db
from portal.app import create_app
from portal.companies import queries as company_queries
from portal.companies import telling
from portal.consent import services as consent
from portal.consumer import queries as consumer
from portal.consumer import services as record
from portal.ledger import queries as ledger
from portal.ledger import rules as words
from portal.sync import copies, jobs
from portal.sync.outbox import Sent
from portal.sync.rules import Outcome, Result
from tests.sync import outbox_steps as steps
from tests.sync.caller import Caller
from tests.sync.model import CONFIRMED, ERASURE

if TYPE_CHECKING:
    from portal.config import Settings
    from portal.ledger.queries import Entry
    from tests.sync.cast import Firm, Shared, World


@pytest.fixture
def shared(world: World, firm: Firm) -> Shared:
    made = world.share(world.person(), firm)
    jobs.drain()
    return made


def confirm(world: World, shared: Shared, *names: str) -> None:
    entries = world.transact(lambda session: consumer.entries(session, person_id=shared.person_id))
    versions = {name: entries[name]["version"] for name in names}
    later = db.now() + timedelta(days=2)
    world.transact(lambda session: record.confirm(session, person_id=shared.person_id, versions=versions, now=later))


def newest(world: World, shared: Shared) -> Entry:
    rows: list[Entry] = world.transact(lambda session: ledger.of_person(session, person_id=shared.person_id))
    return next(row for row in rows if row.channel in {"push", "notice"})


def last(firm: Firm) -> dict[str, Any]:
    events: dict[str, Any] = firm.receiver.journal[-1].claims["events"]
    return events


def test_what_is_confirmed_is_named_and_not_told(world: World, firm: Firm, shared: Shared) -> None:
    confirm(world, shared, "name.full", "email.main")
    jobs.drain()
    assert set(last(firm)) == {CONFIRMED}
    event = last(firm)[CONFIRMED]
    assert set(event) == {"grant_id", "purpose", "sequence", "attributes"}
    assert set(event["attributes"]) == {"name.full", "email.main"}
    assert all(set(mark) == {"version", "confirmed_at"} for mark in event["attributes"].values())
    row = newest(world, shared)
    assert (row.channel, row.given, set(row.asked)) == ("notice", {}, {"name.full", "email.main"})
    assert words.how(row.channel, row.reason) == "We told them what you said is still right"


def test_one_confirmed_and_one_changed_come_in_one_message(world: World, firm: Firm, shared: Shared) -> None:
    confirm(world, shared, "name.full")
    world.save(shared.person_id, email__main="new@example.org")
    told = len(firm.receiver.journal)
    jobs.drain()
    assert len(firm.receiver.journal) == told + 1
    message = firm.receiver.journal[-1]
    assert set(message.values) == {"email.main"}
    assert set(last(firm)[CONFIRMED]["attributes"]) == {"name.full"}


def test_a_confirmation_of_what_is_not_shared_tells_nobody(world: World, firm: Firm) -> None:
    shared = world.share(world.person(birth__date="1984-03-27"), firm)
    jobs.drain()
    told = len(firm.receiver.journal)
    confirm(world, shared, "birth.date")
    jobs.drain()
    assert len(firm.receiver.journal) == told


def test_a_pause_that_is_over_before_it_was_told_is_no_news(world: World, firm: Firm, shared: Shared) -> None:
    told = len(firm.receiver.journal)
    for verb in ("pause", "resume"):
        world.step(verb, shared)
    jobs.drain()
    assert len(firm.receiver.journal) == told
    owed = world.delivery(shared)
    assert (owed.told_version, owed.told_state, owed.generation) == (3, "active", owed.acked_generation)


def test_a_wish_to_delete_names_all_that_was_ever_shared(world: World, firm: Firm, shared: Shared) -> None:
    less: dict[str, Any] = {
        "attributes": ["name.full"],
        "mode": "kept-up-to-date",
        "days": None,
        "level": 2,
        "shown": {},
    }
    mine: dict[str, Any] = {"person_id": shared.person_id, "grant_id": shared.grant_id, "now": db.now()}
    world.transact(lambda session: consent.change(session, **mine, **less))
    world.transact(lambda session: consent.withdraw(session, **mine, erase=True))
    jobs.drain()
    consent_event, event = (last(firm)[kind] for kind in ("urn:ucm:event:consent", ERASURE))
    assert (consent_event["state"], consent_event["change"]) == ("withdrawn", "stopped")
    assert event == {
        "grant_id": str(shared.grant_id), "attributes": ["email.main", "name.full", "phone.mobile"],
        "requested_at": mine["now"].isoformat(), "delete_by": (mine["now"] + timedelta(days=30)).isoformat(),
    }  # fmt: skip
    assert words.how("notice", newest(world, shared).reason) == "We asked them to delete what they have"


def thin(world: World, firm: Firm, *, on: bool = True) -> None:
    def choose(session: Any) -> None:  # noqa: ANN401 - a session
        purpose = company_queries.purpose(session, firm.purpose_id)
        assert purpose is not None
        telling.choose(session, client_id=firm.client_id, code=purpose.code, thin=on, strict=False, now=db.now())

    world.transact(choose)


def test_a_thin_notice_holds_versions_and_nothing_to_open(world: World, firm: Firm, shared: Shared) -> None:
    thin(world, firm)
    world.save(shared.person_id, email__main="new@example.org")
    jobs.drain()
    profile = firm.receiver.journal[-1].profile
    assert profile is not None
    assert (profile["thin"], profile["complete"], "keys" in profile) == (True, False, False)
    assert set(profile["attributes"]["email.main"]) == {"version", "changed_at", "confirmed_at"}
    assert "new@example.org" not in firm.receiver.journal[-1].raw
    row = newest(world, shared)
    assert (row.channel, row.given, row.asked) == ("notice", {}, ["email.main"])
    assert words.how(row.channel, row.reason) == "We told them that there is something new to fetch"


def test_who_is_told_in_full_again_gets_it_all(world: World, firm: Firm, shared: Shared) -> None:
    thin(world, firm)
    world.save(shared.person_id, email__main="new@example.org")
    jobs.drain()
    thin(world, firm, on=False)
    jobs.drain()
    assert firm.receiver.journal[-1].values == {"name.full": (1, "Ada Byrne"), "email.main": (2, "new@example.org")}
    assert set(last(firm)) == {"urn:ucm:event:profile"}


def test_values_asked_for_while_the_first_notice_is_on_its_way_are_sent(world: World, firm: Firm) -> None:
    thin(world, firm)
    world.share(world.person(), firm)
    parcels = steps.claim(world)
    thin(world, firm, on=False)
    steps.finish(world, [Sent(parcel, Result(outcome=Outcome.COMPLETED)) for parcel in parcels])
    jobs.drain()
    [message] = firm.receiver.journal
    assert message.values.keys() == {"name.full", "email.main"}


@pytest.mark.parametrize("notice", ["arrives", "is lost"])
def test_who_is_told_thinly_has_a_change_when_they_fetched_it(
    settings: Settings, world: World, firm: Firm, shared: Shared, notice: str
) -> None:
    thin(world, firm)
    sequence = world.save(shared.person_id, email__main="new@example.org")

    def state() -> str:
        found = world.transact(
            lambda session: copies.status_of_change(
                session, person_id=shared.person_id, sequence=sequence, now=db.now()
            )
        )
        return str(found[0].state)

    if notice == "arrives":
        jobs.drain()
    assert state() == ("noticed" if notice == "arrives" else "waiting")
    caller = Caller(create_app(settings).test_client(), world, firm)
    assert caller.get(f"/api/v1/people/{shared.sub}?attributes=name.full").status_code == 200
    assert state() != "received"
    assert caller.get(f"/api/v1/people/{shared.sub}").status_code == 200
    assert state() == "received"

"""What a person reads below a message that was not received: what followed is true in every way it can go on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import update

from portal import db
from portal.consent import services as consent
from portal.consent.models import Grant
from portal.ledger import queries as ledger
from portal.sync import follow_ups, jobs, receipts, services, streams
from portal.sync.follow_ups import FollowUp
from portal.sync.models import Delivery, Stream
from portal.sync.outbox import Sent
from portal.sync.receipts import NewReceipt, Status
from portal.sync.rules import Outcome, Result
from tests.sync.caller import Caller
from tests.sync.outbox_steps import carry, claim, finish

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask.testing import FlaskClient

    from tests.sync.cast import Firm, Shared, World

    Then = Callable[[World, Shared], None]


def said(world: World, shared: Shared) -> list[tuple[str, str, FollowUp | None]]:
    """Return (channel, outcome, what followed) of what the company was told of one person, oldest first."""

    def look(session: Any) -> list[tuple[str, str, FollowUp | None]]:  # noqa: ANN401 - a session
        entries = ledger.of_person(session, person_id=shared.person_id)
        found = follow_ups.of_entries(session, person_id=shared.person_id, entries=entries)
        told = [each for each in reversed(entries) if each.channel != "consent"]
        return [(each.channel, each.outcome, found.get(each.disclosure_id)) for each in told]

    lines: list[tuple[str, str, FollowUp | None]] = world.transact(look)
    return lines


def again(world: World, _shared: Shared) -> None:
    world.due_now()
    jobs.drain()


def edit(world: World, shared: Shared) -> None:
    world.save(shared.person_id, email__main="new@example.org")
    jobs.drain()


def step(verb: str) -> Then:
    def take(world: World, shared: Shared) -> None:
        world.step(verb, shared)
        jobs.drain()

    return take


def expire(world: World, shared: Shared) -> None:
    over = update(Grant).where(Grant.grant_id == shared.grant_id).values(expires_at=db.now())
    world.transact(lambda session: session.execute(over))
    world.transact(lambda session: consent.expire_due(session, now=db.now()))
    jobs.drain()


def put(table: Any, **values: Any) -> Then:  # noqa: ANN401 - a model and its columns
    def change(world: World, shared: Shared) -> None:
        theirs = table.client_id == world.delivery(shared).client_id
        world.transact(lambda session: session.execute(update(table).where(theirs).values(**values)))

    return change


def nothing(_world: World, _shared: Shared) -> None:
    pass


@pytest.mark.parametrize(
    ("status", "then", "expected"),
    [
        (202, nothing, None),
        (500, nothing, FollowUp.TRYING),
        (422, nothing, FollowUp.HELD),
        (500, again, FollowUp.TRIED_AGAIN),
        (500, edit, FollowUp.NEWER),
        (422, edit, FollowUp.NEWER),
        (500, step("pause"), FollowUp.PAUSED),
        (500, step("withdraw"), FollowUp.WITHDRAWN),
        (500, step("end"), FollowUp.ENDED),
        (500, expire, FollowUp.EXPIRED),
        (500, put(Stream, state="disabled"), FollowUp.OFF),
        (500, put(Stream, state="paused"), FollowUp.OFF),
        (410, nothing, FollowUp.OFF),
        (500, put(Stream, method="poll"), FollowUp.COLLECTED),
        (500, put(Delivery, acked_generation=Delivery.generation), FollowUp.NOTHING_LEFT),
    ],
)
def test_what_followed_a_message_is_said_as_it_is(
    world: World, firm: Firm, shared: Shared, *, status: int, then: Then, expected: FollowUp | None
) -> None:
    firm.receiver.behave = lambda number: (status, {}, b"") if number == 1 else None
    jobs.drain()
    then(world, shared)
    first = said(world, shared)[0]
    assert first == ("push", "completed" if status == 202 else "failed", expected)


def test_a_stop_before_it_left_is_said(world: World, firm: Firm, shared: Shared) -> None:
    [parcel] = claim(world)
    world.step("withdraw", shared)
    carry([parcel])
    jobs.drain()
    assert said(world, shared) == [("push", "suppressed", FollowUp.WITHDRAWN), ("notice", "completed", None)]
    assert len(firm.receiver.journal) == 1


def test_what_nobody_noted_is_unknown_and_sent_again(world: World, firm: Firm, shared: Shared) -> None:
    claim(world)
    world.transact(lambda session: jobs.settle_stale(session, db.now() + 2 * jobs.STALE))
    assert said(world, shared) == [("push", "unknown", FollowUp.TRYING)]
    again(world, shared)
    assert said(world, shared)[0][2] in {FollowUp.TRIED_AGAIN, FollowUp.NEWER}
    assert firm.receiver.journal


def test_what_they_reported_on_has_arrived(world: World, firm: Firm, shared: Shared) -> None:
    """A company may have applied what it did not answer to in time."""
    [parcel] = claim(world)
    finish(world, [Sent(parcel, Result(outcome=Outcome.UNKNOWN, detail="It did not answer in time."))])
    assert said(world, shared) == [("push", "unknown", FollowUp.TRYING)]
    told: dict[str, Any] = {"client_id": firm.client_id, "company_id": firm.company_id, "now": db.now()}
    one = NewReceipt(jti=parcel.jti, status=Status.APPLIED, applied_at=db.now())
    world.transact(lambda session: receipts.note(session, receipts=[one], **told))
    assert said(world, shared) == [("push", "unknown", FollowUp.ARRIVED)]


def test_of_another_sharing_nothing_is_read(world: World, firm: Firm, shared: Shared) -> None:
    firm.receiver.behave = lambda _number: (500, {}, b"")
    jobs.drain()
    other = world.share(shared.person_id, world.firm())
    jobs.drain()
    assert said(world, shared)[0][2] is FollowUp.TRYING
    assert other.grant_id != shared.grant_id


def test_what_was_collected_and_not_used_waits(http: FlaskClient, world: World) -> None:
    firm = world.firm(enabled=False)

    def open_stream(session: Any) -> None:  # noqa: ANN401 - a session
        services.make_stream(session, client_id=firm.client_id, stream_id=db.new_id(), now=db.now())
        services.open_stream(session, client_id=firm.client_id, method="poll", url=None, now=db.now())

    world.transact(open_stream)
    shared = world.share(world.person(), firm)
    caller, now = Caller(http, world, firm), {"returnImmediately": True}
    sets = caller.post(streams.EVENTS, json=now).get_json()["sets"]
    errors = {jti: {"err": "invalid_request"} for jti in sets}
    caller.post(streams.EVENTS, json=now | {"maxEvents": 0, "setErrs": errors})
    assert said(world, shared) == [("poll", "failed", FollowUp.COLLECTED)]

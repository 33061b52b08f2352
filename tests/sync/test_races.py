"""Two things at the same moment: whoever wins, the company ends up with the newest state."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

from sqlalchemy import select

from portal import db
from portal.consumer import services as consumer
from portal.sync import jobs, outbox, rules, services, streams
from portal.sync.models import Delivery, Stream
from tests.sync.outbox_steps import claim, finish

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy import Select

    from tests.sync.cast import World

_A_MOMENT = 0.5


def test_an_edit_under_way_while_sharing_begins_again(world: World) -> None:
    firm = world.firm()
    shared = world.share(world.person(), firm)
    jobs.drain()
    world.step("pause", shared)
    jobs.drain()
    with ThreadPoolExecutor(1) as other, db.sessions(world.settings.database_url)() as editing:
        consumer.save(
            editing,
            keyring=world.keyring, person_id=shared.person_id, changes={"email.main": "new@example.org"}, now=db.now(),
        )  # fmt: skip
        resuming = other.submit(world.step, "resume", shared)
        wait([resuming], timeout=_A_MOMENT)
        jobs.drain()
        editing.commit()
        resuming.result()
    jobs.drain()
    assert firm.receiver.newest(shared.sub)["email.main"] == (2, "new@example.org")


def test_asking_for_everything_again_while_something_is_on_its_way(world: World) -> None:
    firm = world.firm()
    shared = world.share(world.person(), firm)
    jobs.drain()
    world.save(shared.person_id, email__main="new@example.org")
    [parcel] = claim(world)
    world.transact(lambda session: services.send_again(session, person_id=shared.person_id, grant_id=shared.grant_id))
    arrived = outbox.Sent(parcel, rules.Result(outcome=rules.Outcome.COMPLETED))
    finish(world, [arrived])
    jobs.drain()
    _first, message = firm.receiver.journal
    assert message.profile is not None
    assert message.profile["complete"] is True
    assert set(message.values) == {"name.full", "email.main"}


def test_an_endpoint_somebody_holds_holds_up_nobody(world: World) -> None:
    firm = world.firm()
    world.share(world.person(), firm)
    [parcel] = claim(world)
    failed = outbox.Sent(parcel, rules.Result(outcome=rules.Outcome.FAILED, status=500))

    with ThreadPoolExecutor(1) as other, db.sessions(world.settings.database_url)() as proving:
        proving.execute(select(Stream).where(Stream.client_id == firm.client_id).with_for_update())
        finishing = other.submit(finish, world, [failed])
        done = wait([finishing], timeout=_A_MOMENT).done
        proving.rollback()
        assert done


def test_a_stream_that_is_deleted_locks_its_deliveries_as_everybody_does(world: World) -> None:
    firm = world.firm()
    first, last = world.person(), world.person()
    for person_id in (last, first):
        world.share(person_id, firm)
    claim(world)

    def locked(person_id: UUID) -> Select[Delivery]:
        return select(Delivery).where(Delivery.person_id == person_id).with_for_update()

    with ThreadPoolExecutor(1) as other, db.sessions(world.settings.database_url)() as noting:
        noting.execute(locked(first))
        ending = other.submit(world.transact, lambda session: streams.end(session, client_id=firm.client_id))
        wait([ending], timeout=_A_MOMENT)
        noting.execute(locked(last))
        noting.commit()
        ending.result()
    assert world.endpoint(firm) is None

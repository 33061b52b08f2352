"""What waited for an endpoint that was away leaves as soon as it is back."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy import update

from portal import db
from portal.sync import jobs
from portal.sync.models import Delivery, Stream

if TYPE_CHECKING:
    from sqlalchemy import Executable
    from sqlalchemy.orm import Session

    from tests.sync.cast import World


def _run(statement: Executable, session: Session) -> None:
    session.execute(statement)


def test_the_first_that_arrives_lets_those_follow_that_were_put_off_for_hours(world: World) -> None:
    firm = world.firm()
    shared = [world.share(world.person(), firm) for _ in range(6)]
    firm.receiver.behave = lambda _number: (503, {}, b"")
    jobs.drain()
    assert world.endpoint(firm).circuit_step == 1
    over = update(Stream).where(Stream.client_id == firm.client_id).values(circuit_until=db.now())
    put_off = update(Delivery).where(Delivery.client_id == firm.client_id)
    later = put_off.values(due_at=db.now() + timedelta(hours=20), attempts=8)
    probe = put_off.where(Delivery.grant_id == shared[0].grant_id).values(due_at=db.now())
    for statement in (over, later, probe):
        world.transact(partial(_run, statement))
    firm.receiver.behave = None
    jobs.drain()
    assert all(world.delivery(one).acked_generation == world.delivery(one).generation for one in shared)

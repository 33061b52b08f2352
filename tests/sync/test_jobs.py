"""What a lost job left behind is found again."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from portal import db
from portal.sync import copies, jobs
from tests.sync.outbox_steps import claim, entries

if TYPE_CHECKING:
    from tests.sync.cast import Firm, Shared, World


@pytest.fixture
def shared(world: World, firm: Firm) -> Shared:
    """A person who shares, whose first message has arrived."""
    made = world.share(world.person(), firm)
    jobs.drain()
    return made


def test_message_without_a_worker_behind_it_becomes_unknown(world: World, shared: Shared) -> None:
    world.save(shared.person_id, email__main="x@example.org")
    claim(world)
    world.transact(lambda session: jobs.settle_stale(session, db.now() + 2 * jobs.STALE))
    assert entries(world, shared.person_id)[0].outcome == "unknown"


def test_status_of_a_change_names_each_company(world: World, firm: Firm, shared: Shared) -> None:
    sequence = world.save(shared.person_id, email__main="x@example.org")

    def status() -> list[tuple[str, str]]:
        told = world.transact(
            lambda session: copies.status_of_change(
                session, person_id=shared.person_id, sequence=sequence, now=db.now()
            )
        )
        return [(each.company_name, each.state) for each in told]

    assert status() == [(firm.name, "waiting")]
    jobs.drain()
    assert status() == [(firm.name, "received")]


def test_reconciler_rings_for_what_is_due_and_nobody_holds(world: World, shared: Shared) -> None:
    world.save(shared.person_id, email__main="x@example.org")
    from portal import config, queue  # noqa: PLC0415 - after the world has set them up

    settings = config.current()
    queue.connection(settings.redis_url).flushall()
    jobs.reconcile()
    assert queue.queue(settings.redis_url, queue.PUSH).count == 1
    queue.connection(settings.redis_url).flushall()
    jobs.drain()
    world.transact(lambda session: session.execute(text("SELECT 1")))
    jobs.reconcile()
    assert queue.queue(settings.redis_url, queue.PUSH).count == 0
    assert shared.sub


@pytest.mark.parametrize("process", ["has gone on", "begins"])
def test_what_was_under_way_when_everything_stood_still_is_settled_afterwards(
    world: World, shared: Shared, process: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "_settled", db.now() if process == "has gone on" else None)
    world.save(shared.person_id, email__main="x@example.org")
    claim(world)
    world.transact(lambda session: jobs.settle_stale(session, db.now() + timedelta(days=3)))
    assert entries(world, shared.person_id)[0].outcome == "unknown"

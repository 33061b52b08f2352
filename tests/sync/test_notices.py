"""What a company is told of a consent, what a message held back counts for, and what the reconciler forgets."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import func, select, update

from portal import db
from portal.companies.models import Purpose
from portal.consent.models import Grant
from portal.oauth.models import RefreshToken
from portal.sync import jobs
from tests.sync.outbox_steps import carry, claim, entries

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.orm import Session

    from portal.sync.models import Delivery
    from portal.sync.outbox import Parcel
    from tests.sync.cast import Firm, Shared, World


@pytest.fixture
def shared(world: World, firm: Firm) -> Shared:
    """A person who shares, and whose company has not been told yet."""
    return world.share(world.person(), firm)


def outcome(world: World, shared: Shared, parcel: Parcel) -> str:
    channel = "push" if parcel.news.entries else "notice"
    return entries(world, shared.person_id, channel)[0].outcome


def expire(world: World, shared: Shared) -> None:
    ends = update(Grant).where(Grant.grant_id == shared.grant_id).values(expires_at=db.now() - timedelta(seconds=1))
    world.transact(lambda session: session.execute(ends))


@pytest.mark.parametrize("paused", [False, True])
def test_time_that_is_over_is_told_before_the_sweep(world: World, firm: Firm, shared: Shared, *, paused: bool) -> None:
    if paused:
        world.step("pause", shared)
    expire(world, shared)
    jobs.drain()
    [message] = firm.receiver.journal
    assert message.profile is None
    assert message.consent is not None
    assert (message.consent["state"], message.consent["attributes"]) == ("expired", [])


@pytest.mark.usefixtures("shared")
def test_a_purpose_taken_back_is_told_as_ended(world: World, firm: Firm) -> None:
    gone = update(Purpose).where(Purpose.purpose_id == firm.purpose_id).values(withdrawn_at=db.now())
    world.transact(lambda session: session.execute(gone))
    jobs.drain()
    [message] = firm.receiver.journal
    assert message.profile is None
    assert message.consent is not None
    assert (message.consent["state"], message.consent["attributes"]) == ("ended", [])


def test_a_notice_that_is_no_longer_true_is_not_sent(world: World, firm: Firm) -> None:
    shared = world.share(world.person(), firm, attributes=["name.full", "phone.mobile"])
    world.save(shared.person_id, name__full=None)
    jobs.drain()
    world.step("pause", shared)
    [parcel] = claim(world)
    expire(world, shared)
    told = len(firm.receiver.journal)
    carry([parcel])
    assert outcome(world, shared, parcel) == "suppressed"
    assert len(firm.receiver.journal) == told


def test_a_message_held_back_is_nobodys_failure(world: World, firm: Firm, shared: Shared) -> None:
    [parcel] = claim(world)
    world.step("pause", shared)
    carry([parcel])
    assert outcome(world, shared, parcel) == "suppressed"
    assert entries(world, shared.person_id)[0].outcome == "suppressed"
    owed, endpoint = world.delivery(shared), world.endpoint(firm)
    assert (owed.attempts, owed.last_problem) == (0, "")
    assert (endpoint.failures, endpoint.failing_since, endpoint.last_problem) == (0, None, "")


def test_a_message_held_back_forgets_no_earlier_failure_of_its_endpoint(
    world: World, firm: Firm, shared: Shared
) -> None:
    firm.receiver.behave = lambda _number: (500, {}, b"")
    jobs.drain()
    world.due_now()
    [parcel] = claim(world)
    world.step("pause", shared)
    carry([parcel])
    assert world.endpoint(firm).failures == 1


@pytest.mark.parametrize(
    "change", [{"url": "http://127.0.0.1:9/elsewhere"}, {"state": "pending"}, {"state": "disabled"}]
)
def test_nothing_goes_where_the_company_is_no_longer_told(
    world: World, firm: Firm, shared: Shared, change: dict[str, str]
) -> None:
    [parcel] = claim(world)
    world.set_stream(firm, **change)
    carry([parcel])
    assert outcome(world, shared, parcel) == "suppressed"
    assert firm.receiver.requests == 0
    owed: Delivery = world.delivery(shared)
    assert owed.generation > owed.acked_generation


def _token(shared: Shared, client_id: str, expires_in: timedelta) -> RefreshToken:
    return RefreshToken(
        token_hash=secrets.token_bytes(32), client_id=client_id, person_id=shared.person_id,
        grant_id=shared.grant_id, scope="openid", code_hash=secrets.token_bytes(32), authenticated_at=db.now(),
        issued_at=db.now(), used_at=db.now(), expires_at=db.now() + expires_in,
    )  # fmt: skip


def _count(session: Session, grant_id: UUID) -> int:
    return session.scalar(select(func.count()).where(RefreshToken.grant_id == grant_id)) or 0


def test_refresh_tokens_long_over_are_forgotten_batch_after_batch(world: World, firm: Firm, shared: Shared) -> None:
    old = [_token(shared, firm.client_id, timedelta(days=-2)) for _ in range(501)]
    kept = [_token(shared, firm.client_id, timedelta(hours=-1)), _token(shared, firm.client_id, timedelta(days=1))]
    world.transact(lambda session: session.add_all([*old, *kept]))
    jobs.tidy(world.settings, now=db.now())
    assert world.transact(lambda session: _count(session, shared.grant_id)) == 2

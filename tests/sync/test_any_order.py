"""Edits, stops, claims, crashes and answers in any order: nothing is lost, doubled, or acknowledged unheard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import text, update

from portal import db
from portal.sync.models import Delivery, Stream
from portal.sync.outbox import Parcel, Sent
from portal.sync.rules import Outcome, Result
from tests.sync.outbox_steps import claim, finish

if TYPE_CHECKING:
    from tests.sync.cast import Firm, Shared, World

COMPLETED = Result(outcome=Outcome.COMPLETED)
ANSWERS = (
    COMPLETED,
    Result(outcome=Outcome.FAILED, detail="It answered 500.", status=500),
    Result(outcome=Outcome.UNKNOWN, detail="It did not answer in time.", too_slow=True),
    Result(outcome=Outcome.FAILED, detail="It answered 422.", status=422),
    Result(outcome=Outcome.FAILED, detail="It refused this one.", status=202, unlike=True),
    Result(outcome=Outcome.SUPPRESSED),
)


class Deliveries(RuleBasedStateMachine):
    """Two people of one company; what is on its way may be answered late, twice, or never."""

    world: ClassVar[World]
    firm: ClassVar[Firm]
    flying = Bundle("flying")

    @initialize()
    def begin(self) -> None:
        self.everyone: list[Shared] = [self.world.share(self.world.person(), self.firm) for _ in range(2)]
        self.leases: dict[Any, Parcel] = {}
        self.run_out: set[Any] = set()
        self.heard: dict[Any, int] = {}
        self.highest: dict[Any, int] = {}
        self.edits = 0

    @rule(who=st.integers(0, 1))
    def edit(self, who: int) -> None:
        self.edits += 1
        self.world.save(self.everyone[who].person_id, email__main=f"{self.edits}@example.org")

    @rule(who=st.integers(0, 1))
    def pause_and_resume(self, who: int) -> None:
        self.world.step("pause", self.everyone[who])
        self.world.step("resume", self.everyone[who])

    @rule(target=flying)
    def claim(self) -> list[Parcel]:
        parcels = claim(self.world)
        for parcel in parcels:
            assert parcel.grant_id not in self.leases.keys() - self.run_out, "two leases for one pair"
            self.leases[parcel.grant_id] = parcel
            self.run_out.discard(parcel.grant_id)
        # Where there is nothing to tell, a claim is all there is.
        for shared in self.everyone:
            row = self.world.delivery(shared)
            if row.lease_id is None:
                self.leases.pop(shared.grant_id, None)
                self.run_out.discard(shared.grant_id)
                self.heard[shared.grant_id] = row.acked_generation
        return parcels

    @rule(parcels=flying, answer=st.sampled_from(ANSWERS))
    def answer(self, parcels: list[Parcel], answer: Result) -> None:
        finish(self.world, [Sent(parcel, answer) for parcel in parcels])
        for parcel in parcels:
            if self.leases.get(parcel.grant_id) is parcel:
                del self.leases[parcel.grant_id]
                self.run_out.discard(parcel.grant_id)
                if answer is COMPLETED:
                    self.heard[parcel.grant_id] = max(self.heard.get(parcel.grant_id, 0), parcel.generation)

    @rule()
    def crash(self) -> None:
        """The worker is gone or slow: its leases run out, and its answer counts until somebody else claims."""
        gone = update(Delivery).where(Delivery.client_id == self.firm.client_id).values(leased_until=db.now())
        self.world.transact(lambda session: session.execute(gone))
        self.world.transact(lambda session: session.execute(text("DELETE FROM flight")))
        self.run_out = set(self.leases)

    @rule()
    def let_time_pass(self) -> None:
        due = update(Delivery).where(Delivery.client_id == self.firm.client_id).values(due_at=db.now())
        self.world.transact(lambda session: session.execute(due))
        well = {"circuit_until": None, "circuit_step": 0, "failures": 0, "state": "enabled"}
        closed = update(Stream).where(Stream.client_id == self.firm.client_id).values(**well)
        self.world.transact(lambda session: session.execute(closed))

    @invariant()
    def holds(self) -> None:
        for shared in getattr(self, "everyone", []):
            row = self.world.delivery(shared)
            assert row.acked_generation <= row.generation
            assert row.acked_generation == self.heard.get(shared.grant_id, 0), "acknowledged what nobody heard"
            assert row.generation >= self.highest.get(shared.grant_id, 0), "a generation was lost"
            self.highest[shared.grant_id] = row.generation

    def teardown(self) -> None:
        """In the end everything arrives, and it is the newest."""
        if not hasattr(self, "everyone"):
            return
        self.crash()
        for _ in range(3):
            self.let_time_pass()
            parcels = claim(self.world)
            finish(self.world, [Sent(parcel, COMPLETED) for parcel in parcels])
        for shared in self.everyone:
            row = self.world.delivery(shared)
            assert row.acked_generation == row.generation
            assert not row.held


@pytest.mark.timeout(200)
def test_in_any_order(world: World) -> None:
    Deliveries.world, Deliveries.firm = world, world.firm()
    run_state_machine_as_test(
        Deliveries,
        settings=settings(
            max_examples=80,
            stateful_step_count=20,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )

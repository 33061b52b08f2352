"""Whatever a person does and whenever it is delivered: a company that applies what it is told believes what is true."""

from __future__ import annotations

from datetime import timedelta
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st
from sqlalchemy import select, update

from portal import db, events
from portal.companies.models import Purpose
from portal.consent import services as consent
from portal.consent.models import Grant
from portal.consumer import queries as consumer
from portal.consumer import services as record
from portal.errors import PortalError
from portal.sync import jobs, news, services
from portal.sync.models import Delivery, Stream
from tests.sync.cast import SHARED, World
from tests.sync.model import OVER, Believed
from tests.sync.outbox_steps import die_sending

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy.orm import Session

    from tests.sync.cast import Firm, Shared

STATES = ("", "active", "paused", "withdrawn", "ended", "expired")
# (what was told, what is true, whether the content differs) → what the company is told.
CHANGES = [
    ("", "active", True, "given"), ("", "paused", True, "paused"), ("", "withdrawn", True, "stopped"),
    ("", "ended", True, "ended"), ("", "expired", True, "expired"),
    ("active", "active", True, "changed"), ("active", "active", False, ""), ("active", "paused", False, "paused"),
    ("active", "withdrawn", False, "stopped"), ("active", "ended", True, "ended"),
    ("active", "expired", False, "expired"),
    ("paused", "active", False, "resumed"), ("paused", "active", True, "resumed"), ("paused", "paused", True, ""),
    ("paused", "withdrawn", True, "stopped"), ("paused", "ended", False, "ended"),
    ("paused", "expired", False, "expired"),
    ("withdrawn", "withdrawn", False, ""), ("ended", "ended", True, ""), ("expired", "expired", True, ""),
    ("expired", "withdrawn", False, "stopped"), ("ended", "withdrawn", True, "stopped"),
    ("expired", "ended", False, "ended"), ("expired", "active", True, "given"),
]  # fmt: skip


@pytest.mark.parametrize(("told", "state", "differs", "change"), CHANGES)
def test_the_difference_that_remains_is_told(told: str, state: str, differs: bool, change: str) -> None:  # noqa: FBT001 - a table's column
    assert news.change(told=told, state=state, differs=differs) == change


@pytest.fixture(scope="module")
def firms(settings: Any, keys: Any) -> Any:  # noqa: ANN401 - the suite's own fixtures
    """One world for all of the stories of this file: each has a person and a grant of its own."""
    events.listen(events.RecordChanged, services.on_record_changed)
    events.listen(events.RecordConfirmed, services.on_record_changed)
    events.listen(events.GrantChanged, services.on_grant_changed)
    world = World(settings, keys)
    full, thin = world.firm(), world.firm()
    thinned = update(Purpose).where(Purpose.purpose_id == thin.purpose_id).values(thin=True)
    world.transact(lambda session: session.execute(thinned))
    yield world, full, thin
    world.close()


# What ends a sharing ends most of a story, so it comes less often than what goes back and forth.
STEPS = st.sampled_from([
    *("pause", "resume") * 4, *("edit name", "edit email", "confirm", "less", "all") * 2, "remove phone", "edit phone",
    "shorter", "stop", "stop and erase", "erase", "run out", "sweep", "again", "send again", "settle",
])  # fmt: skip
DELIVERIES = st.sampled_from(["deliver", "deliver", "fail", "taken and lost", "died", "in between"])
STORY = st.lists(st.tuples(STEPS, st.one_of(DELIVERIES, st.none())), min_size=1, max_size=10)


class Story:
    """One person's doings with one company, and what the company believes."""

    def __init__(self, world: World, firm: Firm) -> None:
        self.world, self.firm = world, firm
        self.person_id = world.person()
        self.shared: Shared = world.share(self.person_id, firm)
        self.believed: dict[str, Believed] = {}
        self.count = 0
        firm.receiver.journal.clear()
        firm.receiver.behave = None

    def take(self, step: str) -> None:
        """Take a step; one that is refused where the story stands changes nothing."""
        self.count += 1
        acts: dict[str, Callable[[Session], object]] = {
            "edit name": lambda session: self._save(session, "name.full", f"Ada {self.count}"),
            "edit email": lambda session: self._save(session, "email.main", f"{self.count}@example.org"),
            "edit phone": lambda session: self._save(session, "phone.mobile", f"+35385{self.count:07}"),
            "remove phone": lambda session: self._save(session, "phone.mobile", None),
            "confirm": self._confirm,
            "pause": lambda session: consent.pause(session, **self._mine()),
            "resume": lambda session: consent.resume(session, **self._mine()),
            "to and fro": self._to_and_fro,
            "less": lambda session: self._change(session, ("name.full",), keep_end=True),
            "all": lambda session: self._change(session, SHARED, keep_end=True),
            "shorter": lambda session: self._change(session, SHARED, days=90),
            "stop": lambda session: consent.withdraw(session, **self._mine()),
            "stop and erase": lambda session: consent.withdraw(session, **self._mine(), erase=True),
            "erase": lambda session: consent.ask_erasure(session, **self._mine(), shown={}),
            "run out": self._run_out,
            "sweep": lambda session: consent.expire_due(session, now=db.now()),
            "again": self._again,
            "send again": lambda session: services.send_again(
                session, person_id=self.person_id, grant_id=self.shared.grant_id
            ),
            "settle": lambda session: jobs.settle_stale(session, db.now() + timedelta(minutes=30)),
        }
        try:
            self.world.transact(acts[step])
        except PortalError:
            return

    def deliver(self, how: str, then: str) -> None:
        """Let everything due be sent; `in between` the person takes one more step while a message is on its way."""
        answers: dict[str, Callable[[int], Any]] = {
            "deliver": lambda _number: None,
            "fail": lambda _number: (500, {}, b""),
            "taken and lost": lambda _number: None,
            "died": lambda _number: None,
            "in between": self._once(then),
        }
        self._heal()
        self.firm.receiver.behave = answers[how]
        self.world.due_now()
        seen = len(self.firm.receiver.journal)
        silent = how != "in between" and not self._sharing()
        # The company has it and says that it has not: it is told so once more, or something newer.
        self.firm.receiver.forgets = how == "taken and lost"
        if how == "died":
            die_sending(self.world)
        else:
            jobs.drain()
        told = self.firm.receiver.journal[seen:]
        assert not (silent and any(message.profile for message in told)), "nobody hears of a detail that is not shared"
        self._believe(seen)

    def settle(self) -> None:
        """Deliver until nothing is owed; then nothing more is said."""
        # What a dead sender left unsaid is looked at once nobody can be behind it any more.
        self.take("settle")
        for _ in range(10):
            self.deliver("deliver", "")
            if not self.world.transact(self._owed):
                break
        told = len(self.firm.receiver.journal)
        self.deliver("deliver", "")
        assert len(self.firm.receiver.journal) == told

    def check(self) -> None:
        """Compare what is believed with what is true of every grant of this story."""
        for held in self.world.transact(self._grants):
            believed = self.believed.get(str(held.grant_id), Believed())
            state = self._state(held)
            assert believed.state == state
            if state in OVER:
                assert believed.values == {}
            if state == "active":
                assert believed.attributes == set(held.attributes)
                self._check_values(held, believed)
            asked = held.erasure_asked_at
            assert believed.erasure is None or set(held.attributes) <= set(believed.erasure["attributes"]) <= set(
                SHARED
            )
            assert (believed.erasure or {}).get("requested_at") == (asked.isoformat() if asked else None)

    def _check_values(self, held: Grant, believed: Believed) -> None:
        entries = self.world.transact(lambda session: consumer.entries(session, person_id=self.person_id))
        current = self.world.transact(
            lambda session: consumer.current(session, keyring=self.world.keyring, person_id=self.person_id)
        )
        thin = self.firm is not self.world.firms[0]
        expected = {
            name: (
                entries[name]["version"],
                None if thin or name not in current else current[name].value,
                entries[name]["confirmed_at"],
            )
            for name in held.attributes
            if name in entries
        }
        assert believed.values == expected

    def _once(self, step: str) -> Callable[[int], None]:
        """Answer as ever, and take a step while the first message is on its way."""
        steps = [step]
        return lambda _number: self.take(steps.pop()) if steps else None

    def _sharing(self) -> bool:
        return any(self._state(held) == "active" for held in self.world.transact(self._grants))

    def _owed(self, session: Session) -> bool:
        mine = select(Delivery).where(
            Delivery.person_id == self.person_id, Delivery.generation > Delivery.acked_generation
        )
        return session.scalars(mine).first() is not None

    def _believe(self, seen: int) -> None:
        for message in self.firm.receiver.journal[seen:]:
            if message.claims["sub_id"].get("sub") == self.shared.sub:
                self._believe_one(message)

    def _believe_one(self, message: Any) -> None:  # noqa: ANN401 - the receiver's own
        grants = {event["grant_id"] for event in message.claims["events"].values() if "grant_id" in event}
        assert len(grants) == 1
        self.believed.setdefault(grants.pop(), Believed()).apply(message)

    def _heal(self) -> None:
        well = {
            "failures": 0, "failing_since": None, "circuit_until": None, "circuit_step": 0, "recent": 0, "tries": 0,
            "state": "enabled",
        }  # fmt: skip
        theirs = update(Stream).where(Stream.client_id == self.firm.client_id).values(**well)
        self.world.transact(lambda session: session.execute(theirs))
        fresh = update(Delivery).where(Delivery.client_id == self.firm.client_id).values(held=False)
        self.world.transact(lambda session: session.execute(fresh))

    def _mine(self) -> dict[str, Any]:
        return {"person_id": self.person_id, "grant_id": self.shared.grant_id, "now": db.now()}

    def _save(self, session: Session, name: str, value: str | None) -> None:
        keyring = self.world.keyring
        record.save(session, keyring=keyring, person_id=self.person_id, changes={name: value}, now=db.now())

    def _confirm(self, session: Session) -> None:
        entries = consumer.entries(session, person_id=self.person_id)
        versions = {name: entry["version"] for name, entry in entries.items()}
        record.confirm(session, person_id=self.person_id, versions=versions, now=db.now() + timedelta(days=2))

    def _change(self, session: Session, attributes: tuple[str, ...], **terms: Any) -> None:  # noqa: ANN401 - of `change`
        given = {"mode": "kept-up-to-date", "days": None, "level": 2, "shown": {}, **terms}
        consent.change(session, **self._mine(), attributes=attributes, **given)

    def _to_and_fro(self, session: Session) -> None:
        held = select(Grant.state).where(Grant.grant_id == self.shared.grant_id)
        act = consent.pause if session.scalar(held) == "active" else consent.resume
        act(session, **self._mine())

    def _run_out(self, session: Session) -> None:
        over = update(Grant).where(Grant.grant_id == self.shared.grant_id, Grant.state.in_(("active", "paused")))
        session.execute(over.values(expires_at=db.now() - timedelta(seconds=1)))
        # Time says it to nobody: whoever looks next finds it, here because of an edit.
        session.execute(update(Delivery).where(Delivery.grant_id == self.shared.grant_id).values(
            generation=Delivery.generation + 1, due_at=db.now()))  # fmt: skip

    def _again(self, session: Session) -> None:
        live = select(Grant.grant_id).where(Grant.person_id == self.person_id, Grant.state.in_(("active", "paused")))
        if session.scalars(live).first() is None:
            given = consent.give(
                session, person_id=self.person_id, client_id=self.firm.client_id, purpose_id=self.firm.purpose_id,
                attributes=SHARED, mode="kept-up-to-date", days=None, level=2, shown={}, now=db.now(),
            )  # fmt: skip
            self.shared.grant_id = given.grant_id

    def _grants(self, session: Session) -> list[Grant]:
        return list(session.scalars(select(Grant).where(Grant.person_id == self.person_id)))

    def _state(self, held: Grant) -> str:
        over = held.expires_at is not None and held.expires_at <= db.now()
        return "expired" if over and held.state in {"active", "paused"} else held.state


@pytest.mark.parametrize("which", [0, 1], ids=["full", "thin"])
@hypothesis(
    max_examples=40, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(story=STORY)
def test_whoever_applies_what_they_are_told_believes_what_is_true(
    firms: tuple[World, Firm, Firm], which: int, story: list[tuple[str, str | None]]
) -> None:
    world, *both = firms
    told = Story(world, both[which])
    for number, (step, delivery) in enumerate(story):
        told.take(step)
        if delivery:
            told.deliver(delivery, story[(number + 1) % len(story)][0])
    told.settle()
    told.check()


WAYS = ("deliver", "fail", "taken and lost", "died")


@pytest.mark.parametrize("settled", [False, True], ids=["", "settled between"])
@pytest.mark.parametrize("ways", list(product(WAYS, repeat=3)), ids=", ".join)
def test_whoever_hears_only_some_of_it_believes_what_is_true(
    firms: tuple[World, Firm, Firm], ways: Sequence[str], *, settled: bool
) -> None:
    """To and fro three times, and whatever becomes of each message."""
    world, firm, _ = firms
    told = Story(world, firm)
    told.deliver("deliver", "")
    for way in ways:
        told.take("to and fro")
        told.deliver(way, "")
        if settled:
            told.take("settle")
    told.settle()
    told.check()


PAIRS = ("edit email", "confirm", "pause", "resume", "less", "all", "stop and erase", "run out")


@pytest.mark.parametrize("first", PAIRS)
@pytest.mark.parametrize("between", ["told between", "told together"])
def test_any_two_steps_are_told_truly(firms: tuple[World, Firm, Firm], first: str, between: str) -> None:
    """After a pause, too: each pair of steps in one message or in two."""
    world, firm, _ = firms
    for second in PAIRS:
        told = Story(world, firm)
        told.deliver("deliver", "")
        for step in ("pause", first, second) if "resume" in {first, second} else (first, second):
            told.take(step)
            if between == "told between":
                told.deliver("deliver", "")
        told.settle()
        told.check()

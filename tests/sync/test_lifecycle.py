"""A person does whatever they like with one company, in any order, while it is told and asks: what must always hold.

The model knows what was agreed to; the database, the company's endpoint and its calls to the API are real.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase
from hypothesis import settings as hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import func, select, update

from portal import db, events
from portal.consent import chain, counters, freezing, queries, rehash, renewing, services
from portal.consent.models import Grant
from portal.errors import PortalError
from portal.ledger.models import Disclosure
from portal.sync import jobs
from portal.sync import services as sync
from portal.sync.models import Delivery
from portal.vault import record_keys
from tests.sync.caller import Caller
from tests.sync.cast import SHARED, World
from tests.sync.receiver import read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flask.testing import FlaskClient
    from sqlalchemy.orm import Session

    from tests.sync.cast import Firm

LIVE = {"active", "paused"}
OVER = {"withdrawn", "ended", "expired", "invalidated", "refused"}
SOME = st.sampled_from([("name.full",), ("name.full", "email.main"), SHARED])
WAYS = st.sampled_from(["kept-up-to-date", "kept-up-to-date", "asked"])
DAYS = st.sampled_from([None, 90])


@dataclass
class Agreed:
    """What the model knows of one grant; `over` says that its time has run out, whether or not that is noted."""

    state: str
    attributes: frozenset[str]
    mode: str
    frozen: bool = False
    over: bool = False
    version: int = 0

    @property
    def flows(self) -> bool:
        return self.state == "active" and not self.over


@dataclass
class Place:
    """What every story has: one company that is told at its endpoint, and asks."""

    world: World
    firm: Firm
    http: FlaskClient
    caller: Caller = field(init=False)

    def __post_init__(self) -> None:
        self.caller = Caller(self.http, self.world, self.firm)


@pytest.fixture(scope="module")
def place(settings: Any, keys: Any, app: Any) -> Iterator[Place]:  # noqa: ANN401 - the suite's own fixtures
    events.listen(events.RecordChanged, sync.on_record_changed)
    events.listen(events.GrantChanged, sync.on_grant_changed)
    events.listen(events.GrantsChanged, sync.on_grants_changed)
    world = World(settings, keys)
    yield Place(world, world.firm(), app.test_client())
    world.close()


class Lifecycle(RuleBasedStateMachine):
    """One person, one purpose; after every step everything that must hold is looked at."""

    place: Place

    def __init__(self) -> None:
        super().__init__()
        self.world, self.firm = self.place.world, self.place.firm
        self.person_id = self.world.person(phone__mobile="+353851234567")
        self.known: dict[UUID, Agreed] = {}
        self.frozen, self.count, self.sub, self.unlogged = False, 0, "", 0
        # What the people of earlier stories are still owed would arrive in this one.
        theirs = update(Delivery).where(Delivery.client_id == self.firm.client_id)
        self.world.transact(lambda session: session.execute(theirs.values(acked_generation=Delivery.generation)))
        self.firm.receiver.journal.clear()
        self.firm.receiver.behave = self._arrives

    # What the person, the company and time do.

    @initialize()
    def begin(self) -> None:
        self.give(SHARED, "kept-up-to-date", None)
        self.push("name.full")

    @rule(attributes=SOME, mode=WAYS, days=DAYS)
    def give(self, attributes: tuple[str, ...], mode: str, days: int | None) -> None:
        chosen: dict[str, Any] = {"attributes": attributes, "mode": mode, "days": days, "level": 1, "shown": {}}
        purpose: dict[str, Any] = {"client_id": self.firm.client_id, "purpose_id": self.firm.purpose_id}
        made = self._try(
            lambda session: services.give(session, person_id=self.person_id, now=db.now(), **purpose, **chosen)
        )
        assert (made is None) is self.frozen
        if made is None:
            return
        for grant_id, agreed in self.known.items():
            if agreed.state == "countered":
                agreed.state = "refused"
            elif agreed.over and agreed.state in LIVE:
                assert made.grant_id != grant_id
                agreed.state = "expired"
        self._agree(made)

    @rule(attributes=SOME, mode=WAYS, days=DAYS)
    def change(self, attributes: tuple[str, ...], mode: str, days: int | None) -> None:
        chosen: dict[str, Any] = {"attributes": attributes, "mode": mode, "days": days, "level": 1, "shown": {}}
        self._step(lambda session, mine: services.change(session, **mine, **chosen), unless_frozen=True)

    @rule()
    def pause(self) -> None:
        self._step(lambda session, mine: services.pause(session, **mine))

    @rule()
    def resume(self) -> None:
        self._step(lambda session, mine: services.resume(session, **mine), unless_frozen=True)

    @rule()
    def renew(self) -> None:
        self._step(lambda session, mine: renewing.renew(session, **mine, level=1, shown={}), unless_frozen=True)

    @precondition(lambda self: self.living() is not None)
    @rule(how=st.sampled_from(["stop", "stop and erase", "company ends it", "invalidate", "run out"]))
    def end(self, how: str) -> None:
        ways: dict[str, tuple[str, Callable[..., Grant]]] = {
            "stop": ("withdrawn", services.withdraw),
            "stop and erase": ("withdrawn", partial(services.withdraw, erase=True)),
            "company ends it": ("ended", services.end),
            "invalidate": ("invalidated", partial(renewing.invalidate, reason="Nobody was asked.")),
        }
        if how == "run out":
            self._run_out()
        else:
            self._end(*ways[how])

    @precondition(lambda self: any(agreed.over for agreed in self.known.values()))
    @rule()
    def sweep(self) -> None:
        self.world.transact(lambda session: services.expire_due(session, now=db.now()))
        for agreed in self.known.values():
            if agreed.over and agreed.state in LIVE:
                agreed.state = "expired"

    @rule()
    def freeze(self) -> None:
        self.world.transact(lambda session: freezing.freeze(session, person_id=self.person_id, now=db.now()))
        self.frozen = True
        for agreed in self.known.values():
            if agreed.state == "active":
                agreed.state, agreed.frozen = "paused", True

    @precondition(lambda self: self.frozen)
    @rule(all_of_it=st.booleans())
    def unfreeze(self, all_of_it: bool) -> None:  # noqa: FBT001 - Hypothesis names it
        chosen = set(self.known) if all_of_it else set()
        self.world.transact(
            lambda session: freezing.unfreeze(session, person_id=self.person_id, resume=chosen, now=db.now())
        )
        self.frozen = False
        for agreed in self.known.values():
            if agreed.frozen and agreed.state == "paused" and all_of_it:
                agreed.state = "active"
            agreed.frozen = False

    @precondition(lambda self: self.living() is None)
    @rule()
    def offer_less(self) -> None:
        less = counters.Less(attributes=("email.main",), mode="asked", days=30, level=1)
        purpose: dict[str, Any] = {"client_id": self.firm.client_id, "purpose_id": self.firm.purpose_id}
        made = self._try(
            lambda session: counters.counter(
                session, services.Reply(person_id=self.person_id, shown={}, now=db.now(), **purpose), less
            )
        )
        if made is None:
            return
        for agreed in self.known.values():
            if agreed.state == "countered":
                agreed.state = "refused"
        self._agree(made)

    @precondition(lambda self: self.offered() is not None)
    @rule(accepted=st.booleans())
    def company_answers_the_offer(self, accepted: bool) -> None:  # noqa: FBT001 - Hypothesis names it
        grant_id: Any = self.offered()
        answer = counters.accept if accepted else counters.decline
        made = self._try(
            lambda session: answer(session, client_id=self.firm.client_id, grant_id=grant_id, now=db.now())
        )
        assert (made is None) is (accepted and (self.frozen or self.living() is not None))
        if made is not None:
            self._agree(made)

    @rule(name=st.sampled_from(SHARED))
    def push(self, name: str) -> None:
        """Edit one detail and let everything owed be told: it arrives where it is kept up to date, and nowhere else."""
        self.count += 1
        values = {
            "name.full": f"Ada {self.count}", "email.main": f"a{self.count}@example.org",
            "phone.mobile": f"+35385{self.count:07}",
        }  # fmt: skip
        self.world.save(self.person_id, **{name: values[name]})
        self.world.due_now()
        journal = self.firm.receiver.journal
        seen = len(journal)
        jobs.drain()
        told = [message for message in journal[seen:] if message.profile is not None]
        for message in told:
            agreed = self._told_of(message)
            assert agreed.flows, "nothing is told that is not granted at that moment"
            assert agreed.mode == "kept-up-to-date"
            assert set(message.profile["attributes"]) <= agreed.attributes
        living = self._now()
        expected = living is not None and living.flows and living.mode == "kept-up-to-date"
        if expected and name in living.attributes:
            assert any(values[name] == message.values.get(name, (0, ""))[1] for message in told)
        if not expected:
            assert told == []

    # What must hold, whatever has been done.

    @precondition(lambda self: self.sub)
    @invariant()
    def a_pull_gets_what_is_granted_now_and_nothing_else(self) -> None:
        answer = self.place.caller.get(f"/api/v1/people/{self.sub}")
        living = self._now()
        if living is None or not living.flows:
            assert answer.status_code == 403
            return
        assert answer.status_code == 200
        message = read(answer.text, portal_keys=self.world.portal_keys(), key=self.firm.receiver.key)
        assert set(message.values) <= living.attributes

    @invariant()
    def the_database_says_what_was_agreed(self) -> None:
        for grant_id, held in self._held().items():
            agreed = self.known[grant_id]
            assert (held.state, frozenset(held.attributes)) == (agreed.state, agreed.attributes)

    @invariant()
    def at_most_one_lives(self) -> None:
        assert sum(held.state in LIVE for held in self._held().values()) <= 1

    @invariant()
    def versions_only_go_up_and_are_linked_and_signed(self) -> None:
        def look(session: Session) -> None:
            published = record_keys.public_jwks(session)
            for grant_id, agreed in self.known.items():
                versions = queries.versions(session, person_id=self.person_id, grant_id=grant_id)
                assert len(versions) >= agreed.version
                assert chain.intact(versions)
                assert chain.signed(versions, published)
                assert all(one.signature for one in versions)
                agreed.version = len(versions)

        self.world.transact(look)

    @invariant()
    def what_is_over_stays_over(self) -> None:
        def look(session: Session) -> None:
            for grant_id in self.known:
                states = [one.state for one in queries.versions(session, person_id=self.person_id, grant_id=grant_id)]
                ended = next((place for place, state in enumerate(states) if state in OVER), len(states))
                assert all(state in OVER for state in states[ended:])

        self.world.transact(look)

    @invariant()
    def every_message_stands_in_the_log(self) -> None:
        told = {message.jti for message in self.firm.receiver.journal if message.profile is not None}
        rows = select(Disclosure.message_id).where(Disclosure.person_id == self.person_id, Disclosure.channel == "push")
        assert told <= set(self.world.transact(lambda session: session.scalars(rows).all()))
        assert self.unlogged == 0, "its row is committed before a message arrives"

    def teardown(self) -> None:
        self.firm.receiver.behave = None
        self.the_night_finds_every_consent_as_it_was_agreed_to()

    def the_night_finds_every_consent_as_it_was_agreed_to(self) -> None:
        before = f"{self.person_id}/{UUID(int=0)}"
        found = self.world.transact(lambda session: rehash.some_consents(session, after=before))
        mine = {str(grant_id) for grant_id in self._held()}
        assert [each for each in found.wrong if each.where in mine] == []

    # How the model is kept.

    def living(self) -> UUID | None:
        return next((grant_id for grant_id, agreed in self.known.items() if agreed.state in LIVE), None)

    def offered(self) -> UUID | None:
        return next((grant_id for grant_id, agreed in self.known.items() if agreed.state == "countered"), None)

    def _now(self) -> Any:  # noqa: ANN401 - what is agreed, if anything
        living = self.living()
        return self.known[living] if living else None

    def _try(self, act: Callable[[Session], Grant]) -> Grant | None:
        """Return what came of an act, None where it was refused: then nothing has changed."""
        try:
            made: Grant = self.world.transact(act)
        except PortalError:
            return None
        return made

    def _step(self, act: Callable[..., Grant], *, unless_frozen: bool = False) -> None:
        living = self.living()
        if living is None:
            return
        mine = {"person_id": self.person_id, "grant_id": living, "now": db.now()}
        made = self._try(lambda session: act(session, mine))
        refused = self.known[living].over or (unless_frozen and self.frozen)
        if made is None:
            assert refused
            return
        assert not refused or made.state == self.known[living].state
        self._agree(made)

    def _end(self, state: str, act: Callable[..., Grant]) -> None:
        mine = {"person_id": self.person_id, "grant_id": self.living(), "now": db.now()}
        made = self.world.transact(lambda session: act(session, **mine))
        assert made.state == state
        self.known[made.grant_id].state = state

    def _run_out(self) -> None:
        past = update(Grant).where(Grant.grant_id == self.living())
        self.world.transact(lambda session: session.execute(past.values(expires_at=db.now() - timedelta(seconds=1))))
        self._now().over = True

    def _agree(self, made: Grant) -> None:
        before = self.known.get(made.grant_id)
        self.known[made.grant_id] = Agreed(
            state=made.state, attributes=frozenset(made.attributes), mode=made.mode,
            frozen=before.frozen if before and made.state == "paused" else False,
            over=False, version=before.version if before else 0,
        )  # fmt: skip
        self.sub = self.sub or self.world.transact(
            lambda session: queries.sub_of(session, person_id=self.person_id, company_id=self.firm.company_id) or ""
        )

    def _held(self) -> dict[UUID, Grant]:
        found = self.world.transact(lambda session: queries.grants_of(session, person_id=self.person_id))
        return {held.grant_id: held for held in found}

    def _told_of(self, message: Any) -> Agreed:  # noqa: ANN401 - the receiver's own
        [grant_id] = {event["grant_id"] for event in message.claims["events"].values() if "grant_id" in event}
        return next(agreed for held, agreed in self.known.items() if str(held) == grant_id)

    def _arrives(self, _number: int) -> None:
        """Look, while a message arrives, whether its row has been committed: another connection sees it then."""
        rows = select(func.count()).where(Disclosure.person_id == self.person_id, Disclosure.message_id.is_not(None))
        logged = self.world.transact(
            lambda session: session.scalar(rows.where(Disclosure.channel.in_(("push", "notice"))))
        )
        self.unlogged += logged <= len(self.firm.receiver.journal)


def test_whatever_is_done_in_whatever_order(place: Place) -> None:
    """Give, change, push, pull, pause, resume, stop, expire, freeze, renew, offer: in random order, by real parts."""
    story = type("Story", (Lifecycle,), {"place": place})
    run_state_machine_as_test(
        story,
        settings=hypothesis(
            max_examples=14, stateful_step_count=18, deadline=None, derandomize=True, database=None,
            suppress_health_check=list(HealthCheck), phases=(Phase.generate,),
        ),
    )  # fmt: skip

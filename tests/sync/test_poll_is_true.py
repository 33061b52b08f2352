"""Whatever happens in whatever order, a company that polls (or is pushed to in between) ends up with what is true."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import update

from portal import db
from portal.sync import jobs, polling, services
from portal.sync.models import Delivery
from tests.sync.receiver import read

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sync.cast import Firm, Shared, World
    from tests.sync.receiver import Message

STEPS = 60


class Company:
    """Polls, forgets, acknowledges late or not at all, and keeps the highest version of each detail."""

    def __init__(self, world: World, firm: Firm, dice: random.Random) -> None:
        self.world, self.firm, self.dice = world, firm, dice
        self.keys = world.portal_keys()
        self.heard: list[Message] = []
        self.unanswered: list[str] = []

    def poll(self) -> int:
        ack = [jti for jti in self.unanswered if self.dice.random() < 0.7]
        bad = {ack.pop(): "invalid_request"} if ack and self.dice.random() < 0.2 else {}
        return self.ask(ack, bad, self.dice.choice((0, 1, 3, 100)))

    def ask(self, ack: list[str], bad: dict[str, str], most: int) -> int:
        asked = polling.Asked(most=most, at_once=True, acknowledged=ack, errors=bad)
        answer = polling.poll(
            self.world.settings, keyring=self.world.keyring, client_id=self.firm.client_id, asked=asked
        )
        self.heard += [read(token, portal_keys=self.keys, key=self.firm.receiver.key) for token in answer.sets.values()]
        self.unanswered = [jti for jti in self.unanswered if jti not in {*ack, *bad}] + list(answer.sets)
        return len(answer.sets)

    def catch_up(self) -> None:
        """Take everything there is: leases have run out, and what was refused has waited its day."""
        self.world.due_now()
        while self.ask(self.unanswered, {}, 100):
            pass

    def knows(self, sub: str) -> dict[str, tuple[int, Any]]:
        kept: dict[str, tuple[int, Any]] = {}
        for message in [*self.heard, *self.firm.receiver.journal]:
            if message.claims["sub_id"].get("sub") == sub:
                kept |= {k: v for k, v in message.values.items() if v[0] >= kept.get(k, (0, None))[0]}
        return kept

    def state(self, sub: str) -> str:
        told = [each for each in [*self.heard, *self.firm.receiver.journal] if each.consent]
        mine = [each for each in told if each.claims["sub_id"].get("sub") == sub]
        newest = max(mine, key=lambda each: (each.consent or {})["version"])
        return str((newest.consent or {})["state"])


class Life:
    """People who edit, pause, resume and stop, and staff who change the method or want everything again."""

    def __init__(self, world: World, company: Company, dice: random.Random) -> None:
        self.world, self.company, self.dice = world, company, dice
        self.people = [world.share(world.person(), company.firm) for _ in range(3)]
        self.states = dict.fromkeys((each.sub for each in self.people), "active")
        self.said: dict[str, str] = dict.fromkeys(self.states, "ada@example.org")
        self.may_know: dict[str, set[str]] = {sub: {"ada@example.org"} for sub in self.states}
        self.edits = 0

    def edit(self) -> None:
        shared = self.dice.choice(self.people)
        self.edits += 1
        address = f"n{self.edits}@example.org"
        self.world.save(shared.person_id, email__main=address)
        self.said[shared.sub] = address
        if self.states[shared.sub] != "withdrawn":
            self.may_know[shared.sub].add(address)

    def step(self) -> None:
        shared = self.dice.choice(self.people)
        state = self.states[shared.sub]
        if state == "withdrawn":
            return
        verb = self.dice.choice(("pause", "pause", "withdraw") if state == "active" else ("resume",))
        self.world.step(verb, shared)
        self.states[shared.sub] = {"pause": "paused", "resume": "active", "withdraw": "withdrawn"}[verb]

    def again(self) -> None:
        self._send_again(self.dice.choice(self.people))

    def lapse(self) -> None:
        mine = update(Delivery).where(Delivery.client_id == self.company.firm.client_id)
        self.world.transact(lambda session: session.execute(mine.values(leased_until=db.now())))

    def push(self) -> None:
        firm = self.company.firm
        self.world.transact(
            lambda session: services.enable_endpoint(
                session, client_id=firm.client_id, url=firm.receiver.url, now=db.now()
            )
        )
        jobs.drain()
        self.to_poll()

    def to_poll(self) -> None:
        client_id = self.company.firm.client_id
        self.world.transact(
            lambda session: services.open_stream(session, client_id=client_id, method="poll", url=None, now=db.now())
        )

    def _send_again(self, shared: Shared) -> None:
        who = {"person_id": shared.person_id, "grant_id": shared.grant_id}
        self.world.transact(lambda session: services.send_again(session, **who))


@pytest.mark.parametrize("seed", range(6))
def test_a_company_that_polls_ends_up_with_what_is_true(world: World, seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 - the same story each time
    firm = world.firm()
    company = Company(world, firm, dice)
    life = Life(world, company, dice)
    life.to_poll()
    acts: tuple[Callable[[], object], ...] = (
        life.edit, life.edit, life.step, company.poll, company.poll, company.poll, life.lapse, life.again, life.push,
    )  # fmt: skip
    for _ in range(STEPS):
        dice.choice(acts)()
    company.catch_up()
    for shared in life.people:
        state = life.states[shared.sub]
        assert company.state(shared.sub) == state
        known = {value for name, (_version, value) in company.knows(shared.sub).items() if name == "email.main"}
        assert known <= life.may_know[shared.sub]
        if state == "active":
            assert known == {life.said[shared.sub]}
    _keeps_order(company)


def _keeps_order(company: Company) -> None:
    """Of one person, nothing older is handed out after something newer."""
    newest: dict[str, int] = {}
    for message in company.heard:
        sub = str(message.claims["sub_id"].get("sub"))
        version = message.values.get("email.main", (newest.get(sub, 0), None))[0]
        assert version >= newest.get(sub, 0)
        newest[sub] = version

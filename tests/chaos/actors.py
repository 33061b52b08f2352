"""What people do meanwhile: they edit, pause, resume, stop and share again, whatever is broken at the moment.

Each step is one transaction that is tried until it is known to have happened or not.
"""

from __future__ import annotations

import random
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import SQLAlchemyError

from portal.errors import PortalError
from tests.sync.cast import SHARED

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from tests.sync.cast import Firm, Shared, World

_EDITED = ("email.main", "phone.mobile")


@dataclass
class Stopped:
    """Somebody stopped: when the step began, and when its commit was known (CLOCK_MONOTONIC)."""

    shared: Shared
    firm: Firm
    began: float
    known: float


@dataclass
class Actors:
    """People with their subscriptions, and two threads that act for them: one edits only."""

    world: World
    firms: Sequence[Firm]
    seed: int
    subscriptions: list[tuple[Shared, Firm]] = field(default_factory=list)
    stopped: list[Stopped] = field(default_factory=list)
    edits: int = 0
    retried: int = 0

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)
        self._people: list[UUID] = []
        self._paused: set[UUID] = set()
        self._over = threading.Event()
        self._pool = ThreadPoolExecutor(2, "actors")
        self._acting: list[Future[None]] = []

    def settle(self, people: int) -> None:
        """Make `people`, each of whom shares with one to three of the firms."""
        for _ in range(people):
            person_id = self.world.person(phone__mobile=self._number())
            self._people.append(person_id)
            for firm in self._chance.sample(list(self.firms), self._chance.randint(1, 3)):
                self.subscriptions.append((self.world.share(person_id, firm), firm))

    def start(self) -> None:
        self._acting = [self._pool.submit(act) for act in (self._act, self._only_edit)]

    def end(self) -> None:
        """Let the last step finish, then let everybody who has paused go on; raises what ended somebody's acting."""
        self._over.set()
        self._pool.shutdown()
        for acting in self._acting:
            acting.result()
        for shared, _ in self.subscriptions:
            if shared.grant_id in self._paused:
                self._surely(self.world.step, "resume", shared)

    @property
    def live(self) -> list[tuple[Shared, Firm]]:
        over = {each.shared.grant_id for each in self.stopped}
        return [(shared, firm) for shared, firm in self.subscriptions if shared.grant_id not in over]

    def _act(self) -> None:
        while not self._over.is_set():
            drawn = self._chance.random()
            if drawn < 0.92:
                self._edit()
            elif drawn < 0.97:
                self._pause_or_resume()
            elif drawn < 0.985:
                self._stop()
            else:
                self._share_anew()
            # Forty steps a second, as they come.
            time.sleep(self._chance.expovariate(40))

    def _only_edit(self) -> None:
        while not self._over.is_set():
            self._edit()
            # Sixty edits a second, as they come.
            time.sleep(self._chance.expovariate(60))

    def _edit(self) -> None:
        name = self._chance.choice(_EDITED)
        value = self._number() if name == "phone.mobile" else f"p{self._chance.randrange(10**9)}@example.org"
        self._surely(self.world.save, self._chance.choice(self._people), **{name.replace(".", "__"): value})
        self.edits += 1

    def _pause_or_resume(self) -> None:
        shared, _ = self._chance.choice(self.live)
        verb = "resume" if shared.grant_id in self._paused else "pause"
        self._surely(self.world.step, verb, shared)
        self._paused ^= {shared.grant_id}

    def _stop(self) -> None:
        shared, firm = self._chance.choice(self.live)
        began = time.monotonic()
        self._surely(self.world.step, "withdraw", shared)
        self.stopped.append(Stopped(shared, firm, began, time.monotonic()))
        self._paused.discard(shared.grant_id)

    def _share_anew(self) -> None:
        """Let somebody who has stopped share with the same firm again, as often as somebody stops."""
        sharing = {(shared.person_id, firm.client_id) for shared, firm in self.live}
        over = [each for each in self.stopped if (each.shared.person_id, each.firm.client_id) not in sharing]
        if over:
            before = self._chance.choice(over)
            again = self._surely(self.world.share, before.shared.person_id, before.firm, attributes=SHARED)
            # Where it had happened before its connection broke, nobody knows the new one's name.
            if again is not None:
                self.subscriptions.append((again, before.firm))

    def _surely(self, step: Any, *arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - whatever the step takes
        """Do a step; whether one whose connection broke has happened is asked by doing it again."""
        while True:
            try:
                return step(*arguments, **named)
            except SQLAlchemyError:
                self.retried += 1
                # The database comes back.
                time.sleep(0.2)
            except PortalError:
                # It had happened: the second time it is refused.
                return None

    def _number(self) -> str:
        return f"+35387{self._chance.randrange(10**7):07}"

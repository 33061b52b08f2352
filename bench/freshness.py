"""Save → received: from before the transaction to the last byte at each receiver."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any

from joserfc.jwk import ECKey

from bench.load import percentile
from portal import db, queue
from portal.sync import services
from tests.sync import cast
from tests.sync.receiver import new_key

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from bench.ground import Arrivals, Ground
    from tests.sync.cast import Firm, World

EDITS = {1: 60, 20: 30, 100: 20}
GOAL_P95 = 500
_WARMING = 3
_REST = 0.15


@dataclass
class Port:
    """Stands where a test has a receiver: a port of the sink, and a key whose private part nobody needs."""

    port: int
    key: ECKey

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/events"


@dataclass
class _Trial:
    """One person's edits and what they came to: milliseconds to each receiver and of each save, Valkey commands."""

    here: Ground
    world: World
    arrivals: Arrivals
    firms: Sequence[Firm]
    received: list[float] = field(default_factory=list)
    saves: list[float] = field(default_factory=list)
    commands: int = 0

    def run(self, edits: int) -> None:
        """Share with everybody, warm up, then make `edits`."""
        person_id, before = self.world.person(), self.arrivals.count()
        for firm in self.firms:
            self.world.share(person_id, firm)
        self.arrivals.wait(before + len(self.firms), 60)
        for number in range(_WARMING):
            self._edit(person_id, number)
        self.received, self.saves, self.commands = [], [], 0
        for number in range(_WARMING, _WARMING + edits):
            self._edit(person_id, number)

    def _edit(self, person_id: UUID, number: int) -> None:
        before, commands = self.arrivals.count(), _commands(self.here)
        marks = {firm.receiver.port: len(self.arrivals.at[firm.receiver.port]) for firm in self.firms}
        started = time.monotonic()
        self.world.save(person_id, email__main=f"edit{number}@example.org")
        self.saves.append((time.monotonic() - started) * 1000)
        self.arrivals.wait(before + len(self.firms), 30)
        time.sleep(_REST)
        self.commands += _commands(self.here) - commands
        self.received += [(self.arrivals.at[port][mark] - started) * 1000 for port, mark in marks.items()]


def firm_at(world: World, port: int) -> Firm:
    """Register a company whose endpoint is `port` of the sink, proved."""

    def make(session: Any) -> Firm:  # noqa: ANN401 - a session
        signs = ECKey.generate_key("P-256", {"kid": "sig-1", "use": "sig"})
        firm = cast.register(session, signs, Port(port, new_key()), "kept-up-to-date")
        services.enable_endpoint(session, client_id=firm.client_id, url=firm.receiver.url, now=db.now())
        return firm

    cast.allow(f"127.0.0.1:{port}")
    made: Firm = world.transact(make)
    return made


def measure(here: Ground, world: World, arrivals: Arrivals, firms: Sequence[Firm]) -> None:
    """Print the figures for each number of subscribers."""
    print(f"\nsave -> received by each subscriber, ms (goal: p95 <= {GOAL_P95} at 100)")
    for subscribers, edits in EDITS.items():
        seen = _Trial(here, world, arrivals, firms[:subscribers])
        seen.run(edits)
        p50, p95, p99 = (percentile(seen.received, percent) for percent in (50, 95, 99))
        print(
            f"  {subscribers:4} subscribers   p50 {p50:6.1f}   p95 {p95:6.1f}   p99 {p99:6.1f}"
            f"   max {max(seen.received):6.1f}   the save {median(seen.saves):5.1f}"
            f"   Valkey commands a push {seen.commands / edits / subscribers:6.2f}"
        )


def _commands(here: Ground) -> int:
    info: dict[str, Any] = queue.connection(here.settings.redis_url).info("stats")
    return int(info["total_commands_processed"])

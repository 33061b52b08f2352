"""Save -> received: from before the transaction to the last byte at each receiver, by TLS."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any

from sqlalchemy import text, update

from bench import goals
from bench.load import percentile
from bench.sinks import Sinks, firms_at
from portal import queue
from portal.sync.models import Stream

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from bench.ground import Arrivals, Ground
    from tests.sync.cast import Firm, World

EDITS = {1: 60, 20: 30, 100: 20}
HANGING, OTHERS, HANG_RATE = 1, 19, 20
SECONDS = 10.0
_NAMES = {1: "one", 100: "hundred"}
_BATCH = 50
# Not to firms of a part that is over: nobody tells them any more.
OWED = text("""
    SELECT count(*) FROM delivery JOIN stream USING (client_id)
     WHERE generation > acked_generation AND state <> 'disabled'
""")
_LOOK_SECONDS = 0.05
_WARMING = 3
# An edit starts with nothing left of the one before, not even an answer that is still to be noted.
_REST = 0.15
# What was owed when the last edit was made is waited for; beside a receiver that hangs there is always something.
_STRAGGLERS_SECONDS = 3.0


@dataclass(frozen=True, kw_only=True)
class _Load:
    """Edits a second, each owed to so many subscribers, of so many people in turn, and the goals it is for."""

    rate: int
    subscribers: int
    people: int
    goals: str

    @property
    def pushes(self) -> int:
        return self.rate * self.subscribers


_STEADY = _Load(rate=100, subscribers=5, people=400, goals="F1")
_HEAVY = _Load(rate=50, subscribers=100, people=40, goals="F2")


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
        started = time.monotonic()
        self.world.save(person_id, email__main=f"edit{number}@example.org")
        self.saves.append((time.monotonic() - started) * 1000)
        self.arrivals.wait(before + len(self.firms), 30)
        time.sleep(_REST)
        self.commands += _commands(self.here) - commands
        self.received += [(arrival.at - started) * 1000 for arrival in self.arrivals.all[before:]]


def measure(here: Ground, world: World) -> None:
    """Print the figures for each number of subscribers, for a steady stream, and beside a receiver that hangs."""
    sinks = Sinks(here, max(EDITS))
    firms = firms_at(world, sinks.places, per_second=1000)
    start_senders(here, 1)
    print("\nsave -> received by each subscriber, ms")
    for subscribers, edits in EDITS.items():
        seen = _Trial(here, world, sinks.arrivals, firms[:subscribers])
        seen.run(edits)
        print(
            f"  {subscribers:4} subscribers   {spread(seen.received)}   the save {median(seen.saves):5.1f}"
            f"   Valkey commands a push {seen.commands / edits / subscribers:6.2f}"
        )
        if subscribers in _NAMES:
            goals.saw(_NAMES[subscribers], percentile(seen.received, 95))
    _steady(world, sinks, firms, _STEADY, "one worker, one event a request")
    world.transact(lambda session: session.execute(update(Stream).values(batch=_BATCH)))
    start_sender(here, 2)
    _steady(world, sinks, firms, _HEAVY, f"two workers, up to {_BATCH} events a request")
    stop_senders(here)
    sinks.stop(here)
    world.disable(firms)
    _beside_one_that_hangs(here, world)


def start_senders(here: Ground, count: int) -> None:
    for number in range(count):
        start_sender(here, number + 1)
    here.start("reconciler", "-m", "portal", "reconciler")


def start_sender(here: Ground, number: int) -> None:
    here.start(f"worker push {number}", "-m", "portal", "worker", "--queue", queue.PUSH)


def stop_senders(here: Ground) -> None:
    """Stop them, and say what memory they had at the end."""
    for name in [name for name in here.processes if name.startswith(("worker push", "reconciler"))]:
        here.say_memory(name)
        here.stop(name)


def spread(milliseconds: Sequence[float]) -> str:
    p50, p95, p99 = (percentile(list(milliseconds), percent) for percent in (50, 95, 99))
    return f"p50 {p50:6.1f}   p95 {p95:6.1f}   p99 {p99:6.1f}   max {max(milliseconds):6.1f}"


def _steady(world: World, sinks: Sinks, firms: Sequence[Firm], load: _Load, words: str) -> None:
    """Edit at a steady rate, each person's turn coming round every few seconds, and print commit -> received."""
    people = [world.person() for _ in range(load.people)]
    subs = _share(world, sinks, people, firms[: load.subscribers])
    before, begun = sinks.arrivals.count(), time.monotonic()
    commits = _edit_steadily(world, people, rate=load.rate, seconds=SECONDS)
    arrived = sinks.arrivals.all[before:]
    latencies = _latencies(sinks.arrivals, commits, subs)
    # Where edits pile up, what is sent is the newest state, once for several.
    rate = len(commits) / (commits[-1][1] - begun)
    print(
        f"\ncommit -> received, {load.pushes} pushes a second to be owed for {SECONDS:.0f} s, {words}, ms"
        f"\n  {spread(latencies)}   of {len(latencies)};  owed {rate * load.subscribers:.0f}/s,"
        f" sent {len(arrived) / (arrived[-1].at - begun):.0f}/s"
    )
    for percent in (50, 99):
        goals.saw(f"{load.goals} p{percent}", percentile(latencies, percent))


def _beside_one_that_hangs(here: Ground, world: World) -> None:
    """Edit with twenty subscribers, one of whom takes everything and never answers; print the others' latencies."""
    for deaf, words in ((), "all of 20 answer"), ((OTHERS,), "one of 20 hangs "):
        sinks = Sinks(here, OTHERS + HANGING, deaf=deaf)
        firms = firms_at(world, sinks.places, per_second=1000)
        start_senders(here, 1)
        people = [world.person() for _ in range(HANG_RATE)]
        subs = _share(world, sinks, people, firms[:OTHERS])
        _share(world, sinks, people, firms[OTHERS:], wait=not deaf)
        commits = _edit_steadily(world, people, rate=HANG_RATE, seconds=SECONDS)
        latencies = _latencies(sinks.arrivals, commits, subs)
        print(f"  {words}: commit -> received by the other 19, ms   {spread(latencies)}")
        if deaf:
            goals.saw("F5", percentile(latencies, 99))
        stop_senders(here)
        sinks.stop(here)
        world.disable(firms)


def _share(
    world: World, sinks: Sinks, people: Sequence[UUID], firms: Sequence[Firm], *, wait: bool = True
) -> dict[tuple[str, str], UUID]:
    """Let everybody share with all firms; return who it is by the place of the firm and the name it knows."""
    before = sinks.arrivals.count()
    subs = {}
    for person_id in people:
        for firm in firms:
            subs[firm.receiver.name, world.share(person_id, firm).sub] = person_id
    if wait:
        sinks.arrivals.wait(before + len(subs), 120)
    return subs


def _edit_steadily(world: World, people: Sequence[UUID], *, rate: int, seconds: float) -> list[tuple[UUID, float]]:
    """Edit one person after the other at `rate` a second; return who and when the commit was known."""
    begun, commits = time.monotonic(), []
    for number in range(int(rate * seconds)):
        time.sleep(max(0.0, begun + number / rate - time.monotonic()))
        person_id = people[number % len(people)]
        world.save(person_id, email__main=f"steady{number}@example.org")
        commits.append((person_id, time.monotonic()))
    deadline = time.monotonic() + _STRAGGLERS_SECONDS
    while time.monotonic() < deadline and world.transact(lambda session: session.scalar(OWED)):
        time.sleep(_LOOK_SECONDS)
    return commits


def _latencies(
    arrivals: Arrivals, commits: Sequence[tuple[UUID, float]], subs: dict[tuple[str, str], UUID]
) -> list[float]:
    """Return, for each commit and each place, the milliseconds to the first message about that person after it.

    A message may set out before its commit is known here; it counts from the one before, if there is none later.
    """
    seen: dict[tuple[str, str], list[float]] = {}
    for arrival in arrivals.all:
        seen.setdefault((arrival.place, arrival.sub), []).append(arrival.at)
    told: dict[UUID, list[list[float]]] = {}
    for key, person_id in subs.items():
        told.setdefault(person_id, []).append(seen.get(key, []))
    found = []
    for person_id, at in commits:
        for times in told[person_id]:
            after = [each for each in times if each >= at - _EARLY]
            found.append((max(after[0] - at, 0.0) if after else float("inf")) * 1000)
    return found


# The sender may be quicker than the thread that waits for the commit to return.
_EARLY = 0.02


def _commands(here: Ground) -> int:
    info: dict[str, Any] = queue.connection(here.settings.redis_url).info("stats")
    return int(info["total_commands_processed"])

"""Deliveries a second and what each costs, by single requests and by batches, beside the floor and a job for each."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from redis import Redis
from rq import Queue
from rq.serializers import JSONSerializer
from sqlalchemy import update

from bench import freshness, goals, job_each, sealing
from bench.freshness import OWED
from bench.load import percentile
from bench.sinks import Sinks, firms_at
from portal import queue
from portal.sync import services
from portal.sync.models import Stream

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from bench.ground import Ground
    from tests.sync.cast import Firm, World

FIRMS = 20
PEOPLE = {1: 150, 50: 500}
_JOBS = 150
_STAMPS = 200
_ROUNDS = 3
_LOOK_SECONDS, _PAUSE_SECONDS = 0.05, 0.005


class Cost(NamedTuple):
    """One drain: seconds from the first arrival to the last, and CPU microseconds for each delivery."""

    seconds: float
    worker: float
    postgres: float
    valkey: float
    owed: int

    @property
    def all(self) -> float:
        return self.worker + self.postgres + self.valkey


def measure(here: Ground, world: World) -> None:
    """Print rates and costs: one event a request, fifty a request, the floor, and a job for each delivery."""
    rates = [_one_shape(here, world, batch, people) for batch, people in PEOPLE.items()]
    goals.saw("T2", rates[-1] / _a_job_for_each(here))
    _a_job_that_does_nothing(here)


def _one_shape(here: Ground, world: World, batch: int, people: int) -> float:
    sinks = Sinks(here, FIRMS)
    firms = firms_at(world, sinks.places, batch=batch, per_second=1000)
    everyone = [world.person() for _ in range(people)]
    freshness.start_senders(here, 1)
    for person_id in everyone:
        for firm in firms:
            world.share(person_id, firm)
    sinks.arrivals.wait(people * FIRMS, 300)
    here.analyze()
    trial = _Trial(here, world, sinks, firms, everyone)
    alone = [trial.drain(1) for _ in range(_ROUNDS)]
    freshness.start_sender(here, 2)
    # The second one has to start first.
    trial.drain(2)
    both = [trial.drain(2) for _ in range(_ROUNDS)]
    size = int(median(arrival.size for arrival in sinks.arrivals.all[-people:]))
    floor = _floor(here, sinks, people // batch, size, batch)
    rate = _print(alone, both, floor, batch, sealing.cost(world, batch))
    freshness.stop_senders(here)
    sinks.stop(here)
    world.disable(firms)
    return rate


@dataclass
class _Trial:
    """Who edits, who receives, and what is measured: everything that piled up while nobody sent."""

    here: Ground
    world: World
    sinks: Sinks
    firms: Sequence[Firm]
    people: Sequence[UUID]
    edits: int = 0

    def drain(self, workers: int) -> Cost:
        """Let everything that is owed go at once by so many workers, and weigh it."""
        _set_state(self.world, self.firms, "paused")
        for person_id in self.people:
            self.edits += 1
            self.world.save(person_id, email__main=f"edit{self.edits}@example.org")
        owed, arrivals = self._owed(), self.sinks.arrivals
        before, used = arrivals.count(), _used(self.here)
        _set_state(self.world, self.firms, "enabled")
        # A bell rings once for all: the reconciler would wake the second worker within a second.
        for _ in range(workers):
            queue.ring(self.here.settings.redis_url, queue.PUSH, services.DRAIN)
        arrivals.wait(before + owed, 120)
        while self._owed():
            time.sleep(_LOOK_SECONDS)
        arrived = [arrival.at for arrival in arrivals.all[before:]]
        spent = ((late - early) / owed * 1e6 for early, late in zip(used, _used(self.here), strict=True))
        worker, postgres, valkey = spent
        return Cost(max(arrived) - min(arrived), worker, postgres, valkey, owed)

    def _owed(self) -> int:
        return int(self.world.transact(lambda session: session.scalar(OWED)))


def _used(here: Ground) -> tuple[float, float, float]:
    workers = sum(here.cpu(name) for name in here.processes if name.startswith("worker push"))
    return workers, here.cpu("postgres"), here.cpu("valkey")


def _set_state(world: World, firms: Sequence[Firm], state: str) -> None:
    ours = update(Stream).where(Stream.client_id.in_([firm.client_id for firm in firms])).values(state=state)
    world.transact(lambda session: session.execute(ours))


def _floor(here: Ground, sinks: Sinks, rounds: int, size: int, batch: int) -> dict[str, float]:
    """Send as many requests of the same size to the same places, and return what that took."""
    asked = {
        "urls": [f"https://{place}/events" for place in sinks.places],
        "rounds": rounds,
        "bytes": size,
        "type": "application/secevent+jwt",
        "in_flight": FIRMS * 4,
        "allow": sinks.places,
    }
    (found,) = floors(here, [asked])
    return found | {"requests": rounds * FIRMS, "batch": batch}


def floors(here: Ground, asked: Sequence[dict[str, Any]]) -> list[dict[str, float]]:
    """Run the floor once for each of `asked`, at the same time, and return what each says."""
    processes = []
    for number, each in enumerate(asked):
        file = Path(here.folder) / f"floor-{number}.json"
        file.write_text(json.dumps(each))
        processes.append(here.start(f"floor {number}", "-m", "bench.floor", str(file), pipe=True))
    found = [json.loads((process.stdout or sys.stdin).readline()) for process in processes]
    for number in range(len(processes)):
        here.stop(f"floor {number}")
    return found


def _print(alone: Sequence[Cost], both: Sequence[Cost], floor: dict[str, float], batch: int, sealed: float) -> float:
    """Print it, and return how many a second one worker sent."""
    cost, together = (sorted(costs, key=lambda each: each.all)[len(costs) // 2] for costs in (alone, both))
    bare = floor["cpu"] / (floor["requests"] * batch) * 1e6
    words = "one event a request" if batch == 1 else f"up to {batch} events a request"
    rates = [median(each.owed / each.seconds for each in costs) for costs in (alone, both)]
    print(
        f"\ndeliveries, {words}, {cost.owed} owed by {FIRMS} companies, median of {len(alone)} drains"
        f"\n  {1e6 / cost.all:6.0f}/s for each core   CPU us a delivery: {cost.all:5.0f} = worker {cost.worker:4.0f}"
        f" + PostgreSQL {cost.postgres:4.0f} + Valkey {cost.valkey:3.0f}"
        f"\n  of the worker's: sealing and signing {sealed:4.0f}, requests {bare:4.0f} (the floor), all else"
        f" {cost.worker - sealed - bare:4.0f}"
        f"\n  seen: one worker {rates[0]:6.0f}/s, two {rates[1]:6.0f}/s, gain {rates[1] / rates[0]:.2f}, at"
        f" {together.all:.0f} us each (PostgreSQL and the receivers share the {os.cpu_count()} cores)"
        f"\n  the floor (same requests, same TLS, no database, no encryption): {bare:5.0f} us of CPU a delivery,"
        f" ratio {cost.all / bare:4.1f}; {floor['failed']:.0f} failed"
    )
    goals.saw("T single" if batch == 1 else "T batched", 1e6 / cost.all)
    if batch > 1:
        goals.saw("T3", cost.all)
    return rates[0]


def _a_job_for_each(here: Ground) -> float:
    """Print and return the rate of RQ's own worker where each delivery is a job of its own, as in most programs."""
    sinks = Sinks(here, 1)
    with Redis.from_url(here.valkey.url) as connection:
        jobs = Queue("each", connection=connection, serializer=JSONSerializer)
        trust = str(Path(here.folder) / "authority.pem")
        for _ in range(_JOBS):
            jobs.enqueue("bench.job_each.send", f"https://{sinks.places[0]}/", trust, result_ttl=0)
        command = ("worker", "each", "--url", here.valkey.url, "--serializer", "rq.serializers.JSONSerializer")
        here.start("job each", "-m", "rq.cli", *command, "--quiet")
        sinks.arrivals.wait(_JOBS, 120)
        here.stop("job each")
    at = [arrival.at for arrival in sinks.arrivals.all]
    rate = (_JOBS - 1) / (max(at) - min(at))
    print(f"\nan RQ job for each delivery, RQ's own worker: {rate:6.0f}/s seen")
    sinks.stop(here)
    return rate


def _a_job_that_does_nothing(here: Ground) -> None:
    """Print how long RQ itself takes from ringing to the job's first line: under no push is less possible."""
    freshness.start_senders(here, 1)
    with Redis.from_url(here.valkey.url) as connection:
        rung: dict[str, float] = {}
        for number in range(_STAMPS):
            rung[str(number)] = time.monotonic()
            queue.queue(here.settings.redis_url, queue.PUSH).enqueue("bench.job_each.stamp", number, result_ttl=0)
            # One at a time: a queue would be measured else.
            while connection.llen(job_each.STAMPS) <= number:
                time.sleep(_PAUSE_SECONDS)
        stamps = [line.decode().split() for line in connection.lrange(job_each.STAMPS, 0, -1)]
    waits = [(float(at) - rung[number]) * 1000 for number, at in stamps]
    if steady := goals.value_of("F1 p50"):
        goals.saw("F3", steady / median(waits))
    print(f"  an RQ job that does nothing begins after, ms: p50 {median(waits):.1f}   p99 {percentile(waits, 99):.1f}")
    freshness.stop_senders(here)

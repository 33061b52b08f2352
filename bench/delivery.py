"""Deliveries a second and what each costs, by single requests and by batches, beside the floor and a job for each."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from redis import Redis
from rq import Queue
from rq.serializers import JSONSerializer
from sqlalchemy import text, update

from bench import freshness
from bench.load import percentile
from bench.sinks import Sinks, firms_at
from portal import queue
from portal.sync import services
from portal.sync.models import Stream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.ground import Ground
    from tests.sync.cast import Firm, World

FIRMS = 20
PEOPLE = {1: 150, 50: 500}
GOALS = {1: 1000, 50: 5000}
_JOBS = 150
_STAMPS = 200
_ROUNDS = 3
OWED = text("SELECT count(*) FROM delivery WHERE generation > acked_generation")


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
    for batch, people in PEOPLE.items():
        _one_shape(here, world, batch, people)
    _a_job_for_each(here)
    _a_job_that_does_nothing(here)


def _one_shape(here: Ground, world: World, batch: int, people: int) -> None:
    sinks = Sinks(here, FIRMS)
    firms = firms_at(world, sinks.places, batch=batch, per_second=1000)
    everyone = [world.person() for _ in range(people)]
    freshness.start_senders(here, 1)
    for person_id in everyone:
        for firm in firms:
            world.share(person_id, firm)
    sinks.arrivals.wait(people * FIRMS, 300)
    costs = []
    for number in range(_ROUNDS):
        _set_state(world, firms, "paused")
        for person_id in everyone:
            world.save(person_id, email__main=f"round{number}@example.org")
        costs.append(_drain(here, world, sinks, firms))
    size = int(median(arrival.size for arrival in sinks.arrivals.all[-people:]))
    floor = _floor(here, sinks, people // batch, size, batch)
    _print(costs, floor, batch)
    freshness.stop_senders(here)
    sinks.stop(here)
    world.disable(firms)


def _drain(here: Ground, world: World, sinks: Sinks, firms: Sequence[Firm]) -> Cost:
    """Let everything that is owed go at once, and weigh it."""
    owed = world.transact(lambda session: session.scalar(OWED))
    before, used = sinks.arrivals.count(), _used(here)
    _set_state(world, firms, "enabled")
    queue.ring_once(here.settings.redis_url, queue.PUSH, services.DRAIN)
    sinks.arrivals.wait(before + owed, 120)
    while world.transact(lambda session: session.scalar(OWED)):
        time.sleep(0.05)
    arrived = [arrival.at for arrival in sinks.arrivals.all[before:]]
    worker, postgres, valkey = ((late - early) / owed * 1e6 for early, late in zip(used, _used(here), strict=True))
    return Cost(max(arrived) - min(arrived), worker, postgres, valkey, owed)


def _used(here: Ground) -> tuple[float, float, float]:
    return here.cpu("worker push 1"), here.cpu("postgres"), here.cpu("valkey")


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


def _print(costs: Sequence[Cost], floor: dict[str, float], batch: int) -> None:
    cost = sorted(costs, key=lambda each: each.all)[len(costs) // 2]
    bare = floor["cpu"] / (floor["requests"] * batch) * 1e6
    words = "one event a request" if batch == 1 else f"up to {batch} events a request"
    print(
        f"\ndeliveries, {words}, {cost.owed} owed by {FIRMS} companies, one worker, median of {len(costs)} drains"
        f"\n  {1e6 / cost.all:6.0f}/s for each core (goal >= {GOALS[batch]})   {cost.owed / cost.seconds:6.0f}/s seen"
        f"   CPU us a delivery: {cost.all:5.0f} = worker {cost.worker:4.0f} + PostgreSQL {cost.postgres:4.0f}"
        f" + Valkey {cost.valkey:3.0f}"
        f"\n  the floor (same requests, same TLS, no database, no encryption): {bare:5.0f} us of CPU a delivery,"
        f" ratio {cost.all / bare:4.1f}; {floor['failed']:.0f} failed"
    )


def _a_job_for_each(here: Ground) -> None:
    """Print how fast RQ's own worker sends when each delivery is a job of its own (the way of most programs)."""
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
    print(f"\nan RQ job for each delivery, RQ's own worker: {(_JOBS - 1) / (max(at) - min(at)):6.0f}/s seen")
    sinks.stop(here)


def _a_job_that_does_nothing(here: Ground) -> None:
    """Print how long RQ itself takes from ringing to the job's first line: under no push is less possible."""
    freshness.start_senders(here, 1)
    with Redis.from_url(here.valkey.url) as connection:
        rung: dict[str, float] = {}
        for number in range(_STAMPS):
            rung[str(number)] = time.monotonic()
            queue.queue(here.settings.redis_url, queue.PUSH).enqueue("bench.job_each.stamp", number, result_ttl=0)
            time.sleep(0.03)
        time.sleep(0.5)
        stamps = [line.decode().split() for line in connection.lrange("bench:stamps", 0, -1)]
    waits = [(float(at) - rung[number]) * 1000 for number, at in stamps]
    print(f"  an RQ job that does nothing begins after, ms: p50 {median(waits):.1f}   p99 {percentile(waits, 99):.1f}")
    freshness.stop_senders(here)

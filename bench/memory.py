"""Memory over a long run: every long-lived process after a first lap, in the middle and at the end.

A lap is ten thousand deliveries one a request and ten thousand by up to fifty, ten thousand pulls, and a pull of
many people by a job.  What is resident counts a page once for each process that shares it, so beside it stands the
sum with such pages divided among those who share them: what the machine has really given.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sqlalchemy import text, update

from bench import goals, load, pulls
from bench.freshness import OWED, start_senders, stop_senders
from bench.sinks import Sinks, firms_at
from bench.turns import CONNECTIONS
from portal import db, queue
from portal.app import create_app
from portal.sync import batch_requests
from portal.sync.models import Stream
from tests.sync.caller import Caller

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import TextClause

    from bench.ground import Ground, Memory
    from tests.sync.cast import World

LAPS, PEOPLE, EDITS, PULLS = 10, 250, 2, 10_000
# Half of them take messages one by one, half up to fifty in a request.
FIRMS, BATCH = 40, 50
_IDLE = tuple(f"worker {name}" for name in (queue.CALLS, queue.WORK, queue.MAIL))
_NAMES = ("portal", "worker push 1", *_IDLE, "reconciler", "postgres", "valkey")
_UNFINISHED = text("SELECT count(*) FROM batch_pull WHERE state IN ('queued', 'running')")
_LONGEST_LAP_SECONDS = 600
_LOOK_SECONDS = 0.05


class Run:
    """All processes of the program, and who keeps them busy."""

    def __init__(self, here: Ground, world: World) -> None:
        self._here, self._world = here, world
        # What earlier parts left owed, to somebody who pauses or to nobody, would be waited for without end.
        world.transact(lambda session: session.execute(update(Stream).values(state="disabled")))
        self._sinks = Sinks(here, FIRMS)
        singles, batches = self._sinks.places[::2], self._sinks.places[1::2]
        self._firms = firms_at(world, singles, per_second=1000) + firms_at(world, batches, batch=BATCH, per_second=1000)
        start_senders(here, 1)
        for name in _IDLE:
            here.start(name, "-m", "portal", "worker", "--queue", name.removeprefix("worker "))
        pulls.serve(here)
        self._people = [world.person() for _ in range(PEOPLE)]
        # The first firm pulls as well.
        self._pulled = [world.share(person_id, self._firms[0]) for person_id in self._people]
        for person_id in self._people:
            for firm in self._firms[1:]:
                world.share(person_id, firm)
        self._http = create_app(here.settings).test_client()
        self.edits = self.pulls = 0

    @property
    def deliveries(self) -> int:
        return self._sinks.arrivals.count()

    def lap(self) -> dict[str, Memory]:
        """Edit everybody's record, pull, wait until nothing is left to do, and return what all processes weigh."""
        for _ in range(EDITS):
            for person_id in self._people:
                self.edits += 1
                self._world.save(person_id, email__main=f"lap{self.edits}@example.org")
            self._wait(OWED)
        self._pull()
        self._wait(_UNFINISHED)
        return {name: self._here.weigh(name) for name in _NAMES}

    def close(self) -> None:
        for name in ("portal", *_IDLE):
            self._here.stop(name)
        stop_senders(self._here)
        self._sinks.stop(self._here)
        self._world.disable(self._firms)

    def _wait(self, left: TextClause) -> None:
        while self._world.transact(lambda session: session.scalar(left)):
            time.sleep(_LOOK_SECONDS)

    def _pull(self) -> None:
        # A token lives ten minutes, so each lap has one of its own.
        firm = self._firms[0]
        asked = pulls.requests(Caller(self._http, self._world, firm), self._pulled, PULLS)
        done = load.run(self._here.port, asked, connections=CONNECTIONS, seconds=_LONGEST_LAP_SECONDS)
        self.pulls += len(done.milliseconds) - done.wrong
        everybody = [shared.sub for shared in self._pulled]
        self._world.transact(
            lambda session: batch_requests.request_pull(
                session, client_id=firm.client_id, subjects=everybody, attributes=(), now=db.now()
            )
        )


def measure(here: Ground, world: World) -> None:
    """Let everything run for a lap to get warm and `LAPS` that count, and print what it came to."""
    run = Run(here, world)
    try:
        seen = [run.lap()]
        warm = run.deliveries, run.pulls
        seen += [run.lap() for _ in range(LAPS)]
        _print(seen, run.deliveries - warm[0], run.pulls - warm[1])
    finally:
        run.close()


def _print(seen: Sequence[dict[str, Memory]], deliveries: int, pulled: int) -> None:
    print(f"\nmemory over {deliveries} deliveries and {pulled} pulls, after a lap to get warm: start, middle, end, MB")
    for name in _NAMES:
        sizes = [seen[place][name] for place in (0, len(seen) // 2, -1)]
        resident, divided = (_growth([each[part] for each in sizes]) for part in (0, 1))
        print(f"  {name:13}   resident {resident}   shared pages divided {divided}")
    first, last = seen[0], seen[-1]
    goals.saw("M1 web", last["portal"].divided)
    goals.saw("M1 worker", last["worker push 1"].resident)
    # PostgreSQL's connections map its cache as they come to touch it; and with how many a page is shared is also up to
    # what else the machine runs.
    grown = [last[name].resident / first[name].resident for name in _NAMES if name != "postgres"]
    goals.saw("M1 growth", (max(grown) - 1) * 100)


def _growth(sizes: Sequence[float]) -> str:
    return f"{' '.join(f'{size:5.1f}' for size in sizes)}  {(sizes[-1] / sizes[0] - 1) * 100:+5.1f} %"

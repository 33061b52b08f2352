"""`make bench`: what edits, pulls and tokens cost on this machine, beside the floor and a peer, in a few minutes.

`python bench/run.py freshness` (or `pulls`, `oauth`) prints that part alone.

Everything is real: PostgreSQL with fsync, Valkey, a worker, granian, HTTP on loopback.  The receivers and the
caller run on the same cores, so these are figures of a machine that does everything at once.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench import freshness, oauth, pulls
from bench.ground import Arrivals, Ground, ground
from portal import queue
from portal.vault import keyring
from tests.sync import cast


def main() -> None:
    # A stop from outside leaves nothing running and nothing on the disk either.
    signal.signal(signal.SIGTERM, _stop)
    started = time.monotonic()
    print(f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f} before the start")
    with ground() as here:
        world = cast.World(here.settings, keyring.load(here.settings.keyring_file))
        for part in sys.argv[1:] or PARTS:
            PARTS[part](here, world)
        for name in [*here.processes, "postgres", "valkey"]:
            _say_memory(here, name)
    print(f"\n{time.monotonic() - started:.0f} s, load average {os.getloadavg()[0]:.1f} at the end")


def _freshness(here: Ground, world: cast.World) -> None:
    sink = here.start("sink", "-m", "bench.sink", str(max(freshness.EDITS)), pipe=True)
    ports = json.loads((sink.stdout or sys.stdin).readline())
    firms = [freshness.firm_at(world, port) for port in ports]
    here.start("worker push", "-m", "portal", "worker", "--queue", queue.FAST)
    here.start("worker slow", "-m", "portal", "worker", "--queue", queue.SLOW)
    here.start("reconciler", "-m", "portal", "reconciler")
    freshness.measure(here, world, Arrivals(sink), firms)
    for name in ("worker push", "worker slow", "reconciler"):
        _say_memory(here, name)
        here.stop(name)


PARTS = {"freshness": _freshness, "pulls": pulls.measure, "oauth": oauth.measure}


def _say_memory(here: Ground, name: str) -> None:
    sizes = here.memory(name)
    print(f"  resident memory, MB: {name:12} {sum(sizes):5}   {' '.join(map(str, sizes))}")


def _stop(_number: int, _frame: object) -> NoReturn:
    raise SystemExit(1)


if __name__ == "__main__":
    main()

"""`make bench`: what edits, pulls and tokens cost on this machine, beside the floor, a peer and the goals.

`python bench/run.py freshness` (or another of `PARTS`) prints that part alone.

Everything is real: PostgreSQL with fsync, Valkey, a worker, granian, HTTP on loopback.  The receivers and the
caller run on the same cores, so these are figures of a machine that does everything at once.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench import crowd, delivery, freshness, goals, growth, ledger, memory, oauth, pulls
from bench.ground import ground
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
            here.say_memory(name)
    goals.report()
    print(f"\n{time.monotonic() - started:.0f} s, load average {os.getloadavg()[0]:.1f} at the end")


PARTS = {
    "freshness": freshness.measure,
    "delivery": delivery.measure,
    "crowd": crowd.measure,
    "growth": growth.measure,
    "ledger": ledger.measure,
    "pulls": pulls.measure,
    "oauth": oauth.measure,
    "memory": memory.measure,
}


def _stop(_number: int, _frame: object) -> NoReturn:
    raise SystemExit(1)


if __name__ == "__main__":
    main()

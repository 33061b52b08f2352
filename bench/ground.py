"""The ground a bench stands on: embedded servers in a folder that is thrown away, and the program's own processes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psycopg

from portal import config, events, migrating
from portal.embedded.lifeline import tied
from portal.embedded.postgres import APP, OWNER, Postgres
from portal.embedded.valkey import Valkey
from portal.sync import services
from portal.vault import keyring

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portal.config import Settings

ROOT = Path(__file__).parents[1]


class Ground:
    """Servers, settings, and every process started; all of it ends with `close`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.postgres, self.valkey = Postgres(folder), Valkey(folder)
        self.processes: dict[str, subprocess.Popen[str]] = {}
        self.postgres.start()
        self.valkey.start()
        self.port = free_port()
        keyring.create(folder / "keyring.json")
        os.environ |= {
            "DATABASE_URL": self.postgres.url(APP),
            "DATABASE_OWNER_URL": self.postgres.url(OWNER),
            "REDIS_URL": self.valkey.url,
            "KEYRING_FILE": str(folder / "keyring.json"),
            # One client asks about few people, as fast as it can.
            "LIMIT_API_REQUESTS": "1000000000",
            "LIMIT_GRANT_PULLS": "1000000000",
            "PORTAL_URL": f"http://localhost:{self.port}",
        }
        self.settings: Settings = config.current()
        migrating.migrate(self.settings)
        events.listen(events.RecordChanged, services.on_record_changed)
        events.listen(events.GrantChanged, services.on_grant_changed)

    def start(self, name: str, *command: str, pipe: bool = False) -> subprocess.Popen[str]:
        """Start a program of this repository with the settings of this ground."""
        return self.run(name, sys.executable, *command, pipe=pipe, env={"PYTHONPATH": str(ROOT)})

    def run(self, name: str, *command: str, pipe: bool = False, env: dict[str, str]) -> subprocess.Popen[str]:
        """Start any program, with `env` added to the settings of this ground."""
        self.processes[name] = subprocess.Popen(  # noqa: S603 - our own programs
            command,
            cwd=ROOT,
            env=os.environ | env,
            stdout=subprocess.PIPE if pipe else subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            process_group=0,
            preexec_fn=tied(),  # noqa: PLW1509 - one prctl call; see lifeline
        )
        return self.processes[name]

    def stop(self, name: str) -> None:
        process = self.processes.pop(name)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def close(self) -> None:
        for name in list(self.processes):
            self.stop(name)
        self.valkey.stop()
        self.postgres.stop()

    def analyze(self) -> None:
        """Do what autovacuum does within a minute: plans are made for tables with rows in them."""
        with psycopg.connect(self.postgres.url(OWNER), autocommit=True) as owner:
            owner.execute("ANALYZE")

    def memory(self, name: str) -> list[Memory]:
        """Return the memory of a process and its children, parents before children."""
        return [_memory(pid) for pid in _tree(self._pid(name), _children())]

    def weigh(self, name: str) -> Memory:
        """Return the memory of a process and its children in all."""
        return Memory(*map(sum, zip(*self.memory(name), strict=True)))

    def say_memory(self, name: str) -> None:
        sizes, weight = self.memory(name), self.weigh(name)
        print(
            f"  memory, MB: {name:13} resident {weight.resident:5.0f}   with shared pages divided {weight.divided:5.0f}"
            f"   resident of each: {' '.join(f'{each.resident:.0f}' for each in sizes)}"
        )

    def cpu(self, name: str) -> float:
        """Return the CPU seconds that a process and its children have used."""
        return sum(_used(pid) for pid in _tree(self._pid(name), _children()))

    def _pid(self, name: str) -> int:
        servers = {"postgres": self.postgres.pid, "valkey": self.valkey.pid}
        return servers[name] if name in servers else self.processes[name].pid


@contextmanager
def ground() -> Iterator[Ground]:
    with tempfile.TemporaryDirectory(prefix="ucm-bench-") as folder:
        path = Path(folder)
        path.chmod(0o755)
        made = Ground(path)
        try:
            yield made
        finally:
            made.close()


class Memory(NamedTuple):
    """MB of one process: resident, and with each page that it shares divided among those who share it."""

    resident: float
    divided: float


class Arrival(NamedTuple):
    """One message at a sink: where, when (CLOCK_MONOTONIC), about whom, and how long its request's body was."""

    place: str
    at: float
    sub: str
    size: int


class Arrivals:
    """What sinks say, in the order in which it was said."""

    def __init__(self, *sinks: subprocess.Popen[str]) -> None:
        self.all: list[Arrival] = []
        self._changed = threading.Condition()
        for sink in sinks:
            threading.Thread(target=self._listen, args=(sink,), daemon=True).start()

    def wait(self, total: int, seconds: float) -> None:
        """Return once `total` messages have arrived in all; raise `TimeoutError`."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.all) >= total, seconds):
                raise TimeoutError

    def count(self) -> int:
        return len(self.all)

    def _listen(self, sink: subprocess.Popen[str]) -> None:
        for line in sink.stdout or ():
            place, at, size, subs = line.split()
            with self._changed:
                self.all += [Arrival(place, float(at), sub, int(size)) for sub in subs.split(",")]
                self._changed.notify_all()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def wait_for_port(port: int, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def _used(pid: int) -> float:
    try:
        # Its own, and that of children that have ended: a database's connections come and go.
        ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]
    except OSError:
        return 0.0
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def _children() -> dict[int, list[int]]:
    found: dict[int, list[int]] = defaultdict(list)
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(status.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        found[parent].append(int(status.parent.name))
    return found


def _tree(root: int, children: dict[int, list[int]]) -> Iterator[int]:
    yield root
    for child in children.get(root, ()):
        yield from _tree(child, children)


def _memory(pid: int) -> Memory:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return Memory(0, 0)
    sizes = {name: int(kilobytes.split()[0]) / 1000 for name, _, kilobytes in (line.partition(":") for line in lines)}
    return Memory(sizes["Rss"], sizes["Pss"])

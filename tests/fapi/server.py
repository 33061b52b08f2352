"""The portal as it runs in production: granian, two processes, on the suite's own PostgreSQL and Valkey."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.fapi.wire import Wire

if TYPE_CHECKING:
    from typing import Self

ROOT = Path(__file__).parents[2]
WORKERS = 2
_READY_SECONDS = 60
_STOP_SECONDS = 20


class Server:
    """A running portal at `http://localhost:<port>`; `log` is what it printed."""

    def __init__(self, folder: Path, **environment: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        self.url = f"http://localhost:{self.port}"
        self.log = folder / "log"
        command = [sys.executable, "-m", "portal", "serve", "--port", str(self.port), "--workers", str(WORKERS)]
        # The suite lifts the limits for its other tests; here they are what an operator gets.
        kept = {name: value for name, value in os.environ.items() if not name.startswith("LIMIT_")}
        given = kept | {"PYTHONPATH": str(ROOT), "PORTAL_URL": self.url} | environment
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "--data", str(folder)], cwd=ROOT, env=given, stdout=log, stderr=subprocess.STDOUT
            )

    def __enter__(self) -> Self:
        self._wait()
        return self

    def __exit__(self, *_error: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def wire(self, cookies: dict[str, str] | None = None) -> Wire:
        return Wire(self.port, cookies)

    def troubles(self) -> list[str]:
        """Return the lines of the log that tell of an exception nobody expected."""
        return [line for line in self.log.read_text(errors="replace").splitlines() if "Traceback" in line]

    def _wait(self) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                if self.wire().get("/oauth/jwks").status_code == 200:
                    return
            except OSError:
                # Nobody listens there yet.
                time.sleep(0.1)
        self.__exit__()
        raise AssertionError(f"The portal did not start:\n{self.log.read_text(errors='replace')[-1500:]}")

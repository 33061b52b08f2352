"""A small supervisor: starts the demo's processes, starts them again when they die, and stops every one of them.

Each process leads a group of its own: Ctrl-C in the terminal reaches only the supervisor, which stops the others in
order.  Should the supervisor itself be killed, Linux tells its children to end.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, Self

import click

from portal.config import PACKAGE
from portal.embedded.lifeline import tied

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_STOP_SECONDS = 8.0
_PAUSE_SECONDS = 1.0
_WATCH_SECONDS = 0.3


class Server(Protocol):
    """An embedded server, as the supervisor sees it."""

    @property
    def alive(self) -> bool: ...

    def start(self) -> None: ...

    def stop(self) -> None: ...


@dataclass
class Child:
    """One process; `command` starts it, `log` takes what it prints."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(repr=False)
    log: Path
    process: subprocess.Popen[bytes] | None = None
    ended_at: float = 0.0

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 - our own program and arguments
                list(self.command),
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
                preexec_fn=tied(),  # noqa: PLW1509 - one prctl call, so that no child outlives a killed supervisor
            )

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def end(self, number: int) -> None:
        """Send `number` to the whole group, if anyone of it is left."""
        if self.process is not None:
            try:
                os.killpg(self.process.pid, number)
            except ProcessLookupError:
                return


class Supervisor:
    """Keeps processes and servers; leaving it stops all of them, the last started first."""

    def __init__(self) -> None:
        self._children: list[Child] = []
        self._servers: list[tuple[str, Server]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # A second Ctrl-C must not leave half of them running.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        self._stop_children()
        for _name, server in reversed(self._servers):
            server.stop()

    @property
    def pids(self) -> dict[str, int]:
        """The process of each child by name, for whoever wants to kill one and look on."""
        return {child.name: child.process.pid for child in self._children if child.process}

    def serve(self, name: str, server: Server) -> None:
        """Start an embedded server and keep it running."""
        self._servers.append((name, server))
        server.start()

    def run(self, child: Child) -> None:
        """Start a process and keep it running."""
        self._children.append(child)
        child.start()

    def watch(self) -> None:
        """Start again whatever died, for ever."""
        while True:
            self.check()
            time.sleep(_WATCH_SECONDS)

    def check(self) -> bool:
        """Start again whatever died, a second after it did; return whether a process had died."""
        for name, server in self._servers:
            if not server.alive:
                click.echo(f"{name} ended; starting it again.", err=True)
                server.start()
        died = [_revive(child) for child in self._children]
        return any(died)

    def _stop_children(self) -> None:
        for child in reversed(self._children):
            child.end(signal.SIGTERM)
        deadline = time.monotonic() + _STOP_SECONDS
        for child in self._children:
            if child.process is not None:
                _wait(child.process, deadline)
                # Whatever of its group is left did not stop in time, or lost its leader.
                child.end(signal.SIGKILL)
                child.process.wait()


def _revive(child: Child) -> bool:
    if child.alive:
        return False
    if not child.ended_at:
        child.ended_at = time.monotonic()
        status = child.process.returncode if child.process else None
        click.echo(f"{child.name} ended with {status}; starting it again. Its log: {child.log}", err=True)
    if time.monotonic() - child.ended_at >= _PAUSE_SECONDS:
        child.end(signal.SIGKILL)
        child.start()
        child.ended_at = 0.0
    return True


def _wait(process: subprocess.Popen[bytes], deadline: float) -> None:
    try:
        process.wait(max(0.1, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.kill()


def portal_command(*arguments: str) -> list[str]:
    """Return the command line that runs `portal` with this interpreter."""
    return [sys.executable, "-m", "portal", *arguments]


def portal_environment() -> dict[str, str]:
    """Return this process's environment, with the package importable from any working directory."""
    path = os.pathsep.join(filter(None, (str(PACKAGE.parent), os.environ.get("PYTHONPATH", ""))))
    return {**os.environ, "PYTHONPATH": path}


def stranger_environment() -> dict[str, str]:
    """Return an environment without any of the portal's settings: for the company's program."""
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "VIRTUAL_ENV")
    return {name: os.environ[name] for name in kept if name in os.environ}

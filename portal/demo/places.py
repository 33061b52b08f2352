"""Where the demo keeps what it keeps, and which ports it answers on."""

from __future__ import annotations

import fcntl
import json
import os
import random
import shutil
import socket
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from portal.config import PACKAGE
from portal.embedded.postgres import Postgres
from portal.errors import MisconfiguredError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

LOOPBACK = "127.0.0.1"
_OWN_PORTS = range(20_000, 30_000)
_TRIES = 20
_LOG_BYTES = 5_000_000
_MARK = "ucm-demo"


class DemoRunningError(MisconfiguredError):
    code = "demo-running"
    public = "The demo is already running on this data folder: stop it first, or name another by --data."


class NotDemoDataError(MisconfiguredError):
    code = "not-demo-data"
    public = "This folder does not hold the demo's data, so it is left alone."


@dataclass(frozen=True)
class Places:
    """The files of one demo, all below `data`."""

    data: Path

    @property
    def keyring(self) -> Path:
        return self.data / "keyring.json"

    @property
    def log_key(self) -> Path:
        return self.data / "log.key"

    @property
    def settings(self) -> Path:
        """The settings of the running demo, NAME=value a line, for `portal` commands beside it."""
        return self.data / "settings.env"

    @property
    def company(self) -> Path:
        return self.data / "company"

    @property
    def second(self) -> Path:
        """What the second demo company keeps."""
        return self.data / "second-company"

    def client(self, slug: str) -> Path:
        """Return the folder with the keys of another company's client."""
        return self.data / "clients" / slug

    def log(self, name: str) -> Path:
        """Return the log file of a process; one that has grown long starts anew."""
        folder = self.data / "logs"
        folder.mkdir(exist_ok=True, mode=0o700)
        path = folder / f"{name}.log"
        if path.exists() and path.stat().st_size > _LOG_BYTES:
            path.unlink()
        return path

    def prepare(self) -> None:
        """Make the folder; others may pass through it, for the database's own account, but not look around."""
        if not self.data.exists():
            self.data.mkdir(parents=True, mode=0o711)
        (self.data / _MARK).touch(mode=0o600)

    def write_secret(self, path: Path, text: str) -> None:
        """Write `text` where only the owner can read it, all or nothing."""
        part = path.with_name(path.name + ".part")
        part.unlink(missing_ok=True)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        part.replace(path)

    def write_json(self, path: Path, content: Mapping[str, Any]) -> None:
        self.write_secret(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the folder for this process; raise `DemoRunningError` when another one does."""
        self.prepare()
        with (self.data / _MARK).open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise DemoRunningError from error
            yield

    def empty(self) -> None:
        """Delete everything; raise rather than delete a folder that is not the demo's or is in use."""
        if not self.data.exists():
            return
        if not (self.data / _MARK).exists():
            raise NotDemoDataError
        with self.alone():
            shutil.rmtree(Postgres(self.data).home, ignore_errors=True)
            shutil.rmtree(self.data)


def demo_company() -> Path:
    """Return the folder of the demo company's program; it is part of a checkout, not of the package."""
    folder = PACKAGE.parent / "examples" / "demo_company"
    if not folder.is_dir():
        raise MisconfiguredError("The demo needs a checkout with the folder examples/demo_company.")
    return folder


def free_port(wanted: int, *, purpose: str) -> int:
    """Return `wanted` if nobody listens there, any free one for 0; raise `MisconfiguredError` otherwise."""
    if wanted:
        return _taken_by_nobody(wanted, purpose)
    # Not one of those that the system gives to calls going out: it has to be free again at the next start.
    for port in random.sample(_OWN_PORTS, _TRIES):
        with suppress(MisconfiguredError):
            return _taken_by_nobody(port, purpose)
    return _taken_by_nobody(0, purpose)


def _taken_by_nobody(wanted: int, purpose: str) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, wanted))
        except OSError as error:
            raise MisconfiguredError(f"Port {wanted} for {purpose} is in use: choose another.") from error
        port: int = probe.getsockname()[1]
        return port


def port_or_any(wanted: int, *, purpose: str) -> int:
    """Return `wanted` if it is free, else any free port."""
    try:
        return free_port(wanted, purpose=purpose)
    except MisconfiguredError:
        return free_port(0, purpose=purpose)

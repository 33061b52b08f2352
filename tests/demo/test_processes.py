from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from portal.demo.processes import Child, Supervisor, portal_environment, stranger_environment
from tests.timing import until

if TYPE_CHECKING:
    from collections.abc import Iterator

# Starts a child of its own and then waits, deaf to SIGTERM when told so.
_PROGRAM = """
import signal, subprocess, sys, time
if sys.argv[1] == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
own = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(own.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    # Leaving the supervisor makes its process deaf to signals, since it is about to end: the tests go on.
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


def _child(tmp_path: Path, *, manner: str = "polite") -> Child:
    return Child("program", [sys.executable, "-c", _PROGRAM, manner], stranger_environment(), tmp_path / "log")


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("manner", ["polite", "deaf"])
def test_leaving_stops_the_whole_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, manner: str) -> None:
    monkeypatch.setattr("portal.demo.processes._STOP_SECONDS", 1.0)
    child = _child(tmp_path, manner=manner)
    with Supervisor() as supervisor:
        supervisor.run(child)
        until(lambda: child.log.read_text().strip() != "")
        pids = [supervisor.pids["program"], int(child.log.read_text())]
        assert all(_alive(pid) for pid in pids)
    until(lambda: not any(_alive(pid) for pid in pids))


def test_what_dies_is_started_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    child = _child(tmp_path)
    with Supervisor() as supervisor:
        supervisor.run(child)
        first = supervisor.pids["program"]
        os.kill(first, signal.SIGKILL)
        until(lambda: not supervisor.check() and supervisor.pids["program"] != first)
        assert child.alive
    assert "program ended with -9; starting it again" in capsys.readouterr().err


class _Brittle:
    def __init__(self) -> None:
        self.alive = False
        self.starts = 0

    def start(self) -> None:
        self.alive, self.starts = True, self.starts + 1

    def stop(self) -> None:
        self.alive = False


def test_a_server_that_ends_is_started_again() -> None:
    server = _Brittle()
    with Supervisor() as supervisor:
        supervisor.serve("The server", server)
        server.alive = False
        supervisor.check()
        assert server.starts == 2
    assert not server.alive


def test_the_company_gets_none_of_the_portals_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://secret")
    assert "DATABASE_URL" in portal_environment()
    assert "DATABASE_URL" not in stranger_environment()
    assert "KEYRING_FILE" not in stranger_environment()

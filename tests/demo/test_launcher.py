"""The whole demo as a newcomer starts it: up, down, up again, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import psutil
import pytest

from portal.demo.steps import answers
from tests.timing import until

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
_FOREIGN = ("DATABASE_", "REDIS_", "KEYRING_", "PORTAL_", "SMTP_", "MAIL_", "EGRESS_")
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")


@dataclass
class Run:
    """One run of the demo; `seconds` until everything answered, less what other programs took of the machine."""

    process: subprocess.Popen[str]
    report: dict[str, Any]
    seconds: float

    def stop(self, number: int = signal.SIGINT) -> str:
        self.process.send_signal(number)
        output, _ = self.process.communicate(timeout=40)
        return output


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "portal", *arguments]


def _start(folder: Path) -> Run:
    ready = folder / "ready.json"
    began, busy = time.monotonic(), _busy_seconds()
    process = subprocess.Popen(
        _command(
            "demo", "--port", "0", "--company-port", "0", "--data", str(folder / "data"), "--ready-file", str(ready)
        ),
        cwd=ROOT,
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    while not ready.exists():
        if process.poll() is not None or time.monotonic() - began > 120:
            process.kill()
            pytest.fail(f"not ready: {process.communicate()[0]}")
        time.sleep(0.02)
    elapsed = time.monotonic() - began
    others = max(0.0, _busy_seconds() - busy - _own_seconds(process.pid))
    left_over = max(0.1, 1 - others / (elapsed * (os.cpu_count() or 1)))
    return Run(process, json.loads(ready.read_text()), elapsed * left_over)


def _busy_seconds() -> float:
    """Return how long all processors together have worked since the machine started."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - times.iowait - times.guest - times.guest_nice)


def _own_seconds(pid: int) -> float:
    """Return how long a process, its children, and theirs have worked."""
    root = psutil.Process(pid)
    spent = 0.0
    for process in (root, *root.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            # Of children still there nothing is in their parent's sum yet.
            spent += times.user + times.system + times.children_user + times.children_system
    return spent


def _left_over(folder: Path) -> list[str]:
    """Return the command lines of processes that know `folder` by their arguments or settings."""
    found = []
    for place in Path("/proc").iterdir():
        if place.name.isdigit() and int(place.name) != os.getpid():
            try:
                known = (place / "cmdline").read_bytes() + (place / "environ").read_bytes()
            except OSError:
                continue
            if str(folder / "data").encode() in known:
                found.append(f"{place.name} {(place / 'cmdline').read_bytes()!r}")
    return found


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ucm-", ignore_cleanup_errors=True) as name:
        # The database's own account passes through it on the way to its data.
        Path(name).chmod(0o711)
        yield Path(name)


@pytest.fixture(scope="module")
def first(folder: Path) -> Iterator[tuple[Run, str]]:
    run = _start(folder)
    try:
        _look_around(run, folder)
    finally:
        output = run.stop()
    yield run, output
    subprocess.run(_command("reset", "--data", str(folder / "data")), cwd=ROOT, check=True, capture_output=True)


def _look_around(run: Run, folder: Path) -> None:
    for name in ("portal", "company", "mailbox"):
        assert answers(run.report[name] + "/")
    for name in ("Brightwell Energy", "Northside Gym"):
        assert _is_shown(name, run.report)
    with urlopen(run.report["portal"] + "/.well-known/oauth-authorization-server") as answer:  # noqa: S310 - loopback
        assert json.load(answer)["issuer"] == run.report["portal"]
    doctor = subprocess.run(
        _command("doctor", "--data", str(folder / "data")), cwd=ROOT, env=_environment(),
        capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert doctor.returncode == 0, doctor.stdout + doctor.stderr


def _is_shown(name: str, report: dict[str, Any]) -> bool:
    [address] = [report[role]["address"] for role in ("demo_company", "second_company") if report[role]["name"] == name]
    with urlopen(address) as answer:  # noqa: S310 - loopback
        body: bytes = answer.read()
    return f"{name}</title>".encode() in body


def test_it_says_each_step_and_who_to_sign_in_as(first: tuple[Run, str]) -> None:
    run, output = first
    for step in ("PostgreSQL", "Valkey", "database at the newest version", "people, companies", "demo companies"):
        assert step in output
    assert all(person["email"] in output and person["password"] in output for person in run.report["people"])
    assert "Traceback" not in output
    assert run.process.returncode == 0


def test_the_ready_file_says_what_an_outsider_needs(first: tuple[Run, str]) -> None:
    report = first[0].report
    client = report["test_client"]
    assert client["client_id"].startswith("test_")
    for name in ("private_key_file", "encryption_key_file", "dpop_key_file"):
        assert Path(client[name]).stat().st_mode & 0o077 == 0
    assert len(client["subjects"]) >= 5
    assert all(len(person["password"]) >= 15 for person in report["people"])


def test_ctrl_c_leaves_nothing_running(first: tuple[Run, str], folder: Path) -> None:
    assert first
    assert _left_over(folder) == []
    assert not (folder / "ready.json").exists()


def test_both_companies_have_proved_where_they_are_told(first: tuple[Run, str], folder: Path) -> None:
    report = first[0].report
    assert report["demo_company"]["address"] == report["company"]
    assert len({report[role]["client_id"] for role in ("demo_company", "second_company")}) == 2
    for name in ("company", "second-company"):
        assert len(list((folder / "data" / name).glob("*.private.json"))) == 3
    log = (folder / "data" / "logs" / "company-northside-gym.log").read_text()
    assert "Traceback" not in log


@pytest.fixture(scope="module")
def second(first: tuple[Run, str], folder: Path) -> Run:
    """A second run, killed as soon as it answered; nothing may be left of it by itself."""
    assert first
    run = _start(folder)
    run.process.kill()
    run.process.communicate()
    return run


def test_a_second_run_is_quick_and_keeps_its_data(first: tuple[Run, str], second: Run) -> None:
    kept = ("test_client", "demo_company", "second_company", "people", "company")
    assert {name: second.report[name] for name in kept} == {name: first[0].report[name] for name in kept}
    assert second.seconds < 10


def test_a_killed_demo_takes_its_children_along_and_starts_again(second: Run, folder: Path) -> None:
    assert second
    until(lambda: not _left_over(folder), what="something is left running")
    _start(folder).stop(signal.SIGTERM)
    assert _left_over(folder) == []

"""The whole demo as a newcomer starts it: up, down, up again, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import pytest

from portal.demo.steps import answers

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
_FOREIGN = ("DATABASE_", "REDIS_", "KEYRING_", "PORTAL_", "SMTP_", "MAIL_", "EGRESS_")
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")


@dataclass
class Run:
    """One run of the demo; `seconds` until everything answered."""

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
    began = time.monotonic()
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
        time.sleep(0.05)
    return Run(process, json.loads(ready.read_text()), time.monotonic() - began)


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
    with urlopen(run.report["portal"] + "/.well-known/oauth-authorization-server") as answer:  # noqa: S310 - loopback
        assert json.load(answer)["issuer"] == run.report["portal"]
    doctor = subprocess.run(
        _command("doctor", "--data", str(folder / "data")), cwd=ROOT, env=_environment(),
        capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert doctor.returncode == 0, doctor.stdout + doctor.stderr


def test_it_says_each_step_and_who_to_sign_in_as(first: tuple[Run, str]) -> None:
    run, output = first
    for step in ("PostgreSQL", "Valkey", "database at the newest version", "people, companies", "demo company"):
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


def test_a_second_run_is_quick_and_keeps_its_data(first: tuple[Run, str], folder: Path) -> None:
    again = _start(folder)
    again.stop(signal.SIGTERM)
    assert _left_over(folder) == []
    kept = ("test_client", "demo_company", "people", "company")
    assert {name: again.report.get(name) for name in kept} == {name: first[0].report.get(name) for name in kept}
    # Ten seconds of a machine that does nothing else: a busy one gets as much longer as others wait for it.
    assert again.seconds < 10 * max(1, os.getloadavg()[0] / (os.cpu_count() or 1))


def test_a_killed_demo_takes_its_children_along_and_starts_again(first: tuple[Run, str], folder: Path) -> None:
    assert first
    run = _start(folder)
    run.process.kill()
    run.process.communicate()
    deadline = time.monotonic() + 15
    while _left_over(folder):
        assert time.monotonic() < deadline, _left_over(folder)
        time.sleep(0.1)
    _start(folder).stop()

"""The whole program as a person would start it: `portal demo`, and what is left of it when it is stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[2]
_READY_SECONDS = 120
_STOP_SECONDS = 40
# What the suite's own servers leave in the environment must not reach the program under test.
_OURS = ("DATABASE_", "REDIS_", "KEYRING_", "PORTAL_", "SMTP_", "MAIL_", "EGRESS_")


@dataclass
class Demo:
    """A running demo; `report` is what its ready file says, `output` what it printed."""

    data: Path
    output: Path
    process: subprocess.Popen[bytes] = field(repr=False)
    report: dict[str, Any] = field(repr=False)

    @property
    def portal(self) -> str:
        return str(self.report["portal"])

    @property
    def company(self) -> str:
        return str(self.report["company"])

    @property
    def mailbox(self) -> str:
        return str(self.report["mailbox"])

    def settings(self) -> dict[str, str]:
        """The running demo's settings, as other `portal` commands find them."""
        lines = Path(self.report["settings_file"]).read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)

    def customers_files(self) -> tuple[Path, Path]:
        """What the two demo companies keep: their own data, in clear, as any company's."""
        return self.data / "company", self.data / "second-company"


def start(folder: Path, *, allow: str) -> Demo:
    """Start it on free ports and wait until everything answers; `allow` is added to EGRESS_ALLOW."""
    data, ready, output = folder / "data", folder / "ready.json", folder / "output.txt"
    command = [sys.executable, "-m", "portal", "demo", "--port", "0", "--company-port", "0"]
    command += ["--data", str(data), "--ready-file", str(ready)]
    with output.open("wb") as file:
        process = subprocess.Popen(
            command, cwd=ROOT, env=_environment(allow), stdout=file, stderr=file, process_group=0
        )
    return Demo(data, output, process, _wait(process, ready, output))


def stop(demo: Demo) -> list[str]:
    """Send Ctrl-C; return the command lines of whatever is still running of it afterwards."""
    family = psutil.Process(demo.process.pid).children(recursive=True)
    demo.process.send_signal(signal.SIGINT)
    try:
        demo.process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        demo.process.kill()
        demo.process.wait()
        return ["portal demo did not stop", *_left(demo, family)]
    return _left(demo, family)


def _environment(allow: str) -> Mapping[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    # Every journey comes from the same address.
    patient = {"LIMIT_PEOPLE_TRIES": "1000", "LIMIT_MACHINE_FAILURES": "1000"}
    return {**kept, **patient, "PYTHONPATH": str(ROOT), "EGRESS_ALLOW": allow, "PYTHONUNBUFFERED": "1"}


def _wait(process: subprocess.Popen[bytes], ready: Path, output: Path) -> dict[str, Any]:
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if ready.exists():
            report: dict[str, Any] = json.loads(ready.read_text())
            return report
        # It takes some seconds.
        time.sleep(0.1)
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        process.wait(_STOP_SECONDS)
    raise AssertionError(f"The demo did not get ready:\n{output.read_text()[-4000:]}\n{_logs(ready.parent)}")


def _logs(folder: Path) -> str:
    ends = (f"--- {log.name}\n{log.read_text(errors='replace')[-1500:]}" for log in folder.rglob("logs/*.log"))
    return "\n".join(ends)


def _left(demo: Demo, family: list[psutil.Process]) -> list[str]:
    _gone, alive = psutil.wait_procs(family, timeout=5)
    named = [process for process in psutil.process_iter(["cmdline"]) if _names(process, str(demo.data))]
    return [str(process.info.get("cmdline")) for process in named] + [str(process) for process in alive]


def _names(process: psutil.Process, text: str) -> bool:
    return any(text in part for part in process.info.get("cmdline") or ())

"""A minute of chaos for each of three seeds, on servers of its own; `make chaos MINUTES=60` goes on for longer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_PROGRAM = Path(__file__).with_name("run.py")


@pytest.mark.kills
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_nothing_is_lost_late_or_unlogged(seed: int) -> None:
    done = subprocess.run(
        [sys.executable, str(_PROGRAM), "--seed", str(seed), "--minutes", "1"],
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]

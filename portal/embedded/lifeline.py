"""A child that does not outlive its parent, even one that was killed."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_PR_SET_PDEATHSIG = 1


def tied(number: int = signal.SIGTERM) -> Callable[[], None] | None:
    """Return what `subprocess` calls in the child so that it gets `number` when its parent's thread ends.

    Linux only (prctl(2)); elsewhere None, and the parent's own clean-up has to do.  The parent must start the
    child from a thread that lives as long as itself.
    """
    if not sys.platform.startswith("linux"):
        return None
    # Loaded before the fork: after it only prctl itself is called.
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def tie() -> None:
        prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
        if os.getppid() != parent:
            os.kill(os.getpid(), number)

    return tie

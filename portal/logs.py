"""Log lines to standard error: when, how bad, where, what; never a person's value.

An exception's own words may quote what someone typed (a driver's `DETAIL`, a parser's excerpt), so a traceback is
told by classes, files and line numbers alone.
"""

from __future__ import annotations

import logging
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from portal.errors import PortalError

if TYPE_CHECKING:
    from types import TracebackType

_FRAMES = 12
_QUIET = ("mail.log", "rq.worker", "alembic")


class WordlessFormatter(logging.Formatter):
    """Formats a record as one line, with the time in UTC; an exception follows without its message."""

    def __init__(self) -> None:
        super().__init__("%(asctime)sZ %(levelname)s %(name)s %(message)s", "%Y-%m-%dT%H:%M:%S")
        self.converter = time.gmtime

    def formatException(self, ei: object) -> str:  # noqa: N802 - the library's name
        if not isinstance(ei, tuple) or ei[1] is None:
            return ""
        return wordless(ei[1])


def wordless(error: BaseException | None) -> str:
    """Return `error` and what caused it, each as class and places, without any of their words.

    Of our own refusals the private detail is kept: it is written to be read here.
    """
    lines: list[str] = []
    while error is not None:
        detail = f" ({error.code}: {error.private})" if isinstance(error, PortalError) else ""
        lines.append(f"  {type(error).__name__}{detail} at {_places(error.__traceback__)}")
        error = error.__cause__ or error.__context__
    return "\n".join(lines)


def configure(level: int = logging.INFO) -> None:
    """Send every log line of this process to standard error in the one form."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(WordlessFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def _places(trace: TracebackType | None) -> str:
    frames = traceback.extract_tb(trace)[-_FRAMES:]
    return " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames))

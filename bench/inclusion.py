"""How long it takes from the commit of a disclosure until it is in a log that is signed, with the sequencer running."""

from __future__ import annotations

import sys
import threading
import time
from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import text

from bench.ground import ROOT
from bench.load import percentile
from portal import db
from portal.ledger import services
from portal.ledger.services import NewDisclosure

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path
    from uuid import UUID

    from bench.ground import Ground

# Rows a second, in transactions as a claim of the courier makes them, and for how long.
RATE, TOGETHER, SECONDS = 500, 10, 20.0
_LOOK_SECONDS, _LONGEST_SECONDS = 0.02, 60.0
_SIGNED = text("SELECT CAST(split_part(note, E'\\n', 2) AS bigint) FROM log")
_LEAVES = text("SELECT disclosure_id, leaf FROM log_entry WHERE leaf >= :first")


class Delays(NamedTuple):
    """Seconds from commit to signature: the middle, the 99th of a hundred, the longest; and of how many rows."""

    middle: float
    late: float
    longest: float
    rows: int


def measure(here: Ground, url: str, context_id: UUID, key: Path) -> Delays:
    """Disclose steadily in the database at `url` while a sequencer signs its log with `key`."""
    own = {"PYTHONPATH": str(ROOT), "DATABASE_URL": url, "LOG_KEY_FILE": str(key)}
    here.run("sequencer", sys.executable, "-m", "portal", "sequencer", env=own)
    _wait_for_growth(url)
    signed, over = [(time.monotonic(), _signed(url))], threading.Event()
    watching = threading.Thread(target=_watch, args=(url, signed, over))
    watching.start()
    try:
        committed = _disclose(url, context_id)
        _wait(signed, signed[0][1] + len(committed))
    finally:
        over.set()
        watching.join()
        here.stop("sequencer")
    return _delays(url, committed, signed)


def _wait_for_growth(url: str) -> None:
    """Return once the sequencer works: it says so by growing the log by nothing."""
    began, deadline = _grown_at(url), time.monotonic() + _LONGEST_SECONDS
    while _grown_at(url) == began:
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(_LOOK_SECONDS)


def _grown_at(url: str) -> datetime:
    with db.transaction(url) as session:
        found: datetime = session.execute(text("SELECT grown_at FROM log")).scalar_one()
    return found


def _disclose(url: str, context_id: UUID) -> dict[UUID, float]:
    """Log rows at a steady rate; return when each was committed (CLOCK_MONOTONIC)."""
    committed: dict[UUID, float] = {}
    began = time.monotonic()
    while (left := began + len(committed) / RATE - time.monotonic()) < began + SECONDS - time.monotonic():
        time.sleep(max(0.0, left))
        rows = [_row(context_id) for _ in range(TOGETHER)]
        with db.transaction(url) as session:
            services.record(session, *rows)
        now = time.monotonic()
        committed.update((row.disclosure_id, now) for row in rows)
    return committed


def _row(context_id: UUID) -> NewDisclosure:
    return NewDisclosure(
        person_id=db.new_id(), at=db.now(), context_id=context_id, channel="push", outcome="completed",
        asked=["email.main"], given={"email.main": 1},
    )  # fmt: skip


def _signed(url: str) -> int:
    with db.transaction(url) as session:
        found: int = session.execute(_SIGNED).scalar_one()
    return found


def _watch(url: str, signed: list[tuple[float, int]], over: threading.Event) -> None:
    while not over.wait(_LOOK_SECONDS):
        size = _signed(url)
        if size > signed[-1][1]:
            signed.append((time.monotonic(), size))


def _wait(signed: list[tuple[float, int]], size: int) -> None:
    deadline = time.monotonic() + _LONGEST_SECONDS
    while signed[-1][1] < size:
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(_LOOK_SECONDS)


def _delays(url: str, committed: dict[UUID, float], signed: list[tuple[float, int]]) -> Delays:
    with db.transaction(url) as session:
        leaves = session.execute(_LEAVES, {"first": signed[0][1]}).all()
    sizes = [size for _at, size in signed]
    found = [signed[bisect_right(sizes, row.leaf)][0] - committed[row.disclosure_id] for row in leaves]
    return Delays(percentile(found, 50), percentile(found, 99), max(found), len(found))

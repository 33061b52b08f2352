"""Waiting for what happens elsewhere, and limits of time that hold on a busy machine."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import text

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.orm import Session

_Made = TypeVar("_Made")
_TRIES = 5
_LOOK_SECONDS = 0.01
_WAITING = text("SELECT count(*) FROM pg_locks WHERE NOT granted")


def within(seconds: float, act: Callable[[], _Made]) -> _Made:
    """Do it until it took less than `seconds` once, and return what it made then: others only ever add to that."""
    spent = []
    for _ in range(_TRIES):
        began = time.monotonic()
        made = act()
        spent.append(time.monotonic() - began)
        if spent[-1] < seconds:
            return made
    raise AssertionError(f"never under {seconds} s: {spent}")


def until(true: Callable[[], object], seconds: float = 30, *, what: str = "it did not happen in time") -> None:
    """Wait for something that happens elsewhere, and fail where it does not."""
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, what
        time.sleep(_LOOK_SECONDS)


def somebody_waits(session: Session) -> bool:
    """Say whether anybody waits for a lock of the database."""
    return bool(session.scalar(_WAITING))

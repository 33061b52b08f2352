"""Lines that wait for their next request."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from portal.egress.guard import Target
    from portal.egress.lines import Line

_IDLE_SECONDS = 15.0
# A line of TLS holds some 45 kB: few enough for a sender to stay small.
_LINES = 1024


class Kept:
    """Idle lines, oldest first; `close` is called for each that has had its day."""

    def __init__(self, close: Callable[[Line], None]) -> None:
        self._close = close
        # The first of a plain dict is slow to find once many before it are gone.
        self._since: OrderedDict[Line, float] = OrderedDict()
        self._places: dict[tuple[bool, str, int], list[Line]] = {}

    def __len__(self) -> int:
        return len(self._since)

    def __contains__(self, line: Line) -> bool:
        return line in self._since

    def put(self, line: Line) -> None:
        self._since[line] = time.monotonic()
        self._places.setdefault(line.target.place, []).append(line)
        if len(self._since) > _LINES:
            self.drop_oldest()

    def take(self, target: Target) -> Line | None:
        """Return a line to one of the addresses that `target` has now, unless the other side has left or spoken."""
        for line in reversed(self._places.get(target.place, [])):
            self._forget(line)
            if line.address in target.addresses and line.quiet():
                line.target = target
                return line
            self._close(line)
        return None

    def drop(self, line: Line) -> None:
        self._forget(line)
        self._close(line)

    def drop_oldest(self) -> None:
        self.drop(next(iter(self._since)))

    def expire(self) -> None:
        """Close what has been idle for too long."""
        latest = time.monotonic() - _IDLE_SECONDS
        while self._since and next(iter(self._since.values())) < latest:
            self.drop_oldest()

    def _forget(self, line: Line) -> None:
        del self._since[line]
        lines = self._places[line.target.place]
        lines.remove(line)
        if not lines:
            del self._places[line.target.place]

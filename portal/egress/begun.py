"""Lines that are being begun: so many at once, and whoever is late with theirs keeps nobody else waiting."""

from __future__ import annotations

import time
from itertools import takewhile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable

# More at once would wait for this process's own cryptography and seem slow for it.  As many again that are late do not
# count; were there more, it may well be this process that is.
_AT_ONCE = 256


class Begun:
    """Who waits for a line at this moment."""

    def __init__(self) -> None:
        self._late_at: dict[Hashable, float] = {}
        self._late: set[Hashable] = set()

    def add(self, use: Hashable, late_at: float) -> None:
        """Count one more, which is late from then on (monotonic); each is late later than those before it."""
        self._late_at[use] = late_at

    def discard(self, use: Hashable) -> None:
        """Count it no more: it has its line, or is over."""
        self._late_at.pop(use, None)
        self._late.discard(use)

    def has_room(self) -> bool:
        """Say whether one more may be begun."""
        now = time.monotonic()
        for use in list(takewhile(lambda use: self._late_at[use] < now, self._late_at)):
            del self._late_at[use]
            self._late.add(use)
        return len(self._late_at) + max(0, len(self._late) - _AT_ONCE) < _AT_ONCE

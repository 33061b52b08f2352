"""Two rooms for what is under way: whoever takes long to answer keeps to one of them and cannot fill the other.

A request that waits costs a socket, so there may be many; but streams that take seconds for each, many at once, would
else hold every place there is, and everybody would wait as long as they do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from uuid import UUID

    from portal.sync.consignments import Consignment

# Requests under way in each of the two rooms, which one claim may overfill.
PLACES: Final = 512
# Who is slow shows late: the slow room may hold more than it has places, but all together never more than three rooms
# would, so that what is begun leaves before its lease ends.
_MOST_ROOMFULS: Final = 3
_REMEMBERED_SECONDS = 60.0
_LOOKED_SECONDS = 0.2


class Rooms:
    """What one courier knows of who is slow; `resting` are the streams that nothing more may be begun for now."""

    def __init__(self) -> None:
        self._slow: dict[UUID, float] = {}
        self._look_at = 0.0
        self.resting: list[UUID] = []

    def open(self, under_way: Mapping[UUID, Consignment], is_late: Callable[[UUID], bool], now: float) -> bool:
        """Say whether more may be begun, and find who rests meanwhile; `is_late` is `Exchanges.is_late`."""
        self.resting = []
        if now >= self._look_at or len(under_way) >= PLACES:
            self._look_at = now + _LOOKED_SECONDS
            self._find_slow(under_way, is_late, now)
        if len(under_way) < PLACES:
            return True
        slow = sum(self.is_slow(each.place.stream_id) for each in under_way.values())
        if slow >= PLACES:
            self.resting = list(self._slow)
        return len(under_way) - slow < PLACES and len(under_way) < _MOST_ROOMFULS * PLACES

    def is_slow(self, stream_id: UUID) -> bool:
        return stream_id in self._slow

    def _find_slow(self, under_way: Mapping[UUID, Consignment], is_late: Callable[[UUID], bool], now: float) -> None:
        self._slow = {stream_id: until for stream_id, until in self._slow.items() if until > now}
        for key, consignment in under_way.items():
            if is_late(key):
                self._slow[consignment.place.stream_id] = now + _REMEMBERED_SECONDS

"""What a client's key may be used for at a moment: plain rules over its row, without a database."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from portal.companies.keys import ENCRYPTION

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from portal.companies.models import ClientKey

# Whoever steals a colleague's session, or a token that manages an app, must not read people's details within a day.
HOLD: Final = timedelta(hours=24)
# Copies of one key set may differ for a while; what was away for longer begins anew.
AWAY: Final = timedelta(hours=24)


class State(StrEnum):
    """A key's state.  A `superseded` one still opens what was sealed to it, an `unused` one has signed nothing yet."""

    UNPROVED = "unproved"
    HELD = "held"
    ACTIVE = "active"
    SUPERSEDED = "superseded"
    UNUSED = "unused"
    RETIRED = "retired"
    STOPPED = "stopped"


def in_use(keys: Iterable[ClientKey], now: datetime) -> dict[str, ClientKey]:
    """Return the key of each department that is sealed to now: the one that came into use last."""
    found: dict[str, ClientKey] = {}
    for key in sorted(keys, key=lambda key: key.kid, reverse=True):
        held = found.get(key.key_group)
        if may_be_sealed_to(key, now) and (held is None or _since(key) >= _since(held)):
            found[key.key_group] = key
    return found


def may_be_sealed_to(key: ClientKey, now: datetime) -> bool:
    """Say whether an encryption key has been proved, is out of its hold, and is not retired."""
    ready = key.proved_at is not None and key.active_from is not None and key.active_from <= now
    return key.use == ENCRYPTION and key.retired_at is None and ready


def state(key: ClientKey, *, current: bool, now: datetime) -> State:
    """Return the state of a key; `current` says that it is the one `in_use` names for its department."""
    if key.retired_at is not None:
        return State.RETIRED if key.stopped_at is None else State.STOPPED
    if key.use != ENCRYPTION:
        return State.UNUSED if key.proved_at is None else State.ACTIVE
    if key.proved_at is None:
        return State.UNPROVED
    if not may_be_sealed_to(key, now):
        return State.HELD
    return State.ACTIVE if current else State.SUPERSEDED


def _since(key: ClientKey) -> float:
    return key.active_from.timestamp() if key.active_from else 0.0

"""How long what a person said of a detail holds before they are asked whether it is still right.  Pure Python."""

from __future__ import annotations

from datetime import datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from portal.consumer.catalogue import CATALOGUE, Volatility

if TYPE_CHECKING:
    from collections.abc import Mapping

# What never changes is not asked about.
ASK_AFTER = MappingProxyType({Volatility.FAST: timedelta(days=365), Volatility.SLOW: timedelta(days=730)})
# Saying it again sooner tells nobody anything.
SAID_FOR = timedelta(days=1)


def stale(name: str, confirmed_at: datetime | None, *, now: datetime) -> bool:
    """Say whether it is time to look at a detail again; one that its person never confirmed is to be looked at."""
    if name not in CATALOGUE:
        return False
    after = ASK_AFTER.get(CATALOGUE[name].volatility)
    return confirmed_at is None or (after is not None and now - confirmed_at > after)


def fresh(confirmed_at: datetime | None, *, now: datetime) -> bool:
    """Say whether it has just been confirmed, or typed, so that there is nothing to ask."""
    return confirmed_at is not None and now - confirmed_at < SAID_FOR


def confirmable(entry: Mapping[str, Any], *, now: datetime) -> bool:
    """Say of an entry of `CurrentRecord` whether its person can confirm it: it has a value, and is not fresh."""
    said = entry["confirmed_at"]
    return entry["sealed"] is not None and not fresh(datetime.fromisoformat(said) if said else None, now=now)

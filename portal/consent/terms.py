"""What a person agrees to: which details, how, until when; checked against what the purpose may ask.

Pure Python, no I/O: the screen, the services and the tests read the same rules.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from portal.errors import InvalidError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

UPDATED = "kept-up-to-date"
ASKED = "asked"
ONCE = "once"
YEAR = 365
QUARTER = 90
# A company that was allowed one look has this long to take it.
ONCE_DAYS = 7
_MODES = {UPDATED: (UPDATED, ASKED, ONCE), ASKED: (ASKED, ONCE), ONCE: (ONCE,)}


class NotAskedError(InvalidError):
    """A detail the purpose does not ask for."""

    code = "attribute-not-asked"
    public = "This organisation does not ask for one of these details."


class RequiredMissingError(InvalidError):
    """A detail the organisation cannot do without was left out."""

    code = "attribute-required"
    public = "This organisation needs all of the details under “They need these”."


class ModeNotOfferedError(InvalidError):
    """A way of sharing that goes beyond the purpose."""

    code = "mode-not-offered"
    public = "These details cannot be shared in this way."


class TooLongError(InvalidError):
    """Longer than the purpose may ask for."""

    code = "duration-too-long"
    public = "You cannot share for that long for this use. Choose a shorter time."


class PurposeWithdrawnError(RefusedError):
    """The organisation no longer uses details for this."""

    code = "purpose-withdrawn"
    public = "This organisation no longer asks for details for this use."


class ClientSuspendedError(RefusedError):
    """The organisation's app may not ask at present."""

    code = "client-suspended"
    public = "This organisation cannot ask for details at present."


@dataclass(frozen=True, kw_only=True)
class Duration:
    """One choice of how long; `value` stands in the form, `days` None means until the person stops it."""

    value: str
    label: str
    days: int | None
    mode: str


def durations(*, mode: str, longest_days: int) -> list[Duration]:
    """Return the choices a purpose leaves, longest first; "just this once" is always among them."""
    choices = []
    if mode != ONCE:
        if longest_days >= YEAR:
            label = "Until I stop it (we ask you again every 12 months)"
            choices.append(Duration(value="until", label=label, days=None, mode=mode))
            choices.append(Duration(value="year", label="12 months", days=YEAR, mode=mode))
        elif longest_days != QUARTER:
            choices.append(Duration(value="longest", label=in_days(longest_days), days=longest_days, mode=mode))
        if longest_days >= QUARTER:
            choices.append(Duration(value="quarter", label="3 months", days=QUARTER, mode=mode))
    once = min(ONCE_DAYS, longest_days)
    return [*choices, Duration(value="once", label=f"Just this once, within {in_days(once)}", days=once, mode=ONCE)]


def attributes(*, required: Sequence[str], optional: Sequence[str], chosen: Collection[str]) -> list[str]:
    """Return what is shared, in the purpose's order; refuse too much and too little."""
    if set(chosen) - set(required) - set(optional):
        raise NotAskedError
    if set(required) - set(chosen):
        raise RequiredMissingError
    return [name for name in dict.fromkeys([*required, *optional]) if name in chosen]


def check_mode(*, offered: str, wanted: str) -> str:
    """Return `wanted` when it is what the purpose offers or less."""
    if wanted not in _MODES.get(offered, ()):
        raise ModeNotOfferedError
    return wanted


def expiry(*, mode: str, days: int | None, longest_days: int, now: datetime) -> datetime | None:
    """Return when sharing ends; None for "until I stop it", which a purpose capped below a year cannot ask."""
    if mode == ONCE:
        days = min(ONCE_DAYS, longest_days, days or ONCE_DAYS)
    if days is None:
        if longest_days < YEAR:
            raise TooLongError
        return None
    if not 0 < days <= longest_days:
        raise TooLongError
    return now + timedelta(days=days)


def in_days(number: int) -> str:
    """Return "1 day" or "30 days"."""
    return f"{number} day{'' if number == 1 else 's'}"

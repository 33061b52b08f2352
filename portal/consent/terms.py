"""What a person agrees to: which details, how, until when; checked against what the purpose may ask.

Pure Python, no I/O: the screen, the services and the tests read the same rules.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from portal.companies.purposes import times_a_day
from portal.consumer.catalogue import CATALOGUE, Sensitivity
from portal.errors import InvalidError, RefusedError
from portal.identity import levels

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from portal.companies.queries import PurposeFacts

UPDATED = "kept-up-to-date"
ASKED = "asked"
ONCE = "once"
YEAR = 365
QUARTER = 90
MONTH = 30
WEEK = 7
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


class SecondProofNeededError(RefusedError):
    """A sensitive detail is newly shared by somebody who has proved who they are in one way only."""

    code = "second-proof-needed"
    public = "Prove once more that it is you before you share these details."


class Effect(StrEnum):
    """What an answer does to what the person shares for the purpose already.

    `amend` makes a new version of it, `create` ends it and begins anew, `merge` adds to it, and `replace` makes
    it exactly what is answered now (Grant Management for OAuth 2.0, draft 03, section 5.2; without an action: amend).
    """

    AMEND = "amend"
    CREATE = "create"
    MERGE = "merge"
    REPLACE = "replace"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a client asks of a person, never more than its purpose may ask.

    `attributes` are in catalogue order and hold what the purpose requires.  `open_ended` says that the person
    may share until they stop it, which only a request that names no duration can ask.  `pulls_a_day` is how often
    it looks at the details in a day, None as often as the portal lets anybody.
    """

    attributes: tuple[str, ...]
    mode: str
    retention_days: int
    longest_days: int
    open_ended: bool
    pulls_a_day: int | None = None


@dataclass(frozen=True, kw_only=True)
class Concession:
    """What a company agreed to do without: details that its purpose requires, and the way it asked for."""

    without: tuple[str, ...]
    mode: str


@dataclass(frozen=True, kw_only=True)
class Duration:
    """One choice of how long; `value` stands in the form, `days` None means until the person stops it."""

    value: str
    label: str
    days: int | None
    mode: str


class Limits(Protocol):
    """What no later step loosens by itself: of a purpose, a request, or a grant."""

    @property
    def retention_days(self) -> int: ...
    @property
    def pulls_a_day(self) -> int | None: ...


def whole(purpose: PurposeFacts) -> Wanted:
    """Return a purpose asked for in full."""
    return Wanted(
        attributes=tuple(name for name in CATALOGUE if name in purpose.attributes),
        mode=purpose.mode,
        retention_days=purpose.retention_days,
        longest_days=purpose.longest_days,
        open_ended=purpose.longest_days >= YEAR,
        pulls_a_day=purpose.pulls_a_day,
    )


def wanted(kept: Mapping[str, Any]) -> Wanted:
    """Return what a request's JSON keeps of a `Wanted`, whatever else stands beside it."""
    return Wanted(
        attributes=tuple(kept["attributes"]),
        mode=kept["mode"],
        retention_days=kept["retention_days"],
        longest_days=kept["longest_days"],
        open_ended=kept["open_ended"],
        pulls_a_day=kept.get("pulls_a_day"),
    )


def concession(kept: Mapping[str, Any] | None) -> Concession | None:
    """Return what a grant keeps of a `Concession`."""
    return Concession(without=tuple(kept["without"]), mode=kept["mode"]) if kept else None


def conceded(purpose: PurposeFacts, agreed: Concession | None) -> PurposeFacts:
    """Return a purpose as it binds somebody whose offer of less was taken: they choose what others must share."""
    if agreed is None:
        return purpose
    required = tuple(entry for entry in purpose.required if entry[0] not in agreed.without)
    waived = tuple(entry for entry in purpose.required if entry[0] in agreed.without)
    return replace(purpose, required=required, optional=(*waived, *purpose.optional))


def less(asked: Wanted, agreed: Concession | None) -> Wanted:
    """Return what a request still asks of somebody whose offer of less was taken."""
    if agreed is None:
        return asked
    attributes = tuple(name for name in asked.attributes if name not in agreed.without)
    return replace(asked, attributes=attributes, mode=agreed.mode if covers(asked.mode, agreed.mode) else asked.mode)


def within(asked: Wanted, purpose: PurposeFacts) -> Wanted:
    """Return `asked` as far as the purpose goes now; raise NotAskedError or ModeNotOfferedError beyond it."""
    if set(asked.attributes) - set(purpose.attributes):
        raise NotAskedError
    return Wanted(
        attributes=asked.attributes,
        mode=check_mode(offered=purpose.mode, wanted=asked.mode),
        longest_days=min(asked.longest_days, purpose.longest_days),
        open_ended=asked.open_ended and purpose.longest_days >= YEAR,
        **stricter(asked, purpose),
    )


def durations(*, mode: str, longest_days: int, open_ended: bool) -> list[Duration]:
    """Return the choices a request leaves, longest first; "just this once" is always among them."""
    choices = []
    if mode != ONCE:
        if open_ended:
            label = "Until I stop it (we ask you again every 12 months)"
            choices.append(Duration(value="until", label=label, days=None, mode=mode))
        elif longest_days not in {YEAR, QUARTER}:
            choices.append(Duration(value="longest", label=in_days(longest_days), days=longest_days, mode=mode))
        if longest_days >= YEAR:
            choices.append(Duration(value="year", label="12 months", days=YEAR, mode=mode))
        if longest_days >= QUARTER:
            choices.append(Duration(value="quarter", label="3 months", days=QUARTER, mode=mode))
    once = min(ONCE_DAYS, longest_days)
    return [*choices, Duration(value="once", label=f"Just this once, within {in_days(once)}", days=once, mode=ONCE)]


def offers(asked: Wanted) -> list[Duration]:
    """Return for how long somebody may offer to share, longest first; one choice where it is one look anyway."""
    if asked.mode == ONCE:
        once = min(ONCE_DAYS, asked.longest_days)
        return [Duration(value="once", label=f"Just this once, within {in_days(once)}", days=once, mode=ONCE)]
    usual = durations(mode=asked.mode, longest_days=asked.longest_days, open_ended=asked.open_ended)[:-1]
    shorter = [(MONTH, "month", "1 month"), (WEEK, "week", "1 week")]
    return usual + [
        Duration(value=value, label=label, days=days, mode=asked.mode)
        for days, value, label in shorter
        if days < asked.longest_days
    ]


def modes(asked: str) -> tuple[str, ...]:
    """Return the ways that allow what was asked or less, the widest first."""
    return _MODES[asked]


def attributes(*, required: Sequence[str], optional: Sequence[str], chosen: Collection[str]) -> list[str]:
    """Return what is shared, in the purpose's order; refuse too much and too little."""
    if set(chosen) - set(required) - set(optional):
        raise NotAskedError
    if set(required) - set(chosen):
        raise RequiredMissingError
    return [name for name in dict.fromkeys([*required, *optional]) if name in chosen]


def covers(mode: str, wanted: str) -> bool:
    """Say whether sharing in one way allows everything that another way asks for."""
    return wanted in _MODES.get(mode, ())


def check_mode(*, offered: str, wanted: str) -> str:
    """Return `wanted` when it is what the purpose offers or less."""
    if not covers(offered, wanted):
        raise ModeNotOfferedError
    return wanted


def sensitive(names: Collection[str]) -> bool:
    """Say whether one of the details can do much harm."""
    return any(name in CATALOGUE and CATALOGUE[name].sensitivity is Sensitivity.SENSITIVE for name in names)


def check_proofs(newly: Collection[str], *, level: int) -> None:
    """Raise SecondProofNeededError when a sensitive detail is newly shared below level 2 (`identity.levels`)."""
    if level < levels.TWO_PROOFS and sensitive(newly):
        raise SecondProofNeededError


def expiry(*, mode: str, days: int | None, longest_days: int, open_ended: bool, now: datetime) -> datetime | None:
    """Return when sharing ends; None for "until I stop it", which not every request can ask."""
    if mode == ONCE:
        days = min(ONCE_DAYS, longest_days, days or ONCE_DAYS)
    if days is None:
        if not open_ended:
            raise TooLongError
        return None
    if not 0 < days <= longest_days:
        raise TooLongError
    return now + timedelta(days=days)


def delete_by(*, changed_at: datetime, expires_at: datetime | None, retention_days: int) -> datetime:
    """Return when what was received under a grant that is over must be gone; `changed_at` is of its last state."""
    # Its end is written down at the latest when somebody looks, which may be after its time was over.
    return min(changed_at, expires_at or changed_at) + timedelta(days=retention_days)


def stricter(one: Limits, other: Limits) -> dict[str, Any]:
    """Return the lower of each of two limits, by its name."""
    return {
        "retention_days": min(one.retention_days, other.retention_days),
        "pulls_a_day": fewer(one.pulls_a_day, other.pulls_a_day),
    }


def fewer(one: int | None, other: int | None) -> int | None:
    """Return the lower of two ceilings, where None is none."""
    return min((each for each in (one, other) if each is not None), default=None)


def often(pulls_a_day: int | None) -> str:
    """Return how often an organisation may look in a day: "once a day", "4 times a day"."""
    if pulls_a_day is None:
        return "as often as they need to"
    return "at most " + times_a_day(pulls_a_day)


def in_days(number: int) -> str:
    """Return "1 day" or "30 days"."""
    return f"{number} day{'' if number == 1 else 's'}"

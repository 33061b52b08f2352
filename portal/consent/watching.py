"""When a consent is looked at again, and what its person is then reminded of.

Pure Python, no I/O: what is known of a consent goes in, and what to note and when to look again comes out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from portal.consent import terms

if TYPE_CHECKING:
    from datetime import datetime

YEAR: Final = timedelta(days=365)
# How long after the last use its person is warned, and how long after the warning it is paused.
UNUSED: Final = timedelta(days=335)
WARNED: Final = timedelta(days=30)
# What falls due so soon is told in the same letter.
TOGETHER: Final = timedelta(days=2)
# What gives no reason to look sooner is looked at as often.
_AT_LEAST: Final = timedelta(days=90)
_HALF, _MOST, _LAST = 50, 80, 95
# The share of its time that has gone by, in per cent, and what that is noted as.
STAGES: Final = {_HALF: "half", _MOST: "most", _LAST: "last"}
YEARLY, DISUSED, PAUSED = "year", "unused", "paused"


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of a live consent: when its person last answered, since when its time runs, when it was used last.

    `used_at` is None where nothing was sent or asked under it yet.
    """

    state: str
    mode: str
    answered_at: datetime
    term_from: datetime
    expires_at: datetime | None
    used_at: datetime | None

    @property
    def idle_since(self) -> datetime:
        return max(self.answered_at, self.used_at or self.answered_at)


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What its person has been reminded of, as `ConsentWatch` keeps it."""

    term_to: datetime | None = None
    told: int = 0
    asked_at: datetime | None = None
    warned_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a look came to: what to note for the next letter, if anything, what to remember, and when to look again.

    `pause` says that it is to be paused, as nobody has used it for a year and its person was told that it would be.
    """

    noted: str
    memory: Memory
    due_at: datetime
    pause: bool = False


def first_look(*, mode: str, at: datetime, expires_at: datetime | None) -> datetime:
    """Return when to look at a consent for the first time after a step at `at`: never later than there is reason to."""
    if expires_at is None or mode == terms.ONCE:
        return at + UNUSED
    return min(at + UNUSED, _moment(at, expires_at, _HALF))


def look(facts: Facts, memory: Memory, *, now: datetime) -> Seen:
    """Return what there is to note of a consent now, the most pressing alone."""
    memory = memory if memory.term_to == facts.expires_at else replace(memory, term_to=facts.expires_at, told=0)
    if facts.mode == terms.ONCE:
        return Seen(noted="", memory=memory, due_at=now + _AT_LEAST)
    if _is_to_pause(facts, memory, now):
        return Seen(noted=PAUSED, memory=memory, due_at=now + _AT_LEAST, pause=True)
    noted, memory = _noted(facts, memory, now + TOGETHER)
    return Seen(noted=noted, memory=memory, due_at=_next(facts, memory, now))


def _noted(facts: Facts, memory: Memory, now: datetime) -> tuple[str, Memory]:
    passed = _passed(facts, now)
    if passed > memory.told:
        return STAGES[passed], replace(memory, told=passed)
    if facts.state != "active":
        return "", memory
    if not _is_warned(facts, memory) and facts.idle_since + UNUSED <= now:
        return DISUSED, memory
    if _is_yearly(facts) and _asked(facts, memory) + YEAR <= now:
        return YEARLY, replace(memory, asked_at=now)
    return "", memory


def _passed(facts: Facts, now: datetime) -> int:
    """Return the highest of the stages that its time has reached; 0 for none, or without an end."""
    end = facts.expires_at
    if end is None:
        return 0
    return max((each for each in STAGES if _moment(facts.term_from, end, each) <= now), default=0)


def _moment(start: datetime, end: datetime, percent: int) -> datetime:
    return start + (end - start) * percent / 100


def _is_warned(facts: Facts, memory: Memory) -> bool:
    # Whoever used it since, or was told by its person to go on, has put an end to that warning.
    return memory.warned_at is not None and memory.warned_at > facts.idle_since


def _is_to_pause(facts: Facts, memory: Memory, now: datetime) -> bool:
    if facts.state != "active" or memory.warned_at is None or not _is_warned(facts, memory):
        return False
    return now >= max(facts.idle_since + YEAR, memory.warned_at + WARNED)


def _is_yearly(facts: Facts) -> bool:
    # What ends within a year of the answer is reminded of by its stages.
    return facts.expires_at is None or facts.expires_at > facts.answered_at + YEAR + TOGETHER


def _asked(facts: Facts, memory: Memory) -> datetime:
    return max(facts.answered_at, memory.asked_at or facts.answered_at)


def _next(facts: Facts, memory: Memory, now: datetime) -> datetime:
    due = [now + _AT_LEAST]
    if facts.expires_at is not None:
        due += [_moment(facts.term_from, facts.expires_at, each) for each in STAGES if each > memory.told]
    if facts.state == "active":
        due.append(_when_idle(facts, memory))
        if _is_yearly(facts):
            due.append(_asked(facts, memory) + YEAR)
    # A look in vain, such as while a letter waits to be sent, comes again within the day and not within the second.
    return max(min(due), now + timedelta(hours=6))


def _when_idle(facts: Facts, memory: Memory) -> datetime:
    if _is_warned(facts, memory) and memory.warned_at is not None:
        return max(facts.idle_since + YEAR, memory.warned_at + WARNED)
    return facts.idle_since + UNUSED

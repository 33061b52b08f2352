"""What may follow what in a question about one row of a person's log, and by when; pure Python, no I/O."""

from __future__ import annotations

from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from datetime import datetime

# Where a question stands.
ASKED: Final = "asked"
ANSWERED: Final = "answered"
ESCALATED: Final = "escalated"
MENDING: Final = "mending"
SETTLED: Final = "settled"
DECIDED: Final = "decided"
# The company owes an answer, or the operator a decision: these stand against the company.
OPEN: Final = (ASKED, ESCALATED, MENDING)
# These stand against the limits of the person.
UNFINISHED: Final = (*OPEN, ANSWERED)
OVER: Final = (SETTLED, DECIDED)

# What can happen to one; the first three bear the name of the state they lead to.
UNFOUNDED: Final = "unfounded"
MEND: Final = "mend"
SUSPEND: Final = "suspended"
DECISIONS: Final = (UNFOUNDED, MEND, SUSPEND)

PERSON: Final = "person"
COMPANY: Final = "company"
OPERATOR: Final = "operator"
PORTAL: Final = "portal"

# Why something happened, where the step does not say it.
PAUSED: Final = "paused"
OVERDUE: Final = "overdue"
NOT_SATISFIED: Final = "not-satisfied"
SILENCE: Final = "silence"

TO_ANSWER: Final = timedelta(days=10)
REMINDED: Final = timedelta(days=3)
TO_SAY: Final = timedelta(days=30)
DAYS_TO_MEND: Final = (7, 14, 30)
MOST_OPEN: Final = 10
MOST_A_DAY: Final = 20
LONGEST: Final = 2000

# What surprises them, as they may choose it.
CHOICES: Final = MappingProxyType(
    {
        "not-this-use": "I know them, but I did not expect this use",
        "not-known": "I do not know this organisation",
        "not-me": "This was done in my name, and it was not me",
        "else": "Something else",
    }
)
# step → the state it is taken in → the state it leads to.
_MOVES: Final = {
    # A late answer still counts; whether it is enough is then for the operator, or the person, to say.
    ANSWERED: {ASKED: ANSWERED, MENDING: ANSWERED, ESCALATED: ESCALATED},
    ESCALATED: {ASKED: ESCALATED, MENDING: ESCALATED, ANSWERED: ESCALATED},
    SETTLED: dict.fromkeys(UNFINISHED, SETTLED),
    UNFOUNDED: {ESCALATED: DECIDED},
    MEND: {ESCALATED: MENDING},
    SUSPEND: {ESCALATED: DECIDED},
}


class Clock(NamedTuple):
    """When something happens by itself (`due`), and when to look next: a reminder comes before it."""

    due: datetime | None
    look: datetime | None


def after(step: str, *, state: str, last_step: str) -> str | None:
    """Return the state that a step leads to; None where it cannot be taken now."""
    if step == ANSWERED == last_step:
        # One answer each time it is asked, also to the operator.
        return None
    return _MOVES[step].get(state)


def clock(state: str, *, at: datetime, given: timedelta | None = None) -> Clock:
    """Return how long a state lasts that began `at`; `given` is how long the operator gave for mending."""
    if state == ANSWERED:
        return Clock(at + TO_SAY, at + TO_SAY)
    if state in {ASKED, MENDING}:
        due = at + (given or TO_ANSWER)
        return Clock(due, due - REMINDED)
    return Clock(None, None)


def by_itself(state: str) -> tuple[str, str]:
    """Return the step that follows when the time of a state is over, and why it does."""
    return (SETTLED, SILENCE) if state == ANSWERED else (ESCALATED, OVERDUE)


def time_left(due: datetime, *, now: datetime) -> str:
    """Return how long there still is, rounded up so that ten days are ten days: "10 days left", "overdue"."""
    hours = -(-int((due - now).total_seconds()) // 3600)
    if hours <= 0:
        return "overdue"
    if hours <= 48:  # noqa: PLR2004 - up to two days people count in hours
        return f"{hours} hour{'s' * (hours != 1)} left"
    return f"{-(-hours // 24)} days left"

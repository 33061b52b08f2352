"""What the three who read a question are told of it: its person, the company it was put to, and an operator."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from portal.disputes import rules
from portal.web import dates

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from portal.disputes.models import Dispute
    from portal.disputes.queries import Said

# How somebody at the company, or an operator, reads of a row how the details went.
CHANNELS: Final = MappingProxyType(
    {
        "push": "Pushed",
        "poll": "Collected (poll)",
        "pull": "Pulled",
        "batch": "Pulled with many others",
        "userinfo": "Asked for at userinfo",
        "drift": "Copy compared (yes or no)",
        "consent": "A step of the person’s own",
        "notice": "A message without details",
        "staff": "Looked at by your staff",
        "operator": "Looked at by an operator",
    }
)
_DAYS = f"{rules.TO_SAY.days} days"


class Tag(NamedTuple):
    """A state in a few words, and the class of the tag that shows it."""

    words: str
    tone: str


_PERSON: Final[Mapping[str, Tag]] = {
    rules.ASKED: Tag("You asked, no answer yet", "hold"),
    rules.ANSWERED: Tag("They answered: look at it", "hold"),
    rules.ESCALATED: Tag("We are looking into it", "hold"),
    rules.MENDING: Tag("They must mend something", "hold"),
    rules.SETTLED: Tag("Settled", "ok"),
    rules.DECIDED: Tag("We decided", ""),
}
_COMPANY: Final[Mapping[str, Tag]] = {
    rules.ASKED: Tag("Waits for your answer", "hold"),
    rules.ANSWERED: Tag("Answered", "ok"),
    rules.ESCALATED: Tag("With the operator", "stop"),
    rules.MENDING: Tag("To be mended by you", "hold"),
    rules.SETTLED: Tag("Settled", "ok"),
    rules.DECIDED: Tag("Decided", ""),
}
_OPERATOR: Final[Mapping[str, Tag]] = {
    **_COMPANY,
    rules.ASKED: Tag("Waits for an answer", "hold"),
    rules.ESCALATED: Tag("Waits for you", "hold"),
    rules.MENDING: Tag("To be mended by them", "hold"),
}
TAGS: Final = MappingProxyType({rules.PERSON: _PERSON, rules.COMPANY: _COMPANY, rules.OPERATOR: _OPERATOR})
# (step, who took it) → what each of the three reads; `name` is the company.
_STEPS: Final[Mapping[tuple[str, str], Mapping[str, str]]] = {
    (rules.ASKED, rules.PERSON): {
        rules.PERSON: "You asked",
        rules.COMPANY: "The person asked",
        rules.OPERATOR: "The person asked",
    },
    (rules.ANSWERED, rules.COMPANY): {
        rules.PERSON: "{name} answered",
        rules.COMPANY: "You answered",
        rules.OPERATOR: "{name} answered",
    },
    (rules.SETTLED, rules.PERSON): {
        rules.PERSON: "You said that it is settled",
        rules.COMPANY: "The person said that it is settled",
        rules.OPERATOR: "The person said that it is settled",
    },
    (rules.SETTLED, rules.PORTAL): {
        rules.PERSON: f"Settled: you said nothing against the answer for {_DAYS}",
        rules.COMPANY: f"Settled: the person said nothing against the answer for {_DAYS}",
        rules.OPERATOR: f"Settled: the person said nothing against the answer for {_DAYS}",
    },
    (rules.ESCALATED, rules.PERSON): {
        rules.PERSON: "You asked us to look into it",
        rules.COMPANY: "The answer did not settle it: the operator looks into it",
        rules.OPERATOR: "The answer did not settle it",
    },
    (rules.ESCALATED, rules.PORTAL): {
        rules.PERSON: "Nothing came in time, so we look into it",
        rules.COMPANY: "Nothing came in time: the operator looks into it",
        rules.OPERATOR: "Nothing came in time",
    },
    (rules.UNFOUNDED, rules.OPERATOR): {
        rules.PERSON: "We looked into it, and found nothing that {name} must mend",
        rules.COMPANY: "The operator found nothing that you must mend",
        rules.OPERATOR: "Decided: nothing to mend",
    },
    (rules.MEND, rules.OPERATOR): {
        rules.PERSON: "We looked into it: {name} must mend something by {due}",
        rules.COMPANY: "The operator found something that you must mend by {due}",
        rules.OPERATOR: "Decided: they must mend something by {due}",
    },
    (rules.SUSPEND, rules.OPERATOR): {
        rules.PERSON: "We looked into it, and suspended the app of {name}: it gets no details any more",
        rules.COMPANY: "The operator suspended this app: it gets no details any more",
        rules.OPERATOR: "Decided: the app is suspended",
    },
}


def tag(held: Dispute, *, reader: str) -> Tag:
    """Return where a question stands, as `reader` (`rules.PERSON`, `COMPANY` or `OPERATOR`) is told."""
    return TAGS[reader][held.state]


def step(said: Said, *, reader: str, company_name: str) -> str:
    """Return what happened in one step, as `reader` is told."""
    words = _STEPS[said.step, said.actor][reader]
    paused = " and paused sharing" if said.reason == rules.PAUSED else ""
    return words.format(name=company_name, due=dates.day(said.due_at)) + paused


def time_left(due: datetime | None, *, now: datetime) -> str:
    """Return "10 days left, until 4 May 2026", "overdue since 4 May 2026", or nothing where no time runs."""
    if due is None:
        return ""
    left = rules.time_left(due, now=now)
    return f"{left} since {dates.day(due)}" if due <= now else f"{left}, until {dates.day(due)}"

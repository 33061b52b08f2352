"""A person's activity as they read it: repeats stand together, and what is unusual is said where it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from portal.ledger import first_uses, queries, rules
from portal.web.dates import ZONE, midnight

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from sqlalchemy.orm import Session

    from portal.ledger.queries import Burst, Entry

_DAY: Final = timedelta(days=1)
# Only what is done with is put together: anything else has its own story to tell.
_REPEATED: Final = frozenset({"completed", "denied"})


@dataclass(frozen=True, kw_only=True)
class Line:
    """One row as it is shown, the newest of its `repeats` first.

    `full` where refusals like it are not all listed for a day after it; `first` where the organisation had used none of
    the person's details before; `burst` where it asked unusually often that day.
    """

    entry: Entry
    repeats: Sequence[Entry]
    attributes: Sequence[str]
    how: str
    actor: str
    outcome: str
    tone: str
    full: bool
    first: bool
    burst: Burst | None


@dataclass(kw_only=True)
class Grouped:
    """Rows put together, and how many of those that were given are in it."""

    groups: list[list[Entry]] = field(default_factory=list)
    taken: int = 0


def grouped(entries: Sequence[Entry], *, most: int) -> Grouped:
    """Put repeats of one day together, newest first, until there are `most` groups and another would begin."""
    found = Grouped()
    known: dict[object, list[Entry]] = {}
    for entry in entries:
        key = _key(entry)
        if key not in known:
            if len(found.groups) == most:
                break
            known[key] = []
            found.groups.append(known[key])
        known[key].append(entry)
        found.taken += 1
    return found


def lines(session: Session, groups: Sequence[Sequence[Entry]], *, person_id: UUID) -> list[Line]:
    """Return these groups of a person's rows as they are shown: three statements, however many there are."""
    shown = [entry for group in groups for entry in group]
    if not shown:
        return []
    filled = queries.filled(session, person_id=person_id, entries=shown)
    firsts = first_uses.of_person(session, person_id=person_id)
    bursts = queries.bursts(
        session,
        person_id=person_id,
        first=midnight(shown[-1].at.astimezone(ZONE).date()),
        last=midnight(shown[0].at.astimezone(ZONE).date() + _DAY),
        zone=ZONE.key,
    )
    return [_line(group, filled, firsts, bursts) for group in groups]


def bare(entries: Sequence[Entry]) -> list[Line]:
    """Return rows each by itself, without what only a longer look would say of them."""
    return [_line([entry], set(), set(), {}) for entry in entries]


def _line(group: Sequence[Entry], filled: set[UUID], firsts: set[UUID], bursts: dict[Any, Burst]) -> Line:
    entry, ids = group[0], {each.disclosure_id for each in group}
    asking = entry.channel in rules.ASKING
    return Line(
        entry=entry,
        repeats=group,
        attributes=list(entry.given) or entry.asked,
        how=rules.how(entry.channel, entry.reason),
        actor=rules.actor(entry.channel, entry.reason),
        outcome=rules.outcome(entry.channel, entry.outcome, entry.reason),
        tone=rules.tone(entry.channel, entry.outcome),
        full=not ids.isdisjoint(filled),
        first=not ids.isdisjoint(firsts),
        burst=bursts.get((entry.company_id, entry.at.astimezone(ZONE).date())) if asking else None,
    )


def _key(entry: Entry) -> object:
    if entry.outcome not in _REPEATED or entry.channel == "consent":
        return entry.disclosure_id
    return (
        entry.at.astimezone(ZONE).date(), entry.company_id, entry.purpose, entry.channel, entry.grant_id, entry.outcome,
        entry.reason, frozenset(entry.asked), frozenset(entry.given),
    )  # fmt: skip

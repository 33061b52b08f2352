"""Who holds which of a person's details, how old what they hold is, and by what right: read from the log alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import text

from portal.consent import cards, deletion_rules, deletions
from portal.consumer import queries as consumer
from portal.consumer.catalogue import CATALOGUE
from portal.ledger import holdings
from portal.web.dates import day

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.orm import Session

    from portal.consent.cards import Card
    from portal.consent.models import Deletion
    from portal.ledger.holdings import Given


# Since when a sharing that goes on is without a detail that it had.
_TAKEN_BACK = text("""
    SELECT g.grant_id, had.attribute, min(v.at) AS at
      FROM "grant" g
     CROSS JOIN LATERAL (
           SELECT e.name AS attribute, max(v.version) AS version
             FROM grant_version v CROSS JOIN jsonb_array_elements_text(v.attributes) AS e(name)
            WHERE v.person_id = g.person_id AND v.grant_id = g.grant_id AND v.state IN ('active', 'paused')
            GROUP BY e.name) had
      JOIN grant_version v ON v.person_id = g.person_id AND v.grant_id = g.grant_id AND v.version > had.version
     WHERE g.person_id = :person_id AND g.state IN ('active', 'paused')
       AND NOT jsonb_exists(g.attributes, had.attribute)
     GROUP BY g.grant_id, had.attribute
""")


class Holds(StrEnum):
    """What an organisation has of a detail, and whether it may have it still."""

    CURRENT = "current"
    OLD = "old"
    NOTHING = "nothing"
    LEFT = "left"
    PAST = "past"
    ASKED = "asked"
    KEPT = "kept"
    OVERDUE = "overdue"
    DELETED = "deleted"


class _Look(NamedTuple):
    """The words of a state's tag, and the class by which tag and picture show it."""

    tag: str
    tone: str
    shape: str


_LOOKS = {
    Holds.CURRENT: _Look("Has the current one", "ok", "now"),
    Holds.OLD: _Look("Has an older one", "hold", "old"),
    Holds.NOTHING: _Look("Nothing sent yet", "", "none"),
    Holds.LEFT: _Look("May have it still", "stop", "left"),
    Holds.PAST: _Look("Had to delete it", "", "none"),
    Holds.ASKED: _Look("Asked to delete it", "stop", "left"),
    Holds.KEPT: _Look("Keeps it by law", "stop", "left"),
    Holds.OVERDUE: _Look("Deletion is overdue", "stop", "left"),
    Holds.DELETED: _Look("Says it is deleted", "", "none"),
}


@dataclass(frozen=True, kw_only=True)
class Holder:
    """One organisation and use, and what it has of one detail.

    `version` is the newest that is known to have arrived, held since `since`; `on_its_way` that a newer one was sent
    and nobody has said yet whether it came.  `left_at` is since when it is not shared any more, `due_at` by when
    it is to be deleted, or until when it is kept.
    """

    card: Card
    attribute: str
    holds: Holds
    version: int | None
    since: datetime | None
    on_its_way: bool
    left_at: datetime | None
    due_at: datetime | None

    @property
    def look(self) -> _Look:
        return _LOOKS[self.holds]

    @property
    def right(self) -> str:
        """By what right it has the detail, or had."""
        held, sentence = self.card.grant, self.card.sentence
        what = f", so they can {sentence}" if sentence else ""
        return f"You agreed on {day(held.given_at)}{what}."

    @property
    def more(self) -> str:
        """What will become of it, in a sentence; empty where there is nothing to say."""
        if self.holds in _DATED and self.due_at is not None:
            return _DATED[self.holds].format(day(self.due_at))
        if self.holds in {Holds.OLD, Holds.NOTHING}:
            return self._coming
        return ""

    @property
    def _coming(self) -> str:
        if self.on_its_way:
            return "A newer one was sent, and has not been confirmed yet."
        if self.card.state == "paused":
            return "You paused sharing, so no newer one is sent."
        return "They are kept up to date." if self.card.updated else "They get it when they ask."


_DATED = {
    Holds.LEFT: "You no longer share it. They must delete it by {}.",
    Holds.PAST: "You no longer share it. They had to delete it by {}.",
    Holds.ASKED: "You asked them to delete it, by {}.",
    Holds.KEPT: "They say that a law makes them keep it until {}.",
    Holds.OVERDUE: "They had to delete it by {}, and have not said that they did.",
}


_ONE = {"now": "has the current one", "old": "has an older one", "left": "has one that you no longer share"}
_MANY = {shape: words.replace("has ", "have ", 1) for shape, words in _ONE.items()}


class Row(NamedTuple):
    """One detail and everybody who has it, or may get it."""

    attribute: str
    holders: Sequence[Holder]

    @property
    def said(self) -> str:
        """How many have which, in a sentence; empty where nobody has any."""
        said = ""
        for shape, count in self.counts.items():
            if count:
                who = "" if said else " organisation" if count == 1 else " organisations"
                said += f"{', ' if said else ''}{count}{who} {_ONE[shape] if count == 1 else _MANY[shape]}"
        return said

    @property
    def counts(self) -> dict[str, int]:
        """How many of them have the current one, an older one, or one they should no longer have; by shape."""
        shapes = [shape for _company, shape in {(one.card.grant.company_id, one.look.shape) for one in self.holders}]
        return {shape: shapes.count(shape) for shape in ("now", "old", "left")}

    @property
    def organisations(self) -> int:
        """How many organisations these are; one may have the detail for several uses."""
        return len({one.card.grant.company_id for one in self.holders})


def by_detail(session: Session, *, person_id: UUID, now: datetime) -> list[Row]:
    """Return each detail of the catalogue with whoever has it, by name."""
    known = _read(session, person_id=person_id, now=now)
    return [Row(name, known.holders(name)) for name in CATALOGUE]


def of_detail(session: Session, *, person_id: UUID, attribute: str, now: datetime) -> Row:
    """Return one detail with whoever has it, by name."""
    return Row(attribute, _read(session, person_id=person_id, now=now).holders(attribute))


def of_grant(session: Session, *, person_id: UUID, grant_id: UUID, now: datetime) -> list[Holder]:
    """Return what one organisation has by one consent, in the catalogue's order; nothing of what it never got."""
    known = _read(session, person_id=person_id, now=now)
    found = [one for name in CATALOGUE for one in known.holders(name)]
    return [one for one in found if one.card.id == grant_id and one.version is not None]


@dataclass(frozen=True, kw_only=True)
class _Known:
    """All that is known of one person's details, as read at one moment; `current` maps a detail to its version."""

    cards: Sequence[Card]
    current: Mapping[str, int]
    given: Mapping[tuple[UUID, str], Sequence[Given]]
    deletions: Mapping[tuple[UUID, str], Deletion]
    taken_back: Mapping[tuple[UUID, str], datetime]
    now: datetime

    def holders(self, name: str) -> list[Holder]:
        found = [one for card in self.cards if (one := self._holder(card, name)) is not None]
        # What is shared for the same use again they may have, whatever they were to do when it had stopped.
        again = {one.card.grant.purpose_id for one in found if one.left_at is None}
        return [one for one in found if one.left_at is None or one.card.grant.purpose_id not in again]

    def _holder(self, card: Card, name: str) -> Holder | None:
        given = self.given.get((card.id, name), ())
        shared = card.live and name in card.grant.attributes
        if not shared and not given:
            return None
        arrived = next((one for one in given if one.arrived), None)
        asked = None if shared else self.deletions.get((card.id, name))
        left_at = None if shared else self.taken_back.get((card.id, name), card.ended_at)
        due_at = asked.due_at if asked else left_at and left_at + timedelta(days=card.grant.retention_days)
        holds = self._holds(name, arrived) if due_at is None else _gone(asked, due_at, self.now)
        return Holder(
            card=card,
            attribute=name,
            holds=holds,
            version=arrived.version if arrived else None,
            since=arrived.at if arrived else None,
            on_its_way=any(not one.arrived for one in given),
            left_at=left_at,
            due_at=due_at,
        )

    def _holds(self, name: str, arrived: Given | None) -> Holds:
        if arrived is None:
            return Holds.NOTHING
        return Holds.CURRENT if arrived.version >= self.current.get(name, 0) else Holds.OLD


def _gone(asked: Deletion | None, due_at: datetime, now: datetime) -> Holds:
    # A wish that was lifted, as they share it again, is over; what they share no more since is left as any other.
    if asked is None or asked.state == deletion_rules.State.LIFTED:
        return Holds.LEFT if due_at > now else Holds.PAST
    if asked.state == deletion_rules.State.DELETED:
        return Holds.DELETED
    if deletion_rules.overdue(state=asked.state, due_at=asked.due_at, now=now):
        return Holds.OVERDUE
    return Holds.KEPT if asked.state == deletion_rules.State.HELD else Holds.ASKED


def _read(session: Session, *, person_id: UUID, now: datetime) -> _Known:
    made = cards.of_person(session, person_id=person_id, now=now)
    entries = consumer.entries(session, person_id=person_id)
    asked = deletions.of_person(session, person_id=person_id)
    return _Known(
        cards=sorted(made, key=lambda card: card.company_name.casefold()),
        current={name: entry["version"] for name, entry in entries.items()},
        given=_by_place(holdings.of_person(session, person_id=person_id)),
        deletions={(row.grant_id, row.attribute): row for rows in asked.values() for row in rows},
        taken_back={
            (row.grant_id, row.attribute): row.at for row in session.execute(_TAKEN_BACK, {"person_id": person_id})
        },
        now=now,
    )


def _by_place(given: Iterable[Given]) -> dict[tuple[UUID, str], list[Given]]:
    found: dict[tuple[UUID, str], list[Given]] = {}
    for one in given:
        found.setdefault((one.grant_id, one.attribute), []).append(one)
    return found

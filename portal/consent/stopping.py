"""What somebody reads who stops sharing, or asks a company to delete what it has; kept with their answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from portal.consent import terms
from portal.web.dates import day

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from portal.consent.cards import Card

STOP = "Stop sharing"


@dataclass(frozen=True, kw_only=True)
class Words:
    """A page's text; `question` is empty where the company has got nothing yet that it could delete."""

    title: str
    effects: Sequence[str]
    question: str
    explained: str
    answer: str

    def shown(self, *, erase: bool) -> dict[str, Any]:
        """Return what a step keeps of it, with the answer."""
        kept: dict[str, Any] = {"title": self.title, "effects": list(self.effects), "answers": [self.answer]}
        if self.question:
            kept |= {"erasure": {"question": self.question, "explained": self.explained, "asked": erase}}
        return kept


def of_stop(card: Card, *, stop_effect: str, holds: bool, now: datetime) -> Words:
    """Return what happens if one stops now; `stop_effect` is the company's own sentence about it."""
    name = card.company_name
    days = card.grant.retention_days
    own = [f"{name} says: \u201c{stop_effect}\u201d"] if stop_effect else []
    keeping = (
        f"They must stop using what they have within {terms.in_days(days)}."
        if days
        else "They may not keep your details."
    )
    return Words(
        title=f"Stop sharing with {name}?",
        effects=[
            *own,
            f"From the next moment {name} gets nothing more, and we tell them so.",
            keeping,
            "You can share with them again later: it starts as a new question.",
        ],
        question="Ask them to delete what they have" if holds else "",
        explained=_explained(card, now),
        answer=STOP,
    )


def of_erasure(card: Card) -> Words:
    """Return what it means to ask for deletion after sharing has ended."""
    return Words(
        title=f"Ask {card.company_name} to delete what they have",
        effects=[],
        question="Ask them to delete what they have",
        explained=_explained(card, card.grant.changed_at),
        answer="Ask them to delete it",
    )


def _explained(card: Card, ended: datetime) -> str:
    by = terms.delete_by(changed_at=ended, expires_at=card.grant.expires_at, retention_days=card.grant.retention_days)
    latest = f"by {day(by)} at the latest" if card.grant.retention_days else "at once"
    return (
        "The law may make them keep some of it, such as bills they have sent. "
        f"They must delete the rest {latest}, and say what they keep and why."
    )

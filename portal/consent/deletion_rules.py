"""Deleting what a company holds after somebody stopped: by when, what may stand in its way, and how that is said.

Pure Python, no I/O.  A company says of each detail that it is deleted, or that a law makes it keep the detail until a
day (GDPR articles 17(3) and 19); when that day has come the detail is to be deleted as if nothing had been said.
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from portal.consent import terms

if TYPE_CHECKING:
    from datetime import date, datetime

# Who keeps nothing after a stop still needs a moment to say so.
ANSWERED_WITHIN: Final = timedelta(days=1)
# How long before a detail is due its company is written to.
WARNED_BEFORE: Final = timedelta(days=7)
# No law that the reasons below speak of makes anybody keep a detail for longer without looking again.
LONGEST_HOLD: Final = timedelta(days=3653)
LONGEST_WORDS: Final = 80
# How often a company may say of one consent what it must keep.
HOLDS_A_DAY: Final = 10
# Room for the name of a law, and for no address, number or date.
WORDS: Final = r"^[^\W\d_]+(?:[ ,.()'-]+[^\W\d_]+)*[.)]*$"


class State(StrEnum):
    """How far the deletion of one detail is; `lifted` is one that its person shares for the same use again."""

    ASKED = "asked"
    HELD = "held"
    DELETED = "deleted"
    LIFTED = "lifted"


OPEN: Final = (State.ASKED, State.HELD)
# The steps in a grant's life that are about deleting, beside the wish itself.
CONFIRMED, HELD, DUE_AGAIN = "deletion-confirmed", "deletion-held", "deletion-due"
REASONS: Final = MappingProxyType(
    {
        "accounts": "the law makes them keep their accounts and tax papers",
        "other-law": "another law makes them keep it",
        "legal-claim": "they need it for a legal claim",
        "not-settled": "something between you and them is not paid or settled yet",
        "authority": "an authority has ordered them to keep it",
    }
)


def due(*, changed_at: datetime, expires_at: datetime | None, retention_days: int, asked_at: datetime) -> datetime:
    """Return by when what was received under a grant that is over is to be deleted, and that said."""
    gone = terms.delete_by(changed_at=changed_at, expires_at=expires_at, retention_days=retention_days)
    return max(gone, asked_at + ANSWERED_WITHIN)


def overdue(*, state: str, due_at: datetime, now: datetime) -> bool:
    """Say whether a company has let the day pass without saying that a detail is deleted."""
    return state in OPEN and due_at <= now


def hold_fits(until: date, *, today: date) -> bool:
    """Say whether a hold may end on this day: it lies ahead, and not too far off."""
    return today < until <= today + LONGEST_HOLD

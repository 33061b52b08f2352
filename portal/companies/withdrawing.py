"""Withdrawing a purpose, for good: by its company, or by an operator who takes it down and says why.

From that moment nobody is asked for it, and nothing leaves under it: whoever decides reads `purpose.withdrawn_at`.
What people shared for it is ended soon after (`consent.withdrawn`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select, update

from portal import events
from portal.companies import letters, purpose_queries, versions
from portal.companies.models import Client, Purpose, PurposeVersion
from portal.companies.queries import COMPANY, OPERATOR
from portal.errors import RefusedError

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.orm import Session


class NotInUseError(RefusedError):
    code = "purpose-not-in-use"
    status = 409
    public = "This purpose is not in use any more. What you just sent changed nothing."


@dataclass(frozen=True, kw_only=True)
class Unclosed:
    """A purpose that is withdrawn while people may still share for it; `role` is who withdrew it."""

    purpose_id: UUID
    client_id: str
    withdrawn_at: datetime
    role: str


def withdraw(session: Session, *, client_id: str, code: str, by: UUID | None, now: datetime) -> None:
    """Withdraw a purpose of a client, as its company wishes; `by` is who of its staff, None for its program.

    Raises `NotFoundError`, also where it is withdrawn.
    """
    _withdraw(session, versions.held(session, client_id, code), COMPANY, by=by, words="", now=now)


def take_down(session: Session, *, purpose_id: UUID, by: UUID, words: str, now: datetime) -> None:
    """Withdraw a purpose against its company's will, and write to it why.

    `by` is the operator.  Raises `NotFoundError`, `versions.OwnPurposeError` and `NotInUseError`.
    """
    purpose = versions.of_any(session, purpose_id, operator_id=by)
    if purpose.version is None or purpose.withdrawn_at is not None:
        raise NotInUseError
    client = session.get_one(Client, purpose.client_id)
    said = session.get_one(PurposeVersion, (purpose_id, purpose.version))
    _withdraw(session, purpose, OPERATOR, by=by, words=words, now=now)
    about = {
        "app": client.name, "client_id": client.client_id, "code": purpose.code, "sentence": said.sentence,
        "words": words,
    }  # fmt: skip
    letters.write(
        session, company_id=client.company_id, client_id=client.client_id, kind=letters.PURPOSE_TAKEN_DOWN, about=about,
        now=now,
    )  # fmt: skip


def unclosed(session: Session) -> list[Unclosed]:
    """Return the purposes that are withdrawn and not closed, the longest withdrawn first, held still."""
    left = Purpose.withdrawn_at.is_not(None), Purpose.closed_at.is_(None)
    found = select(Purpose).where(*left).order_by(Purpose.withdrawn_at)
    return [
        Unclosed(
            purpose_id=row.purpose_id, client_id=row.client_id, withdrawn_at=row.withdrawn_at,
            role=row.withdrawn_role or COMPANY,
        )
        for row in session.scalars(found.with_for_update(skip_locked=True))
        if row.withdrawn_at is not None
    ]  # fmt: skip


def close(session: Session, *, purpose_id: UUID, now: datetime) -> None:
    """Note that nobody shares for a purpose any more."""
    session.execute(update(Purpose).where(Purpose.purpose_id == purpose_id).values(closed_at=now))


def _withdraw(session: Session, purpose: Purpose, role: str, *, by: UUID | None, words: str, now: datetime) -> None:
    purpose.withdrawn_at, purpose.withdrawn_role, purpose.withdrawn_by = now, role, by
    purpose.withdrawn_words = words
    # Nobody has to look any more at what was to come next.
    open_ones = PurposeVersion.purpose_id == purpose.purpose_id, PurposeVersion.state.in_(purpose_queries.OPEN)
    session.execute(update(PurposeVersion).where(*open_ones).values(state=purpose_queries.REPLACED))
    session.flush()
    events.announce(session, events.PurposeWithdrawn(purpose_id=purpose.purpose_id, at=now))

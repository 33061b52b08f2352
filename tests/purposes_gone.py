"""Withdrawing a purpose, as its company or an operator does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from portal import db
from portal.companies import queries, withdrawing
from portal.companies.queries import COMPANY, OPERATOR

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.orm import Session

ROLES: Final = (COMPANY, OPERATOR)
WHY: Final = "It is not what people were told."


def withdraw(session: Session, purpose_id: UUID, role: str) -> None:
    """Withdraw a purpose in use."""
    if role == OPERATOR:
        withdrawing.take_down(session, purpose_id=purpose_id, by=db.new_id(), words=WHY, now=db.now())
        return
    purpose = queries.purpose(session, purpose_id)
    assert purpose
    withdrawing.withdraw(session, client_id=purpose.client_id, code=purpose.code, by=db.new_id(), now=db.now())

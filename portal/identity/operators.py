"""Who looks after the portal: accounts that somebody at its command line has named, and nobody else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import insert

from portal.errors import NotFoundError
from portal.identity import queries
from portal.identity.models import Operator

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.orm import Session

    from portal.vault.keyring import Keyring


class NoAccountError(NotFoundError):
    code = "no-account"
    public = "Nobody has an account with this address: they create one first."


def add(session: Session, *, keyring: Keyring, email: str, now: datetime) -> None:
    """Let the account with this address look after the portal; adding it again changes nothing.

    Raises `NoAccountError`.
    """
    row = insert(Operator).values(person_id=_account(session, keyring, email), added_at=now)
    session.execute(row.on_conflict_do_nothing())


def remove(session: Session, *, keyring: Keyring, email: str) -> None:
    """Take that away again, from the next page on; raise `NoAccountError`."""
    session.execute(delete(Operator).where(Operator.person_id == _account(session, keyring, email)))


def _account(session: Session, keyring: Keyring, email: str) -> UUID:
    found = queries.find_person(session, keyring=keyring, email=email)
    if found is None:
        raise NoAccountError
    return found

"""How an app is told of changes for one of its purposes: what it sets without a new consent, because less leaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select

from portal import events
from portal.companies import queries
from portal.companies.models import Purpose
from portal.errors import NotFoundError

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Select
    from sqlalchemy.orm import Session


@dataclass(frozen=True, kw_only=True)
class Telling:
    """`thin`: told that something changed, and fetches it.  `strict`: a message leaves with the consent held still."""

    sentence: str
    thin: bool
    strict: bool


def find(session: Session, *, client_id: str, code: str) -> Telling:
    """Return how a purpose in use is told of; raise NotFoundError when the app has none of that code."""
    row, said = session.scalar(_purpose(client_id, code)), queries.purpose_by_code(session, client_id, code)
    if row is None or said is None:
        raise NotFoundError
    return Telling(sentence=said.sentence, thin=row.thin, strict=row.strict)


def choose(session: Session, *, client_id: str, code: str, thin: bool, strict: bool, now: datetime) -> None:
    """Tell an app so from now on; who was only told that something changed, and is told all again, gets it all."""
    row = session.scalar(_purpose(client_id, code).with_for_update())
    if row is None:
        raise NotFoundError
    fuller = row.thin and not thin
    row.thin, row.strict = thin, strict
    session.flush()
    if fuller:
        events.announce(session, events.ToldInFull(client_id=client_id, purpose_id=row.purpose_id, at=now))


def _purpose(client_id: str, code: str) -> Select[Purpose]:
    return select(Purpose).where(Purpose.client_id == client_id, Purpose.code == code, Purpose.withdrawn_at.is_(None))

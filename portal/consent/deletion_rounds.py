"""Saying of many details at once that they are deleted: chosen, counted, and then said of all of them or of none."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID

from sqlalchemy import func, select, tuple_

from portal.consent import deletion_rules as rules
from portal.consent import deletions
from portal.consent.deletions import Said
from portal.consent.models import Deletion, Grant
from portal.errors import InvalidError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from sqlalchemy.orm import Session

# Each consent among them takes some ten statements, and all are held until the last is said.
MOST: Final = 400
_ORDER: Final = (Deletion.person_id, Deletion.grant_id, Deletion.attribute)


class ChangedError(RefusedError):
    """Some of what was chosen is settled, or shared again, since it was counted."""

    code = "deletions-changed"
    status = 409
    public = "Some of these details were settled since you chose them. Nothing was said yet: look at the rest again."


class UnreadableChoiceError(InvalidError):
    code = "choice-unreadable"
    public = "Choose from the details that the list shows."


class Key(NamedTuple):
    """One detail of one consent, as a page names it."""

    grant_id: UUID
    attribute: str

    def __str__(self) -> str:
        return f"{self.grant_id}~{self.attribute}"

    @classmethod
    def read(cls, given: str) -> Key:
        """Return what a page of ours named; raise `UnreadableChoiceError` for anything else."""
        grant_id, _between, attribute = given.partition("~")
        try:
            return cls(UUID(grant_id), attribute)
        except ValueError:
            raise UnreadableChoiceError from None


class Confirmed(NamedTuple):
    """Of how many details of how many people it was said that they are deleted."""

    details: int
    people: int


def open_ones(session: Session, *, client_ids: Collection[str], keys: Collection[Key]) -> list[Deletion]:
    """Return those of the details that these clients are still to delete, at most `MOST`, one consent after another."""
    named = tuple_(Deletion.grant_id, Deletion.attribute).in_([tuple(key) for key in keys])
    theirs = select(Deletion).where(named, Deletion.client_id.in_(client_ids), Deletion.state.in_(rules.OPEN))
    return list(session.scalars(theirs.order_by(*_ORDER).limit(MOST)))


def whole(
    session: Session, *, client_ids: Collection[str], wanted: str, now: datetime, person_id: UUID | None = None
) -> tuple[list[Deletion], int]:
    """Return the most pressing details of a list, at most `MOST`, and how many it has; what is held back is left out.

    `wanted` is one of `deletions.LISTS`; `person_id` narrows to one person.
    """
    which = [Deletion.client_id.in_(client_ids), *deletions.LISTS[wanted](now), Deletion.state == rules.State.ASKED]
    which += [Deletion.person_id == person_id] if person_id else []
    found = session.scalars(select(Deletion).where(*which).order_by(Deletion.due_at, *_ORDER).limit(MOST))
    return list(found), session.scalar(select(func.count()).select_from(Deletion).where(*which)) or 0


def confirm(session: Session, *, client_ids: Collection[str], keys: Collection[Key], now: datetime) -> Confirmed:
    """Say of all these details that they are deleted; raise `ChangedError`, with nothing said, where one is settled."""
    rows = _held(session, open_ones(session, client_ids=client_ids, keys=keys))
    if len(rows) < len(set(keys)):
        raise ChangedError
    for (person_id, grant_id), theirs in groupby(rows, key=lambda row: (row.person_id, row.grant_id)):
        said = [Said(attribute=row.attribute, deleted=True) for row in theirs]
        deletions.answer(session, person_id=person_id, grant_id=grant_id, said=said, channel="page", now=now)
    return Confirmed(len(rows), len({row.person_id for row in rows}))


def _held(session: Session, rows: Sequence[Deletion]) -> list[Deletion]:
    """Return those of the rows that are still open, all held still, each consent before its rows."""
    grants, keys = {(row.person_id, row.grant_id) for row in rows}, [_key(row) for row in rows]
    # In the order in which whoever discloses holds them.
    theirs = select(Grant.grant_id).where(tuple_(Grant.person_id, Grant.grant_id).in_(grants))
    session.execute(theirs.order_by(Grant.person_id, Grant.grant_id).with_for_update())
    still = select(Deletion).where(tuple_(*_ORDER).in_(keys), Deletion.state.in_(rules.OPEN)).order_by(*_ORDER)
    return list(session.scalars(still.with_for_update().execution_options(populate_existing=True)))


def _key(row: Deletion) -> tuple[UUID, UUID, str]:
    return row.person_id, row.grant_id, row.attribute

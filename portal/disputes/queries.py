"""Looking up questions about rows of people's logs, and what was said about each."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from sqlalchemy import func, select, tuple_

from portal.disputes import rules
from portal.disputes.models import Dispute, DisputeStep
from portal.vault import persons

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from uuid import UUID

    from sqlalchemy.orm import Session

    from portal.vault.keyring import Keyring
    from portal.vault.persons import PersonVault

    Cursor = tuple[datetime, UUID]

CHOICE: Final = "dispute.choice"
WORDS: Final = "dispute.words"
_LISTED: Final = 50
# When what no time runs for would be due.
_NEVER: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Said:
    """One step, opened: who took it and when, what they chose and wrote; `due_at` is what it set."""

    number: int
    at: datetime
    step: str
    actor: str
    reason: str | None
    due_at: datetime | None
    choice: str = field(repr=False)
    words: str = field(repr=False)


def open_disputes(session: Session, company_id: UUID) -> int:
    """Return how many questions stand against a company: it owes an answer, or the operator looks into it."""
    return open_by_company(session, [company_id]).get(company_id, 0)


def open_by_company(session: Session, company_ids: Collection[UUID]) -> dict[UUID, int]:
    """Return how many questions stand against each of these companies; one without any is absent."""
    counted = (
        select(Dispute.company_id, func.count())
        .where(Dispute.company_id.in_(company_ids), Dispute.state.in_(rules.OPEN))
        .group_by(Dispute.company_id)
    )
    return {company_id: count for company_id, count in session.execute(counted) if company_id is not None}


def escalated(session: Session) -> int:
    """Return how many questions wait for an operator to decide."""
    counted = select(func.count()).where(Dispute.state == rules.ESCALATED)
    return session.scalars(counted).one()


def one(session: Session, *, person_id: UUID, disclosure_id: UUID) -> Dispute | None:
    """Return the question about one of a person's rows; None where they have not asked."""
    return session.get(Dispute, (person_id, disclosure_id), populate_existing=True)


def by_row(session: Session, *, disclosure_id: UUID, company_id: UUID | None = None) -> Dispute | None:
    """Return the question about a row whoever's it is, for the operator, or for the company it was put to alone."""
    found = select(Dispute).where(Dispute.disclosure_id == disclosure_id)
    if company_id is not None:
        found = found.where(Dispute.company_id == company_id)
    return session.scalars(found.execution_options(populate_existing=True)).one_or_none()


def of_rows(session: Session, *, person_id: UUID, disclosure_ids: Collection[UUID]) -> dict[UUID, Dispute]:
    """Return what a person asked about these rows, by row."""
    mine = select(Dispute).where(Dispute.person_id == person_id, Dispute.disclosure_id.in_(disclosure_ids))
    return {held.disclosure_id: held for held in session.scalars(mine)}


def of_person(session: Session, *, person_id: UUID) -> Sequence[Dispute]:
    """Return a person's latest fifty questions, those first that wait for them."""
    mine = select(Dispute).where(Dispute.person_id == person_id)
    order = (Dispute.state == rules.ANSWERED).desc(), Dispute.state.in_(rules.OPEN).desc(), Dispute.changed_at.desc()
    return session.scalars(mine.order_by(*order).limit(_LISTED)).all()


def count_of_person(session: Session, *, person_id: UUID) -> int:
    """Return how many questions a person has asked."""
    counted = select(func.count()).where(Dispute.person_id == person_id)
    return session.scalars(counted).one()


def answered(session: Session, *, person_id: UUID) -> Sequence[Dispute]:
    """Return the questions that were answered and wait for the person to say whether that settles them."""
    mine = select(Dispute).where(Dispute.person_id == person_id, Dispute.state == rules.ANSWERED)
    return session.scalars(mine.order_by(Dispute.changed_at).limit(_LISTED)).all()


def open_of_company(
    session: Session,
    *,
    company_id: UUID,
    client_id: str | None = None,
    after: Cursor | None = None,
    limit: int = _LISTED,
) -> Sequence[Dispute]:
    """Return the questions that stand against a company, the most pressing first; those with the operator are last.

    `client_id` narrows them to one of its apps, `after` = (`pressing`, row) to what follows that.
    """
    theirs = select(Dispute).where(Dispute.company_id == company_id, Dispute.state.in_(rules.OPEN))
    if client_id is not None:
        theirs = theirs.where(Dispute.client_id == client_id)
    due = func.coalesce(Dispute.due_at, _NEVER)
    if after is not None:
        theirs = theirs.where(tuple_(due, Dispute.disclosure_id) > after)
    return session.scalars(theirs.order_by(due, Dispute.disclosure_id).limit(limit)).all()


def pressing(held: Dispute) -> datetime:
    """Return by when a question stands in a company's list: what no time runs for is last."""
    return held.due_at or _NEVER


def owed(session: Session, *, company_id: UUID) -> tuple[int, datetime | None]:
    """Return how many questions a company is to answer or to mend, and by when the first of them."""
    theirs = Dispute.company_id == company_id, Dispute.state.in_(rules.OPEN), Dispute.state != rules.ESCALATED
    count, soonest = session.execute(select(func.count(), func.min(Dispute.due_at)).where(*theirs)).one()
    return count, soonest


def earlier_of_company(
    session: Session, *, company_id: UUID, before: Cursor | None = None, limit: int = _LISTED
) -> Sequence[Dispute]:
    """Return what was put to a company and is answered, newest first, older than `before` = (opened_at, row)."""
    theirs = select(Dispute).where(Dispute.company_id == company_id, Dispute.state.not_in(rules.OPEN))
    if before is not None:
        theirs = theirs.where(tuple_(Dispute.opened_at, Dispute.disclosure_id) < before)
    order = Dispute.opened_at.desc(), Dispute.disclosure_id.desc()
    return session.scalars(theirs.order_by(*order).limit(limit)).all()


def for_operator(session: Session, *, after: Cursor | None = None, limit: int = _LISTED) -> Sequence[Dispute]:
    """Return the questions that wait for an operator, the longest waiting first, behind `after` = (changed_at, row)."""
    waiting = select(Dispute).where(Dispute.state == rules.ESCALATED)
    if after is not None:
        waiting = waiting.where(tuple_(Dispute.changed_at, Dispute.disclosure_id) > after)
    return session.scalars(waiting.order_by(Dispute.changed_at, Dispute.disclosure_id).limit(limit)).all()


def decided(session: Session, *, before: Cursor | None = None, limit: int = _LISTED) -> Sequence[Dispute]:
    """Return what was decided, the latest first, that which is being mended included; `before` as `after` above."""
    latest = select(Dispute).where(Dispute.state.in_((rules.DECIDED, rules.MENDING)))
    if before is not None:
        latest = latest.where(tuple_(Dispute.changed_at, Dispute.disclosure_id) < before)
    order = Dispute.changed_at.desc(), Dispute.disclosure_id.desc()
    return session.scalars(latest.order_by(*order).limit(limit)).all()


def steps(session: Session, *, keyring: Keyring, held: Dispute) -> list[Said]:
    """Return everything that was said about a question, oldest first; nothing of the person's own is left closed."""
    mine = select(DisputeStep).where(
        DisputeStep.person_id == held.person_id, DisputeStep.disclosure_id == held.disclosure_id
    )
    vault = persons.unlock(session, keyring=keyring, person_id=held.person_id)
    return [_said(vault, row) for row in session.scalars(mine.order_by(DisputeStep.number))]


def sealed_as(what: str, disclosure_id: UUID) -> str:
    """Return the attribute that words about one row are sealed as, so that they are of no other row."""
    return f"{what}.{disclosure_id}"


def _said(vault: PersonVault, row: DisputeStep) -> Said:
    def opened(what: str, sealed: bytes | None) -> str:
        return "" if sealed is None else vault.open(sealed_as(what, row.disclosure_id), row.number, sealed)

    return Said(
        number=row.number,
        at=row.at,
        step=row.step,
        actor=row.actor,
        reason=row.reason,
        due_at=row.due_at,
        choice=opened(CHOICE, row.sealed_choice),
        words=opened(WORDS, row.sealed_words),
    )

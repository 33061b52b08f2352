"""Reading the disclosure log: a person's own, and a company's part of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import case, func, lateral, literal, select, true, tuple_

from portal.ledger.models import Disclosure, DisclosureContext, DisclosureOutcome
from portal.ledger.refusals import FILLED

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import Row, Select
    from sqlalchemy.orm import Session

    Cursor = tuple[datetime, UUID]

# What these rows say is that nothing left, or that the person decided something.
_NOTHING_LEFT = ("denied", "suppressed")
# Steps of the person's own and the news of them: nothing was disclosed.
WITHOUT_DETAILS = ("consent", "notice")
# Nor by telling a company whether its copy is up to date: yes or no is not the detail.
_NOT_SENT = (*WITHOUT_DETAILS, "drift")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One disclosure with its words and its latest outcome: what was reported last, but `completed` wins.

    `outcome` stays `sending` until something was reported.  `given` maps attributes to versions.
    """

    person_id: UUID
    at: datetime
    disclosure_id: UUID
    company_id: UUID
    client_id: str
    company_name: str
    purpose: str
    channel: str
    outcome: str
    reason: str | None
    asked: Sequence[str]
    given: dict[str, Any]
    grant_id: UUID | None
    grant_version: int | None
    message_id: str | None
    reported_at: datetime | None
    detail: str | None
    milliseconds: int | None


_latest = lateral(
    select(DisclosureOutcome)
    .where(
        DisclosureOutcome.person_id == Disclosure.person_id,
        DisclosureOutcome.at == Disclosure.at,
        DisclosureOutcome.disclosure_id == Disclosure.disclosure_id,
    )
    .order_by((DisclosureOutcome.outcome == "completed").desc(), DisclosureOutcome.reported_at.desc())
    .limit(1)
).alias("latest")
_outcome = case(
    (Disclosure.outcome == "completed", Disclosure.outcome),
    else_=func.coalesce(_latest.c.outcome, Disclosure.outcome),
)


def of_person(
    session: Session,
    *,
    person_id: UUID,
    limit: int = 50,
    before: Cursor | None = None,
    company_id: UUID | None = None,
    grant_id: UUID | None = None,
    month: tuple[datetime, datetime] | None = None,
    decisions: bool = True,
) -> list[Entry]:
    """Return a person's rows, newest first, older than `before` = (at, disclosure_id) of the last one seen.

    `month` is a half-open span of time; the ids narrow to one organisation or one sharing.  Without `decisions`
    only what companies asked for and were sent is there, and not what the person decided.
    """
    query = _entries().where(Disclosure.person_id == person_id)
    if not decisions:
        query = query.where(Disclosure.channel.not_in(WITHOUT_DETAILS))
    if company_id is not None:
        query = query.where(DisclosureContext.company_id == company_id)
    if grant_id is not None:
        query = query.where(Disclosure.grant_id == grant_id)
    if month is not None:
        query = query.where(Disclosure.at >= month[0], Disclosure.at < month[1])
    return _page(session, query, limit, before)


def one(session: Session, *, person_id: UUID, disclosure_id: UUID) -> Entry | None:
    """Return one of a person's rows; None when it is not theirs."""
    query = _entries().where(Disclosure.person_id == person_id, Disclosure.disclosure_id == disclosure_id)
    return next(iter(_page(session, query, 1, None)), None)


def filled(session: Session, *, person_id: UUID, entries: Sequence[Entry]) -> set[UUID]:
    """Return those of a person's `entries` after which refusals of the same kind are not all listed, for a day."""
    refused = [entry for entry in entries if entry.outcome == "denied"]
    if not refused:
        return set()
    times = [entry.at for entry in refused]
    values = {"oldest": min(times), "newest": max(times), "shown": [entry.disclosure_id for entry in refused]}
    return set(session.scalars(FILLED, {"person_id": person_id} | values))


def last_uses(session: Session, *, person_id: UUID) -> dict[UUID, tuple[datetime, int]]:
    """Return, for each grant that was used, when details last reached the company and how many times."""
    query = (
        select(Disclosure.grant_id, func.max(Disclosure.at), func.count())
        .select_from(Disclosure)
        .join(_latest, true(), isouter=True)
        .where(
            Disclosure.person_id == person_id,
            Disclosure.grant_id.is_not(None),
            Disclosure.channel.not_in(_NOT_SENT),
            _outcome == "completed",
        )
        .group_by(Disclosure.grant_id)
    )
    return {grant_id: (last, count) for grant_id, last, count in session.execute(query) if grant_id is not None}


def was_used(session: Session, *, person_id: UUID, grant_id: UUID) -> bool:
    """Say whether anything was sent under a grant, received or not: "just this once" is then used up."""
    query = select(literal(1)).where(
        Disclosure.person_id == person_id,
        Disclosure.grant_id == grant_id,
        Disclosure.channel.not_in(_NOT_SENT),
        Disclosure.outcome.not_in(_NOTHING_LEFT),
    )
    return session.execute(query.limit(1)).first() is not None


def companies_of_person(session: Session, *, person_id: UUID) -> list[tuple[UUID, str]]:
    """Return (company_id, name) of every organisation in a person's log, by name; the newest name of each."""
    query = (
        select(DisclosureContext.company_id, DisclosureContext.company_name)
        .join(Disclosure, Disclosure.context_id == DisclosureContext.context_id)
        .where(Disclosure.person_id == person_id)
        .group_by(DisclosureContext.company_id, DisclosureContext.company_name)
        .order_by(func.max(Disclosure.at))
    )
    names = {row.company_id: row.company_name for row in session.execute(query)}
    return sorted(names.items(), key=lambda item: item[1].casefold())


def months_of_person(session: Session, *, person_id: UUID, zone: str) -> list[datetime]:
    """Return the first moment of each month (in `zone`) that has a row, newest first."""
    month = func.date_trunc("month", Disclosure.at, zone)
    query = select(month).where(Disclosure.person_id == person_id).group_by(month).order_by(month.desc())
    return list(session.scalars(query))


def _entries() -> Select[Any]:
    return (
        select(
            Disclosure,
            DisclosureContext,
            _outcome.label("latest_outcome"),
            _latest.c.reported_at,
            _latest.c.detail,
            _latest.c.milliseconds,
        )
        .join(DisclosureContext, DisclosureContext.context_id == Disclosure.context_id)
        .join(_latest, true(), isouter=True)
    )


def _page(session: Session, query: Select[Any], limit: int, before: Cursor | None) -> list[Entry]:
    if before is not None:
        at, disclosure_id = before
        # The first condition is implied, but it is the one by which PostgreSQL skips whole months.
        older = tuple_(Disclosure.at, Disclosure.disclosure_id) < tuple_(literal(at), literal(disclosure_id))
        query = query.where(Disclosure.at <= at, older)
    ordered = query.order_by(Disclosure.at.desc(), Disclosure.disclosure_id.desc()).limit(limit)
    return [_entry(row) for row in session.execute(ordered)]


def _entry(row: Row[Any]) -> Entry:
    disclosure, words = row.Disclosure, row.DisclosureContext
    return Entry(
        person_id=disclosure.person_id,
        at=disclosure.at,
        disclosure_id=disclosure.disclosure_id,
        company_id=words.company_id,
        client_id=words.client_id,
        company_name=words.company_name,
        purpose=words.purpose,
        channel=disclosure.channel,
        outcome=row.latest_outcome,
        reason=disclosure.reason,
        asked=disclosure.asked,
        given=disclosure.given,
        grant_id=disclosure.grant_id,
        grant_version=disclosure.grant_version,
        message_id=disclosure.message_id,
        reported_at=row.reported_at,
        detail=row.detail,
        milliseconds=row.milliseconds,
    )

"""Reading the disclosure log: a person's own, and a company's part of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import and_, any_, case, func, lateral, literal, not_, or_, select, text, true, tuple_

from portal.ledger import rules
from portal.ledger.models import Disclosure, DisclosureContext, DisclosureOutcome
from portal.ledger.refusals import FILLED

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date, datetime
    from uuid import UUID

    from sqlalchemy import Select
    from sqlalchemy.orm import Session

    Cursor = tuple[datetime, UUID]

_AT_ONCE: Final = 1000
# What these rows say is that nothing left, or that the person decided something.
_NOTHING_LEFT = ("denied", "suppressed")
# Steps of the person's own and the news of them, and looks at how it goes: nothing was disclosed.  Nor was it by
# telling a company whether its copy is up to date: yes or no is not the detail.
_NOT_SENT = ("consent", "notice", "staff", "operator", "drift")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which of a person's rows are looked for.

    The ids narrow to one organisation or one sharing, `attribute` to what was asked or given of one detail; `month` is
    a half-open span of time.  Without `decisions` only what others did is there, and not what the person decided.
    """

    company_id: UUID | None = None
    grant_id: UUID | None = None
    attribute: str | None = None
    month: tuple[datetime, datetime] | None = None
    decisions: bool = True


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
    sealed_to: Sequence[str] | None
    reported_at: datetime | None
    detail: str | None
    milliseconds: int | None


class Burst(NamedTuple):
    """How often an organisation asked on one day, and at most on any of the 30 before."""

    asked: int
    most: int


class Place(NamedTuple):
    """Where an entry stands in the log: as leaf `leaf`, counted from 0, and as the person's own `n`, counted from 1."""

    leaf: int
    n: int


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
_COLUMNS = (
    Disclosure.person_id, Disclosure.at, Disclosure.disclosure_id, DisclosureContext.company_id,
    DisclosureContext.client_id, DisclosureContext.company_name, DisclosureContext.purpose, Disclosure.channel,
    Disclosure.reason, Disclosure.asked, Disclosure.given, Disclosure.grant_id, Disclosure.grant_version,
    Disclosure.message_id, Disclosure.sealed_to,
)  # fmt: skip
_outcome = case(
    (Disclosure.outcome == "completed", Disclosure.outcome),
    else_=func.coalesce(_latest.c.outcome, Disclosure.outcome),
)
_why = func.coalesce(Disclosure.reason, "")
_DECIDED = or_(
    and_(Disclosure.channel == "consent", _why.not_in(tuple(rules.BY_OTHERS))),
    and_(Disclosure.channel == "notice", _why.not_in(rules.TELLING)),
)
_PLACES = text("""
    SELECT leaf, n FROM log_entry
     WHERE person_id = :person_id AND at = :at AND disclosure_id = :disclosure_id
       AND log_id = (SELECT max(log_id) FROM log) ORDER BY leaf
""")
_BURSTS = text("""
    WITH daily AS (
        SELECT x.company_id, CAST(d.at AT TIME ZONE :zone AS date) AS day, count(*) AS asked
          FROM disclosure d JOIN disclosure_context x ON x.context_id = d.context_id
         WHERE d.person_id = :person_id AND d.channel = ANY(:asking)
           AND d.at >= CAST(:first AS timestamptz) - interval '31 days' AND d.at < :last
         GROUP BY 1, 2),
    usual AS (
        SELECT company_id, day, asked, coalesce(max(asked) OVER (
                   PARTITION BY company_id ORDER BY day
                   RANGE BETWEEN interval '30 days' PRECEDING AND interval '1 day' PRECEDING), 0) AS most
          FROM daily)
    SELECT company_id, day, asked, most FROM usual
     WHERE asked >= :least AND asked > :times * most
       AND day >= CAST(CAST(:first AS timestamptz) AT TIME ZONE :zone AS date)
""")


def of_person(
    session: Session,
    *,
    person_id: UUID,
    limit: int = 50,
    before: Cursor | None = None,
    wanted: Wanted | None = None,
) -> list[Entry]:
    """Return a person's rows as `wanted`, newest first, older than `before` = (at, disclosure_id) of the last seen."""
    return _page(session, _of(person_id, wanted or Wanted()), limit, before)


def each_of_person(session: Session, *, person_id: UUID, wanted: Wanted) -> Iterator[Entry]:
    """Yield all that is `wanted` of a person's rows, newest first, some at a time: there may be very many."""
    # Whoever stops listening leaves nothing open.
    with session.execute(_in_order(_of(person_id, wanted)), execution_options={"yield_per": _AT_ONCE}) as rows:
        for row in rows.mappings():
            yield Entry(**row)


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


def first_of_person(session: Session, *, person_id: UUID) -> datetime | None:
    """Return how far back a person's log goes; None where there is nothing in it."""
    return session.scalar(select(func.min(Disclosure.at)).where(Disclosure.person_id == person_id))


def places(session: Session, *, person_id: UUID, entry: Entry) -> list[Place]:
    """Return where in the newest log a row stands, and then what became of it; nothing before it is in the log."""
    values = {"person_id": person_id, "at": entry.at, "disclosure_id": entry.disclosure_id}
    return [Place(*row) for row in session.execute(_PLACES, values)]


def bursts(
    session: Session, *, person_id: UUID, first: datetime, last: datetime, zone: str
) -> dict[tuple[UUID, date], Burst]:
    """Return, by (company_id, day), on which days between these moments an organisation asked unusually often.

    That is `rules.BURST_LEAST` times or more, and more than `rules.BURST_TIMES` times as often as on any of the 30 days
    before.  Refusals count.  `first` is the beginning of a day in `zone`.
    """
    values = {"person_id": person_id, "first": first, "last": last, "zone": zone}
    values |= {"least": rules.BURST_LEAST, "times": rules.BURST_TIMES, "asking": list(rules.ASKING)}
    return {(row.company_id, row.day): Burst(row.asked, row.most) for row in session.execute(_BURSTS, values)}


def _of(person_id: UUID, wanted: Wanted) -> Select[Any]:
    query = _entries().where(Disclosure.person_id == person_id)
    if not wanted.decisions:
        query = query.where(not_(_DECIDED))
    if wanted.company_id is not None:
        # A list that is read first: nobody's rows are looked through for those of a company.
        contexts = select(DisclosureContext.context_id).where(DisclosureContext.company_id == wanted.company_id)
        query = query.where(Disclosure.context_id == any_(func.array(contexts.scalar_subquery())))
    if wanted.grant_id is not None:
        query = query.where(Disclosure.grant_id == wanted.grant_id)
    if wanted.attribute is not None:
        asked, given = (func.jsonb_exists(column, wanted.attribute) for column in (Disclosure.asked, Disclosure.given))
        query = query.where(asked | given)
    if wanted.month is not None:
        query = query.where(Disclosure.at >= wanted.month[0], Disclosure.at < wanted.month[1])
    return query


def _entries() -> Select[Any]:
    return (
        select(*_COLUMNS, _outcome.label("outcome"), _latest.c.reported_at, _latest.c.detail, _latest.c.milliseconds)
        .join(DisclosureContext, DisclosureContext.context_id == Disclosure.context_id)
        .join(_latest, true(), isouter=True)
    )


def _page(session: Session, query: Select[Any], limit: int, before: Cursor | None) -> list[Entry]:
    if before is not None:
        at, disclosure_id = before
        # The first condition is implied, but it is the one by which PostgreSQL skips whole months.
        older = tuple_(Disclosure.at, Disclosure.disclosure_id) < tuple_(literal(at), literal(disclosure_id))
        query = query.where(Disclosure.at <= at, older)
    return [Entry(**row) for row in session.execute(_in_order(query).limit(limit)).mappings()]


def _in_order(query: Select[Any]) -> Select[Any]:
    return query.order_by(Disclosure.at.desc(), Disclosure.disclosure_id.desc())

"""What the staff of a company look up about what was sent to it: attempts, what waits, how well its endpoint does."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import func, select, text, tuple_, union_all

from portal.db import Base
from portal.sync import messages
from portal.sync.models import Attempt, Delivery, Stream

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import date, datetime
    from uuid import UUID

    from sqlalchemy import Row, Select
    from sqlalchemy.orm import Session

    Cursor = tuple[datetime, UUID]

# No index knows what an attempt is about, and next to none how it ended: of each client so many are looked at for one
# page, however few of them are what is looked for.
LOOKED_AT: Final = 20_000
# What of the messages' own results each word of the filter means; `waiting` and `held` are of what is still owed.
RESULTS = {"delivered": ("completed",), "failed": ("failed", "unknown"), "not-sent": ("suppressed",)}
OWED = ("waiting", "held")
# Events by the last part of their names, which is what a page says.
KINDS = {
    uri.replace("/", ":").rpartition(":")[2]: uri
    for uri in (
        messages.PROFILE, messages.CONFIRMED, messages.CONSENT, messages.ERASURE, messages.VERIFICATION,
        messages.STREAM_UPDATED, messages.KEYS_CHANGED, messages.ENCRYPTION_KEY_IN_USE,
    )
}  # fmt: skip
_NAMES = {uri: name for name, uri in KINDS.items()}
# Without the payload, which only the page about one message shows.
_SHOWN = tuple(column for column in Base.metadata.tables["attempt"].columns if column.name != "payload")
_FIGURES = text("""
    SELECT count(*) FILTER (WHERE outcome = 'completed') AS delivered,
           count(*) FILTER (WHERE outcome IN ('failed', 'unknown')) AS failed,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY milliseconds) FILTER (WHERE outcome = 'completed') AS p50,
           percentile_cont(0.95) WITHIN GROUP (ORDER BY milliseconds) FILTER (WHERE outcome = 'completed') AS p95
      FROM attempt
     WHERE client_id = :client_id AND at > now() - interval '24 hours' AND channel <> 'poll'
""")
_DAYS = text("""
    SELECT (at AT TIME ZONE :zone)::date AS day, outcome, count(*)::int AS number
      FROM attempt WHERE client_id = ANY(:client_ids) AND at >= :since GROUP BY 1, 2
""")
_BACKLOG = text("""
    SELECT client_id, (count(*) FILTER (WHERE NOT held))::int AS waiting, (count(*) FILTER (WHERE held))::int AS held
      FROM delivery WHERE client_id = ANY(:client_ids) AND generation > acked_generation GROUP BY 1
""")
_NEXT_DUE = text("""
    SELECT LEAST(
        (SELECT due_at FROM delivery WHERE client_id = :client_id AND generation > acked_generation
          ORDER BY due_at LIMIT 1),
        (SELECT min(due_at) FROM stream_event WHERE client_id = :client_id AND delivered_at IS NULL))
""")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which attempts are looked for: those of `client_ids`, from `first` until before `last`."""

    client_ids: Sequence[str]
    result: str = ""
    kind: str = ""
    person_id: UUID | None = None
    first: datetime | None = None
    last: datetime | None = None


class Page(NamedTuple):
    """Rows of a list, and where it goes on: behind the cursor `older`, None when this was the end."""

    rows: Sequence[Any]
    older: Cursor | None


class Backlog(NamedTuple):
    """How many subscriptions of a client are owed something: those that wait for their time, and those held back."""

    waiting: int
    held: int


class Owed(NamedTuple):
    """What a subscription still waits for: when it is tried next, unless it is held; in flight until `leased_until`."""

    due_at: datetime
    held: bool
    leased_until: datetime | None
    generation: int


def kind(uri: str) -> str:
    """Return what a page calls an event of this type."""
    return _NAMES.get(uri, uri)


def attempts(session: Session, wanted: Wanted, *, limit: int, before: Cursor | None) -> Page:
    """Return attempts, newest first, behind the cursor `before`; each has every column but the payload.

    A page has `limit` at most, and fewer, or none, where none of `LOOKED_AT` more was what is looked for.
    """
    each = [_of_client(client_id, wanted, limit + 1, before) for client_id in wanted.client_ids]
    if not each:
        return Page([], None)
    merged = union_all(*(select(one.subquery()) for one in each)).subquery()
    newest = select(merged).order_by(merged.c.at.desc(), merged.c.attempt_id.desc())
    found = session.execute(newest.limit(limit + 1)).all()
    if len(found) > limit:
        return Page(found[:limit], (found[limit - 1].at, found[limit - 1].attempt_id))
    reached = _reached(session, wanted, before)
    return Page([row for row in found if reached is None or (row.at, row.attempt_id) >= reached], reached)


def owed(session: Session, wanted: Wanted, *, limit: int, after: Cursor | None) -> Page:
    """Return what is still owed, `held` or waiting as `wanted.result` says, soonest first, behind the cursor.

    The rows are of `Delivery`.
    """
    found = select(Delivery).where(
        Delivery.client_id.in_(wanted.client_ids),
        Delivery.generation > Delivery.acked_generation,
        Delivery.held.is_(wanted.result == "held"),
    )
    if wanted.person_id:
        found = found.where(Delivery.person_id == wanted.person_id)
    if after:
        found = found.where(tuple_(Delivery.due_at, Delivery.grant_id) > after)
    rows = session.scalars(found.order_by(Delivery.due_at, Delivery.grant_id).limit(limit + 1)).all()
    return Page(rows[:limit], (rows[limit - 1].due_at, rows[limit - 1].grant_id) if len(rows) > limit else None)


def tries(session: Session, shown: Collection[Row[Any]]) -> dict[UUID, int]:
    """Return, by its id, the how manieth try of its message each attempt is."""
    named = {(one.client_id, one.jti) for one in shown}
    query = select(Attempt.client_id, Attempt.jti, Attempt.at).where(tuple_(Attempt.client_id, Attempt.jti).in_(named))
    times: dict[tuple[str, str], list[datetime]] = defaultdict(list)
    for client_id, jti, at in session.execute(query) if named else ():
        times[client_id, jti].append(at)
    return {one.attempt_id: sum(at <= one.at for at in times[one.client_id, one.jti]) for one in shown}


def still_owed(session: Session, pairs: Collection[tuple[UUID, UUID]]) -> dict[tuple[UUID, UUID], Owed]:
    """Return what is still owed of these (person, grant) pairs."""
    query = select(Delivery).where(
        tuple_(Delivery.person_id, Delivery.grant_id).in_(pairs), Delivery.generation > Delivery.acked_generation
    )
    rows = session.scalars(query) if pairs else ()
    return {(one.person_id, one.grant_id): owed_by(one) for one in rows}


def owed_by(delivery: Delivery) -> Owed:
    return Owed(delivery.due_at, delivery.held, delivery.leased_until, delivery.generation)


def message(session: Session, *, client_id: str, jti: str) -> Sequence[Attempt]:
    """Return every attempt of one message, in the order they were made."""
    mine = select(Attempt).where(Attempt.client_id == client_id, Attempt.jti == jti)
    return session.scalars(mine.order_by(Attempt.at, Attempt.attempt_id)).all()


def streams(session: Session, client_ids: Collection[str]) -> dict[str, Stream]:
    """Return where each of these clients is told."""
    found = session.scalars(select(Stream).where(Stream.client_id.in_(client_ids)))
    return {stream.client_id: stream for stream in found}


def figures(session: Session, *, client_id: str) -> Row[Any]:
    """Return delivered and failed in the last 24 hours, and p50 and p95 of what was delivered, in milliseconds."""
    return session.execute(_FIGURES, {"client_id": client_id}).one()


def next_due(session: Session, *, client_id: str) -> datetime | None:
    """Return when the first of all that is owed to a client, or its stream, is due; None where nothing is owed."""
    due: datetime | None = session.scalar(_NEXT_DUE, {"client_id": client_id})
    return due


def backlogs(session: Session, *, client_ids: Collection[str]) -> dict[str, Backlog]:
    """Return what clients are owed; a client that is owed nothing is in it too."""
    rows = session.execute(_BACKLOG, {"client_ids": list(client_ids)})
    found = {row.client_id: Backlog(row.waiting, row.held) for row in rows}
    return {client_id: found.get(client_id, Backlog(0, 0)) for client_id in client_ids}


def backlog(session: Session, *, client_id: str) -> Backlog:
    """Return what one client is owed."""
    return backlogs(session, client_ids=[client_id])[client_id]


def days(session: Session, *, client_ids: Collection[str], since: datetime, zone: str) -> list[tuple[date, str, int]]:
    """Return (day, outcome, count) of attempts from `since` on, by the days of `zone`."""
    rows = session.execute(_DAYS, {"client_ids": list(client_ids), "since": since, "zone": zone})
    return [(row.day, row.outcome, row.number) for row in rows]


def _of_client(client_id: str, wanted: Wanted, limit: int, before: Cursor | None) -> Select[Any]:
    looked_at = _in_order(client_id, wanted, before).limit(LOOKED_AT).subquery()
    found = select(looked_at)
    if wanted.result:
        found = found.where(looked_at.c.outcome.in_(RESULTS[wanted.result]))
    if wanted.kind:
        found = found.where(func.jsonb_exists(looked_at.c.kinds, KINDS[wanted.kind]))
    return found.order_by(looked_at.c.at.desc(), looked_at.c.attempt_id.desc()).limit(limit)


def _reached(session: Session, wanted: Wanted, before: Cursor | None) -> Cursor | None:
    """Return how far back was looked where that was not to the end; the nearest of all clients, to miss nothing."""
    place = (Attempt.at, Attempt.attempt_id)
    each = [_in_order(client_id, wanted, before).with_only_columns(*place) for client_id in wanted.client_ids]
    last = union_all(*(select(one.offset(LOOKED_AT - 1).limit(1).subquery()) for one in each))
    return max(((row.at, row.attempt_id) for row in session.execute(last)), default=None)


def _in_order(client_id: str, wanted: Wanted, before: Cursor | None) -> Select[Any]:
    """Select what an index finds of `wanted`, newest first."""
    found = select(*_SHOWN).where(Attempt.client_id == client_id)
    if before:
        found = found.where(tuple_(Attempt.at, Attempt.attempt_id) < before)
    if wanted.result in {"failed", "not-sent"}:
        # In the words of the index over what did not arrive.
        found = found.where(Attempt.outcome != "completed")
    if wanted.person_id:
        found = found.where(Attempt.person_id == wanted.person_id)
    if wanted.first:
        found = found.where(Attempt.at >= wanted.first)
    if wanted.last:
        found = found.where(Attempt.at < wanted.last)
    return found.order_by(Attempt.at.desc(), Attempt.attempt_id.desc())

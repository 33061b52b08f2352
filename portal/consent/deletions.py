"""What companies are to delete after somebody stopped: detail by detail, each with a day, until it is said to be done.

A wish begins it (`Grant.erasure_asked_at`); what the company says is a step in the grant's life, so that it stands in
the chain, in the receipt and in the log as everything else does.  The row of a detail says only how it stands now.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast
from uuid import UUID

from sqlalchemy import func, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from portal.consent import deletion_news, grants, queries, steps
from portal.consent import deletion_rules as rules
from portal.consent.deletion_rules import State
from portal.consent.models import Deletion, Grant, GrantVersion
from portal.consumer.catalogue import CATALOGUE
from portal.errors import InvalidError, RefusedError
from portal.ledger import holdings
from portal.web import dates

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from datetime import date

    from sqlalchemy import ColumnElement, Select
    from sqlalchemy.orm import Session

    from portal.events import GrantChanged

OPEN, OVERDUE, DONE, SOON = "open", "overdue", "done", "soon"
# Each takes some ten statements, with its grant held.
_AT_ONCE: Final = 100
_OPEN: Final = tuple(str(state) for state in rules.OPEN)
_PLACE: Final = {name: number for number, name in enumerate(CATALOGUE)}
_IS_OPEN: Final = Deletion.state.in_(_OPEN)
_ORDER: Final = (Deletion.due_at, Deletion.grant_id, Deletion.attribute)
# What each list of a company's holds, at a moment.
LISTS: Final[Mapping[str, Callable[[datetime], tuple[ColumnElement[bool], ...]]]] = MappingProxyType(
    {
        OPEN: lambda _now: (_IS_OPEN,),
        OVERDUE: lambda now: (_IS_OPEN, Deletion.due_at <= now),
        DONE: lambda _now: (Deletion.state.not_in(_OPEN),),
    }
)


class NotAskedToDeleteError(RefusedError):
    """Nobody asked for anything to be deleted under this grant."""

    code = "deletion-not-asked"
    status = 409
    public = "Nobody has asked you to delete what you have under this consent."


class SettledError(RefusedError):
    """A detail cannot be held any more: it is deleted, or shared again."""

    code = "deletion-settled"
    status = 409
    public = "You said that this detail is deleted, or the person shares it with you again."


class TooManyHoldsError(RefusedError):
    """Each is a step of the consent, in its record, its receipt and the log for good."""

    code = "too-many-holds"
    status = 429
    public = "You said ten times within a day what you must keep of this consent. Go on tomorrow."


class NotToDeleteError(InvalidError):
    code = "detail-not-to-delete"
    public = "This is not one of the details that were asked to be deleted."


class HoldDateError(InvalidError):
    code = "hold-date"
    public = "The day on which you will delete it must lie ahead, and not more than ten years from today."


class HoldReasonError(InvalidError):
    code = "hold-reason"
    public = "Say by one of the reasons why you must keep it."


class HoldWordsError(InvalidError):
    code = "hold-words"
    public = "Use a few words made of letters only, such as the name of a law."


@dataclass(frozen=True, kw_only=True)
class Said:
    """What a company says of one detail: deleted, or, with a reason of `rules.REASONS` and a day, kept till then."""

    attribute: str
    deleted: bool
    reason: str = ""
    until: date | None = None
    words: str = ""


class Cursor(NamedTuple):
    """The last detail that a list showed."""

    due_at: datetime
    grant_id: UUID
    attribute: str

    def __str__(self) -> str:
        return f"{self.due_at.isoformat()}~{self.grant_id}~{self.attribute}"

    @classmethod
    def read(cls, given: str) -> Cursor | None:
        """Return the cursor that a list of ours gave, None for none; raise `InvalidError` for anything else."""
        if not given:
            return None
        try:
            due_at, grant_id, attribute = given.split("~")
            moment = datetime.fromisoformat(due_at)
            found = cls(moment if moment.tzinfo else moment.replace(tzinfo=UTC), UUID(grant_id), attribute)
        except ValueError:
            found = None
        if found is None or attribute not in CATALOGUE:
            raise InvalidError("Start again from the first page of this list.", pointer="/after")
        return found


def on_grant_changed(session: Session, fact: GrantChanged) -> None:
    """Begin what a wish asks for, and let go of what is shared for the same use again; hears `events.GrantChanged`."""
    held = queries.grant(session, person_id=fact.person_id, grant_id=fact.grant_id)
    if held is None:
        return
    if held.state in queries.LIVE:
        _lift(session, held, fact.at)
    elif held.erasure_asked_at is not None:
        _begin(session, held, held.erasure_asked_at)


def of_grant(session: Session, *, person_id: UUID, grant_id: UUID) -> list[Deletion]:
    """Return how the deletion of each detail of a grant stands, in the catalogue's order; empty if none was asked."""
    return _in_order(session.scalars(_of_grant(person_id, grant_id)))


def of_person(session: Session, *, person_id: UUID) -> dict[UUID, list[Deletion]]:
    """Return all that a person asked to be deleted, by grant."""
    found: dict[UUID, list[Deletion]] = {}
    for row in _in_order(session.scalars(select(Deletion).where(Deletion.person_id == person_id))):
        found.setdefault(row.grant_id, []).append(row)
    return found


def answer(
    session: Session, *, person_id: UUID, grant_id: UUID, said: Sequence[Said], channel: str, now: datetime
) -> list[Deletion]:
    """Keep what a company says of details it was asked to delete, all of it or none; saying it again changes nothing.

    `channel` is `api` or `page`.  Raises NotFoundError, NotAskedToDeleteError, and with a pointer at
    `/details/<place in said>` NotToDeleteError, SettledError, HoldDateError, HoldReasonError or HoldWordsError;
    TooManyHoldsError at `/details`.
    """
    # Of two answers at once the second waits here, and then finds what the first has said.
    held = grants.locked(session, person_id, grant_id)
    # Somebody may share the same again at this moment.
    found = _in_order(session.scalars(_of_grant(person_id, grant_id).with_for_update()))
    rows = {row.attribute: row for row in found}
    if not rows:
        raise NotAskedToDeleteError
    for place, one in enumerate(said):
        _check(one, rows.get(one.attribute), place, now)
    done = [rows[one.attribute] for one in said if one.deleted and rows[one.attribute].state != State.DELETED]
    kept = [(rows[one.attribute], one) for one in said if not one.deleted and not _stands(rows[one.attribute], one)]
    if done:
        _confirm(session, held, done, channel, now)
    if kept:
        _keep(session, held, kept, channel, now)
    deletion_news.owe(session, person_id=person_id, deleted=len(done), held=len(kept), now=now)
    return found


def of_clients(
    session: Session,
    *,
    client_ids: Collection[str],
    wanted: str,
    limit: int,
    now: datetime,
    after: Cursor | None = None,
    person_id: UUID | None = None,
) -> tuple[list[Deletion], Cursor | None]:
    """Return details that these clients were asked to delete, and where to go on; `wanted` is one of `LISTS`.

    What is open comes the most pressing first, what is done the latest first; `person_id` narrows to one person.
    """
    key = tuple_(Deletion.due_at, Deletion.grant_id, Deletion.attribute)
    query = select(Deletion).where(Deletion.client_id.in_(client_ids), *LISTS[wanted](now))
    if person_id is not None:
        query = query.where(Deletion.person_id == person_id)
    if after is not None:
        query = query.where(key < tuple(after) if wanted == DONE else key > tuple(after))
    order = [each.desc() for each in _ORDER] if wanted == DONE else _ORDER
    rows = list(session.scalars(query.order_by(*order).limit(limit + 1)))
    found = rows[:limit]
    return found, _behind(found[-1]) if len(rows) > limit else None


def counts(
    session: Session, *, client_ids: Collection[str], now: datetime, soon: datetime | None = None
) -> dict[str, int]:
    """Return how many details are open, how many of them overdue, and how many more are due until `soon`."""
    late, coming = Deletion.due_at <= now, Deletion.due_at.between(now, soon or now)
    open_ones = select(func.count(), func.count().filter(late), func.count().filter(coming)).where(
        Deletion.client_id.in_(client_ids), _IS_OPEN
    )
    found = session.execute(open_ones).one()
    return dict(zip((OPEN, OVERDUE, SOON), found, strict=True))


def call_due(session: Session, *, now: datetime) -> int:
    """Call in what was held until a day that has come, of at most 100 grants at once; return of how many.

    Whoever looks sees it as due from that moment itself: this makes the record and the company's list say so.
    """
    over = select(Deletion.person_id, Deletion.grant_id).where(Deletion.state == State.HELD, Deletion.due_at <= now)
    found = session.execute(over.distinct().limit(_AT_ONCE)).all()
    return sum(_call(session, person_id, grant_id, now) for person_id, grant_id in found)


def _of_grant(person_id: UUID, grant_id: UUID) -> Select[Deletion]:
    mine = select(Deletion).where(Deletion.person_id == person_id, Deletion.grant_id == grant_id)
    return mine.order_by(Deletion.attribute).execution_options(populate_existing=True)


def _begin(session: Session, held: Grant, asked_at: datetime) -> None:
    # Nobody can delete what they never got: the log knows of each detail whether it was given, or may have been.
    given = holdings.of_person(session, person_id=held.person_id)
    names = {one.attribute for one in given if one.grant_id == held.grant_id}
    if not names:
        return
    due_at = rules.due(
        changed_at=held.changed_at, expires_at=held.expires_at, retention_days=held.retention_days, asked_at=asked_at
    )
    common = {"person_id": held.person_id, "grant_id": held.grant_id, "client_id": held.client_id}
    common |= {"state": State.ASKED, "asked_at": asked_at, "changed_at": asked_at, "due_at": due_at}
    common |= {"reason": "", "words": "", "warned": 0}
    rows = insert(Deletion).values([common | {"attribute": name} for name in sorted(names)])
    session.execute(rows.on_conflict_do_nothing())
    shared_again = queries.live_for_purpose(session, person_id=held.person_id, purpose_id=held.purpose_id)
    if shared_again is not None:
        _lift(session, shared_again, asked_at)


def _lift(session: Session, held: Grant, at: datetime) -> None:
    # What somebody shares for the same use again, the company may have: nobody can delete it and keep it up to date.
    same_use = select(Grant.grant_id).where(
        Grant.person_id == held.person_id, Grant.purpose_id == held.purpose_id, Grant.grant_id != held.grant_id
    )
    lifted = update(Deletion).where(
        Deletion.person_id == held.person_id,
        Deletion.grant_id.in_(same_use),
        Deletion.attribute.in_(held.attributes),
        _IS_OPEN,
    )
    lifted = lifted.values(state=State.LIFTED, changed_at=at, reason="", words="")
    session.execute(lifted.execution_options(synchronize_session=False))


def _check(said: Said, row: Deletion | None, place: int, now: datetime) -> None:
    here = f"/details/{place}"
    if row is None:
        raise NotToDeleteError(pointer=f"{here}/attribute")
    if said.deleted:
        return
    if row.state not in _OPEN:
        raise SettledError(pointer=here)
    if said.reason not in rules.REASONS:
        raise HoldReasonError(pointer=f"{here}/reason")
    if said.until is None or not rules.hold_fits(said.until, today=now.astimezone(dates.ZONE).date()):
        raise HoldDateError(pointer=f"{here}/until")
    if said.words and (len(said.words) > rules.LONGEST_WORDS or not re.fullmatch(rules.WORDS, said.words)):
        raise HoldWordsError(pointer=f"{here}/words")


def _stands(row: Deletion, said: Said) -> bool:
    same = (row.state, row.reason, row.words) == (State.HELD, said.reason, said.words)
    return same and said.until is not None and row.due_at == dates.midnight(said.until)


def _confirm(session: Session, held: Grant, rows: Sequence[Deletion], channel: str, now: datetime) -> None:
    for row in rows:
        row.state, row.changed_at, row.reason, row.words = State.DELETED, now, "", ""
    names = [row.attribute for row in rows]
    shown = {"deleted": names, "channel": channel}
    steps.take(session, held, rules.CONFIRMED, "company", {}, shown=shown, asked=names, at=now)


def _keep(session: Session, held: Grant, kept: Sequence[tuple[Deletion, Said]], channel: str, now: datetime) -> None:
    if (session.scalar(_held_since(held, now - timedelta(days=1))) or 0) >= rules.HOLDS_A_DAY:
        raise TooManyHoldsError(pointer="/details")
    for row, said in kept:
        row.state, row.changed_at, row.reason, row.words = State.HELD, now, said.reason, said.words
        row.due_at, row.warned = dates.midnight(cast("date", said.until)), 0
    shown = {"held": [_hold(said) for _row, said in kept], "channel": channel}
    names = [row.attribute for row, _said in kept]
    steps.take(session, held, rules.HELD, "company", {}, shown=shown, asked=names, at=now)


def _held_since(held: Grant, moment: datetime) -> Select[int]:
    theirs = GrantVersion.person_id == held.person_id, GrantVersion.grant_id == held.grant_id
    return select(func.count()).where(*theirs, GrantVersion.step == rules.HELD, GrantVersion.at > moment)


def _hold(said: Said) -> dict[str, Any]:
    told = {"attribute": said.attribute, "reason": said.reason, "until": str(said.until)}
    return told | ({"words": said.words} if said.words else {})


def _call(session: Session, person_id: UUID, grant_id: UUID, now: datetime) -> bool:
    held = grants.locked(session, person_id, grant_id)
    over = _of_grant(person_id, grant_id).where(Deletion.state == State.HELD, Deletion.due_at <= now)
    rows = session.scalars(over.with_for_update()).all()
    for row in rows:
        row.state, row.changed_at, row.reason, row.words = State.ASKED, now, "", ""
    if rows:
        names = [row.attribute for row in rows]
        steps.take(session, held, rules.DUE_AGAIN, "portal", {}, shown={"due": names}, asked=names, at=now)
    return bool(rows)


def _in_order(rows: Iterable[Deletion]) -> list[Deletion]:
    return sorted(rows, key=lambda row: (row.grant_id, _PLACE.get(row.attribute, len(_PLACE))))


def _behind(row: Deletion) -> Cursor:
    return Cursor(row.due_at, row.grant_id, row.attribute)

"""A company's question to somebody it knows already: asked from afar, answered once, in the portal.

The database settles who answers first: whichever window or company comes second finds nothing left to answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, cast

from sqlalchemy import delete, func, select, tuple_, update

from portal import config, events, queue
from portal.companies import queries as companies
from portal.consent import counters, freezing, queries, services, terms, unwanted
from portal.consent.models import ApprovalRequest, Subject
from portal.db import new_id
from portal.errors import RefusedError
from portal.identity import levels
from portal.vault import persons

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import CursorResult
    from sqlalchemy.orm import Session

    from portal.companies.queries import ClientFacts, PurposeFacts
    from portal.consent.counters import Less
    from portal.consent.models import Grant
    from portal.consent.services import Reply
    from portal.consent.terms import Wanted
    from portal.vault.keyring import Keyring

WAITING: Final = "waiting"
APPROVED: Final = "approved"
DENIED: Final = "denied"
DEFERRED: Final = "deferred"
COUNTERED: Final = "countered"
CANCELLED: Final = "cancelled"
EXPIRED: Final = "expired"
LETTER: Final = "portal.consent.jobs.tell_of_request"
MESSAGE: Final = "consent.message"
# How long the list says what became of a question; what was agreed to is kept elsewhere, for ever.
KEPT: Final = timedelta(days=30)
_WAITING_AT_ONCE = 3
_IN_A_DAY = 20
# Whoever says no, or not now, this often within a day is not asked again before the day is over.
_REFUSED_IN_A_DAY = 3
_LEFT_IN_A_DAY = 3
_LISTED = 50
_BATCH = 500
_ROUNDS = 40
_KEY = (ApprovalRequest.person_id, ApprovalRequest.request_id)


class TooManyQuestionsError(RefusedError):
    """So many of one company's questions wait for one person, or were put to them or declined by them today."""

    code = "too-many-questions"
    status = 429
    public = "This person has several requests of yours to answer already."


class AnsweredError(RefusedError):
    """Another window was quicker, or the time was over."""

    code = "request-answered"
    status = 409
    public = "This request has been settled already. What you chose just now changed nothing."


@dataclass(frozen=True, kw_only=True)
class Question:
    """One request as its person sees it; `state` is as of now, so that time alone makes it `expired`."""

    row: ApprovalRequest
    state: str
    company_name: str
    sentence: str
    left: timedelta

    @property
    def id(self) -> UUID:
        return self.row.request_id

    @property
    def waiting(self) -> bool:
        return self.state == WAITING

    @property
    def later(self) -> bool:
        """Whether it asks somebody who shares already for what they left out (`consent.later`)."""
        return "grant_id" in self.row.asked

    @property
    def wants_two_proofs(self) -> bool:
        """Whether the company wants to know more surely than usual that it is this person."""
        return bool(self.row.asked["level"] >= levels.TWO_PROOFS)

    @property
    def time_left(self) -> str:
        """How long there still is to answer, rounded down: "9 minutes", "about 3 hours"."""
        minutes = int(self.left.total_seconds()) // 60
        if minutes < 1:
            return "less than a minute"
        if minutes < 120:  # noqa: PLR2004 - up to two hours people count in minutes
            return f"{minutes} minute{'' if minutes == 1 else 's'}"
        return f"about {minutes // 60} hours"


def ask(
    session: Session,
    *,
    keyring: Keyring,
    person_id: UUID,
    client: ClientFacts,
    purpose_id: UUID,
    asked: dict[str, Any],
    message: str | None,
    expires_at: datetime,
    now: datetime,
) -> UUID:
    """Put a question to a person and write to them that one waits; return its id.

    Whoever leaves a company's questions of a day without an answer is written to about no more of them.
    `asked` is JSON: what is asked for, and as `level` how surely the person must prove who they are.
    Raises `TooManyQuestionsError`.
    """
    left = _let_only_a_few_wait(session, person_id, client.company_id, now)
    row = ApprovalRequest(
        person_id=person_id, request_id=new_id(), company_id=client.company_id, client_id=client.client_id,
        purpose_id=purpose_id, asked=asked, asked_at=now, expires_at=expires_at,
        sealed_message=_sealed(session, keyring, person_id, message),
    )  # fmt: skip
    session.add(row)
    session.flush()
    if left < _LEFT_IN_A_DAY:
        redis_url = config.current().redis_url
        queue.ring_after_commit(session, redis_url, queue.MAIL, LETTER, str(person_id), str(row.request_id))
    return row.request_id


def message_of(session: Session, *, keyring: Keyring, row: ApprovalRequest) -> str | None:
    """Return the words that both sides show, opened; None when there are none or the question is settled."""
    if row.sealed_message is None:
        return None
    return persons.unlock(session, keyring=keyring, person_id=row.person_id).open(MESSAGE, 1, row.sealed_message)


def find(session: Session, *, person_id: UUID, request_id: UUID) -> ApprovalRequest | None:
    """Return a question as it stands now; None when it is not this person's."""
    mine = select(ApprovalRequest).where(
        ApprovalRequest.person_id == person_id, ApprovalRequest.request_id == request_id
    )
    return session.scalars(mine.execution_options(populate_existing=True)).one_or_none()


def question(session: Session, *, person_id: UUID, request_id: UUID, now: datetime) -> Question | None:
    """Return what its person sees of a question; None when it is not theirs."""
    row = find(session, person_id=person_id, request_id=request_id)
    return _questions(session, [row], now)[0] if row else None


def of_person(session: Session, *, person_id: UUID, now: datetime) -> list[Question]:
    """Return a person's questions, waiting ones first, then the latest; at most fifty."""
    mine = select(ApprovalRequest).where(ApprovalRequest.person_id == person_id)
    rows = session.scalars(mine.order_by(ApprovalRequest.asked_at.desc()).limit(_LISTED)).all()
    return sorted(_questions(session, rows, now), key=lambda one: not one.waiting)


def waiting(session: Session, *, person_id: UUID, now: datetime) -> list[Question]:
    """Return the questions that a person can answer now, the most pressing first."""
    open_ones = select(ApprovalRequest).where(
        ApprovalRequest.person_id == person_id, ApprovalRequest.state == WAITING, ApprovalRequest.expires_at > now
    )
    rows = session.scalars(open_ones.order_by(ApprovalRequest.expires_at).limit(_LISTED)).all()
    return [one for one in _questions(session, rows, now) if one.waiting]


def approve(
    session: Session,
    *,
    person_id: UUID,
    request_id: UUID,
    give: Callable[[], Grant],
    authenticated_at: datetime,
    level: int,
    now: datetime,
) -> Grant:
    """Settle a waiting question with yes; `give` then gives, or finds, what they agreed to.

    `level` is how surely the person has proved who they are, at `authenticated_at`.  Raises `AnsweredError`
    before anything is given, SecondProofNeededError below the level that was asked for, FrozenError, and whatever
    `give` raises.
    """
    freezing.check_giving(session, person_id=person_id)
    row = take(session, person_id=person_id, request_id=request_id, state=APPROVED, now=now)
    if level < row.asked["level"]:
        raise terms.SecondProofNeededError
    grant = give()
    row.grant_id, row.authenticated_at, row.level = grant.grant_id, authenticated_at, level
    return grant


def reply(row: ApprovalRequest, *, shown: dict[str, Any], wanted: Wanted, now: datetime) -> Reply:
    """Return a reply to a question that gives nothing now: `shown` is what the person read, `wanted` what was asked."""
    return services.Reply(
        person_id=row.person_id, client_id=row.client_id, purpose_id=row.purpose_id, shown=shown, wanted=wanted,
        asked_at=row.asked_at, now=now,
    )  # fmt: skip


def deny(session: Session, *, request_id: UUID, reply: Reply, for_good: bool = False) -> None:
    """Settle a waiting question with no and keep that; what is shared already stays as it is.

    With `for_good` the company may not ask for the purpose again (`unwanted`).  Raises `AnsweredError`.
    """
    take(session, person_id=reply.person_id, request_id=request_id, state=DENIED, now=reply.now)
    (unwanted.refuse_for_good if for_good else services.refuse)(session, reply)


def defer(session: Session, *, request_id: UUID, reply: Reply) -> None:
    """Settle a waiting question with "not now" and keep that: they may be asked again.  Raises `AnsweredError`."""
    take(session, person_id=reply.person_id, request_id=request_id, state=DEFERRED, now=reply.now)
    services.defer(session, reply)


def counter(session: Session, *, request_id: UUID, reply: Reply, less: Less) -> Grant:
    """Settle a waiting question with an offer of less, which then waits for its company (`counters`).

    Raises `AnsweredError` before anything is offered, and as `counters.counter`: the caller takes all of it back then.
    """
    # Before any row, as everybody who begins something.
    freezing.check_giving(session, person_id=reply.person_id)
    row = take(session, person_id=reply.person_id, request_id=request_id, state=COUNTERED, now=reply.now)
    made = counters.counter(session, reply, less)
    row.grant_id = made.grant_id
    return made


def cancel(session: Session, *, person_id: UUID, request_id: UUID, now: datetime) -> None:
    """Settle a waiting question because what it asks can no longer be agreed to."""
    take(session, person_id=person_id, request_id=request_id, state=CANCELLED, now=now)


def take_back(session: Session, *, person_id: UUID, request_id: UUID, now: datetime) -> None:
    """Settle a question as `cancel` does; one that is answered, or being answered at this moment, is left alone."""
    # Whoever answers holds the question and then wants the grant, which the caller holds.
    mine = select(ApprovalRequest.request_id).where(
        ApprovalRequest.person_id == person_id, ApprovalRequest.request_id == request_id,
        ApprovalRequest.state == WAITING, ApprovalRequest.expires_at > now,
    )  # fmt: skip
    if session.scalar(mine.with_for_update(skip_locked=True)) is not None:
        cancel(session, person_id=person_id, request_id=request_id, now=now)


def take(session: Session, *, person_id: UUID, request_id: UUID, state: str, now: datetime) -> ApprovalRequest:
    """Settle a waiting question as `state` and announce it; raise `AnsweredError` when it waits no more."""
    # Before anything is given: the second of two answers waits here for the first and then gives nothing.
    still = (
        ApprovalRequest.person_id == person_id,
        ApprovalRequest.request_id == request_id,
        ApprovalRequest.state == WAITING,
        ApprovalRequest.expires_at > now,
    )
    # The words that both sides show have done their work.
    settled = update(ApprovalRequest).where(*still).values(state=state, answered_at=now, sealed_message=None)
    settled = settled.execution_options(synchronize_session=False)
    if session.scalar(settled.returning(ApprovalRequest.request_id)) is None:
        raise AnsweredError
    events.announce(session, events.ApprovalAnswered(person_id=person_id, request_id=request_id, at=now))
    return cast("ApprovalRequest", find(session, person_id=person_id, request_id=request_id))


def confirmed(session: Session, *, row: ApprovalRequest, now: datetime) -> Grant:
    """Return the person's sharing that a question only confirms; raise `StoppedError` when it is over."""
    held = queries.live_for_purpose(session, person_id=row.person_id, purpose_id=row.purpose_id)
    if held is None or held.state != "active" or (held.expires_at is not None and held.expires_at <= now):
        raise services.StoppedError
    return held


def expire_due(session: Session, *, now: datetime) -> None:
    """Close questions whose time is over, at most 500 at once; they could not be answered since that moment."""
    due = select(*_KEY).where(ApprovalRequest.state == WAITING, ApprovalRequest.expires_at <= now)
    batch = due.order_by(ApprovalRequest.expires_at).limit(_BATCH).with_for_update(skip_locked=True)
    closed = update(ApprovalRequest).where(tuple_(*_KEY).in_(batch))
    session.execute(closed.values(state=EXPIRED, sealed_message=None).execution_options(synchronize_session=False))


def forget(session: Session, *, now: datetime) -> None:
    """Delete questions that were over a month ago, at most 20 000 a call."""
    batch = select(*_KEY).where(ApprovalRequest.expires_at < now - KEPT)
    batch = batch.limit(_BATCH).with_for_update(skip_locked=True)
    gone = delete(ApprovalRequest).where(tuple_(*_KEY).in_(batch))
    for _ in range(_ROUNDS):
        done = session.execute(gone.execution_options(synchronize_session=False))
        if not cast("CursorResult[Any]", done).rowcount:
            break


def _sealed(session: Session, keyring: Keyring, person_id: UUID, message: str | None) -> bytes | None:
    if message is None:
        return None
    return persons.unlock(session, keyring=keyring, person_id=person_id).seal(MESSAGE, 1, message)


def _let_only_a_few_wait(session: Session, person_id: UUID, company_id: UUID, now: datetime) -> int:
    """Return how many of the company's questions of this day were left without an answer."""
    # The row of the two is held still, so that questions that come at once are counted one after the other.
    theirs = select(Subject.sub).where(Subject.person_id == person_id, Subject.company_id == company_id)
    session.execute(theirs.with_for_update())
    open_ones = (ApprovalRequest.state == WAITING) & (ApprovalRequest.expires_at > now)
    refused = ApprovalRequest.state.in_((DENIED, DEFERRED))
    left = ApprovalRequest.state.in_((WAITING, EXPIRED, CANCELLED)) & ~open_ones
    counted = select(
        func.count(), func.count().filter(open_ones), func.count().filter(refused), func.count().filter(left)
    ).where(
        ApprovalRequest.person_id == person_id,
        ApprovalRequest.company_id == company_id,
        ApprovalRequest.asked_at > now - timedelta(days=1),
    )
    today, still_open, said_no, unanswered = session.execute(counted).one()
    if still_open >= _WAITING_AT_ONCE or today >= _IN_A_DAY or said_no >= _REFUSED_IN_A_DAY:
        raise TooManyQuestionsError
    return int(unanswered)


def _questions(session: Session, rows: Sequence[ApprovalRequest], now: datetime) -> list[Question]:
    clients = companies.clients(session, {row.client_id for row in rows}) if rows else {}
    purposes = companies.purposes(session, {row.purpose_id for row in rows}) if rows else {}
    return [_question(row, clients.get(row.client_id), purposes.get(row.purpose_id), now) for row in rows]


def _question(
    row: ApprovalRequest, client: ClientFacts | None, purpose: PurposeFacts | None, now: datetime
) -> Question:
    return Question(
        row=row,
        state=_state(row, client, purpose, now),
        company_name=client.company_name if client else "An organisation that has left",
        sentence=purpose.sentence if purpose else "",
        left=row.expires_at - now,
    )


def _state(row: ApprovalRequest, client: ClientFacts | None, purpose: PurposeFacts | None, now: datetime) -> str:
    if row.state != WAITING:
        return row.state
    if row.expires_at <= now:
        return EXPIRED
    # What can no longer be agreed to was taken back by whoever asked.
    asked_still = client is not None and client.active and purpose is not None and not purpose.withdrawn
    return WAITING if asked_still else CANCELLED

"""A person's question about a row of their log: asked, answered, settled or taken to the operator, who decides.

Each step is kept for good beside the row.  Whoever comes second waits for the first and finds what then holds: a step
holds its question still.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import func, select, text

from portal.companies import clients
from portal.companies import queries as companies
from portal.consent import services as consent
from portal.disputes import letters, operator_letters, queries, rules
from portal.disputes.models import Dispute, DisputeStep
from portal.errors import NotFoundError, RefusedError
from portal.vault import persons

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.orm import Session

    from portal.ledger.queries import Entry
    from portal.vault.keyring import Keyring

_AT_ONCE = 200
_DAY = timedelta(days=1)
# One person's questions are counted one after the other.
_ALONE = text("SELECT pg_advisory_xact_lock(hashtextextended('dispute ' || CAST(:person_id AS text), 0))")


class TooManyOpenError(RefusedError):
    """So many of somebody's questions are open that one more is put off."""

    code = "too-many-open-questions"
    status = 429
    public = (
        f"You have {rules.MOST_OPEN} questions open, which is the most at one time. "
        "Say of one that it is settled, or wait for an answer, and then ask about this use."
    )


class TooManyTodayError(RefusedError):
    """Somebody has asked so many questions today that one more is put off."""

    code = "too-many-questions-today"
    status = 429
    public = f"You asked {rules.MOST_A_DAY} questions within a day, which is the most. Ask about this use tomorrow."


class AskedBeforeError(RefusedError):
    """There is one question about a row, and it stays as it was asked."""

    code = "question-asked"
    status = 409
    public = "You asked about this already. What you wrote now was not sent."


class EscalatedBeforeError(RefusedError):
    """What somebody objects to is with the operator as they said it first."""

    code = "question-escalated"
    status = 409
    public = "We look into this already. What you wrote now was not sent."


class SettledError(RefusedError):
    """Nothing more can be said about a question that is settled or decided."""

    code = "question-settled"
    status = 409
    public = "This question is settled already. What you just sent changed nothing."


class AnsweredBeforeError(RefusedError):
    """Somebody else of the company was quicker."""

    code = "question-answered"
    status = 409
    public = "This question has an answer already. What you just sent changed nothing."


class NotAnsweredError(RefusedError):
    """Nobody can be dissatisfied with an answer that is not there; once it is overdue the operator looks anyway."""

    code = "question-not-answered"
    status = 409
    public = "There is no new answer yet. If none comes in time, we look into it without being asked."


class NotEscalatedError(RefusedError):
    """The operator decides what was taken to them, once."""

    code = "question-not-escalated"
    status = 409
    public = "This question does not wait for an operator now. What you just sent changed nothing."


class OwnQuestionError(RefusedError):
    """Whoever is a party to a question does not decide it."""

    code = "own-question"
    public = "You asked this yourself, or act for this organisation: another operator decides."


@dataclass(frozen=True)
class _Step:
    """One step to take: by whom and when, what they chose and wrote, why, and how long it gives where that is said."""

    name: str
    actor: str
    at: datetime
    actor_id: UUID | None = None
    choice: str = field(default="", repr=False)
    words: str = field(default="", repr=False)
    reason: str | None = None
    given: timedelta | None = None


def ask(
    session: Session, *, keyring: Keyring, entry: Entry, choice: str, words: str, pause: bool, now: datetime
) -> Dispute:
    """Put a person's question about a row to its company; whoever has asked about it before finds that question.

    With `pause` nothing more is shared with that company until the person resumes it.  Raises `TooManyOpenError`
    and `TooManyTodayError`.
    """
    session.execute(_ALONE, {"person_id": entry.person_id})
    found = queries.one(session, person_id=entry.person_id, disclosure_id=entry.disclosure_id)
    if found is None:
        _let_only_so_many(session, entry.person_id, now)
        found = _begin(session, entry, now)
        reason = rules.PAUSED if pause else None
        step = _Step(rules.ASKED, rules.PERSON, now, choice=choice, words=words, reason=reason)
        _keep(session, found, step, keyring=keyring)
        letters.to_company(session, found, letters.ASKED)
        if found.state == rules.ESCALATED:
            operator_letters.owe(session)
    if pause:
        consent.pause_with(session, person_id=entry.person_id, company_id=entry.company_id)
    return found


def answer(
    session: Session,
    *,
    keyring: Keyring,
    company_id: UUID,
    disclosure_id: UUID,
    words: str,
    now: datetime,
    staff_id: UUID | None = None,
) -> Dispute:
    """Attach a company's explanation; a late one is kept too, and the question stays with the operator.

    `staff_id` is who of its people wrote it, None where its server did.  Raises `SettledError` and
    `AnsweredBeforeError`.
    """
    held = _locked(session, disclosure_id=disclosure_id, company_id=company_id)
    step = _Step(rules.ANSWERED, rules.COMPANY, now, staff_id, words=words)
    if not _take(session, held, step, keyring=keyring):
        raise SettledError if held.state in rules.OVER else AnsweredBeforeError
    letters.to_person(session, held)
    return held


def settle(session: Session, *, person_id: UUID, disclosure_id: UUID, now: datetime) -> Dispute:
    """Close a question as its person wishes, answered or not; closing what is closed changes nothing."""
    held = _locked(session, disclosure_id=disclosure_id, person_id=person_id)
    _take(session, held, _Step(rules.SETTLED, rules.PERSON, now))
    return held


def escalate(
    session: Session, *, keyring: Keyring, person_id: UUID, disclosure_id: UUID, words: str, now: datetime
) -> Dispute:
    """Take an answer that does not settle it to the operator; doing so twice changes nothing.

    Raises `NotAnsweredError` and `SettledError`.
    """
    held = _locked(session, disclosure_id=disclosure_id, person_id=person_id)
    if held.state == rules.ESCALATED:
        return held
    if held.state != rules.ANSWERED:
        raise SettledError if held.state in rules.OVER else NotAnsweredError
    step = _Step(rules.ESCALATED, rules.PERSON, now, words=words, reason=rules.NOT_SATISFIED)
    _take(session, held, step, keyring=keyring)
    letters.to_company(session, held, letters.ESCALATED)
    operator_letters.owe(session)
    return held


def decide(
    session: Session,
    *,
    keyring: Keyring,
    disclosure_id: UUID,
    decision: str,
    words: str,
    operator_id: UUID,
    now: datetime,
    days: int | None = None,
) -> Dispute:
    """Keep what the operator decides, with the reason that both sides read; `days` is how long there is to mend.

    `decision` is one of `rules.DECISIONS`; the last suspends the app whose use it was.  Raises `OwnQuestionError` and
    `NotEscalatedError`.
    """
    held = _locked(session, disclosure_id=disclosure_id)
    _check_not_own(session, held, operator_id)
    given = timedelta(days=days) if days else None
    step = _Step(decision, rules.OPERATOR, now, operator_id, words=words, given=given)
    if not _take(session, held, step, keyring=keyring):
        raise NotEscalatedError
    if decision == rules.SUSPEND:
        clients.suspend(session, client_id=held.client_id)
    letters.to_person(session, held)
    letters.to_company(session, held, letters.DECIDED)
    return held


def lift(session: Session, *, disclosure_id: UUID, operator_id: UUID) -> None:
    """Let the app that a question is about go on, where it is suspended; raises `OwnQuestionError`."""
    held = _locked(session, disclosure_id=disclosure_id)
    _check_not_own(session, held, operator_id)
    clients.lift(session, client_id=held.client_id)


def see_to(session: Session, *, now: datetime) -> int:
    """Remind companies, and do what follows by itself when a time is over, for 200 at most; return for how many."""
    due = select(Dispute).where(Dispute.look_at <= now).order_by(Dispute.look_at)
    found = session.scalars(due.limit(_AT_ONCE).with_for_update(skip_locked=True)).all()
    for held in found:
        if held.due_at is not None and now < held.due_at:
            held.look_at = held.due_at
            letters.to_company(session, held, letters.DUE)
        else:
            _run_out(session, held, now)
    session.flush()
    if any(held.state == rules.ESCALATED for held in found):
        operator_letters.owe(session)
    return len(found)


def _check_not_own(session: Session, held: Dispute, operator_id: UUID) -> None:
    if operator_id == held.person_id or companies.acts_for(session, operator_id, company_id=held.company_id):
        raise OwnQuestionError


def _run_out(session: Session, held: Dispute, now: datetime) -> None:
    name, reason = rules.by_itself(held.state)
    _take(session, held, _Step(name, rules.PORTAL, now, reason=reason))
    if name == rules.ESCALATED:
        letters.to_person(session, held)
        letters.to_company(session, held, letters.OVERDUE)


def _begin(session: Session, entry: Entry, now: datetime) -> Dispute:
    # Of a look by an operator nobody but an operator can say why.
    own = entry.channel == rules.OPERATOR
    state = rules.ESCALATED if own else rules.ASKED
    due, look = rules.clock(state, at=now)
    made = Dispute(
        person_id=entry.person_id, disclosure_id=entry.disclosure_id, at=entry.at,
        company_id=None if own else entry.company_id, client_id=entry.client_id, state=state, last_step=rules.ASKED,
        steps=0, opened_at=now, changed_at=now, due_at=due, look_at=look,
    )  # fmt: skip
    session.add(made)
    session.flush()
    return made


def _take(session: Session, held: Dispute, step: _Step, *, keyring: Keyring | None = None) -> bool:
    """Take a step if it can be taken as the question stands; say whether it was.  `keyring` seals what is said."""
    state = rules.after(step.name, state=held.state, last_step=held.last_step)
    if state is None:
        return False
    held.state, held.last_step, held.changed_at = state, step.name, step.at
    held.due_at, held.look_at = rules.clock(state, at=step.at, given=step.given)
    _keep(session, held, step, keyring=keyring)
    return True


def _keep(session: Session, held: Dispute, step: _Step, *, keyring: Keyring | None) -> None:
    held.steps += 1
    row = DisputeStep(
        person_id=held.person_id, disclosure_id=held.disclosure_id, number=held.steps, at=step.at, step=step.name,
        actor=step.actor, actor_id=step.actor_id, reason=step.reason, due_at=held.due_at,
    )  # fmt: skip
    if keyring is not None and (step.choice or step.words):
        vault = persons.unlock(session, keyring=keyring, person_id=held.person_id)
        row.sealed_choice, row.sealed_words = (
            vault.seal(queries.sealed_as(what, held.disclosure_id), held.steps, written) if written else None
            for what, written in ((queries.CHOICE, step.choice), (queries.WORDS, step.words))
        )
    session.add(row)
    session.flush()


def _locked(
    session: Session, *, disclosure_id: UUID, person_id: UUID | None = None, company_id: UUID | None = None
) -> Dispute:
    mine = select(Dispute).where(Dispute.disclosure_id == disclosure_id)
    if person_id is not None:
        mine = mine.where(Dispute.person_id == person_id)
    if company_id is not None:
        mine = mine.where(Dispute.company_id == company_id)
    held = session.scalars(mine.with_for_update().execution_options(populate_existing=True)).one_or_none()
    if held is None:
        raise NotFoundError
    return held


def _let_only_so_many(session: Session, person_id: UUID, now: datetime) -> None:
    unfinished = Dispute.state.in_(rules.UNFINISHED)
    today = Dispute.opened_at > now - _DAY
    counted = select(func.count().filter(unfinished), func.count().filter(today)).where(Dispute.person_id == person_id)
    waiting, asked_today = session.execute(counted).one()
    if waiting >= rules.MOST_OPEN:
        raise TooManyOpenError
    if asked_today >= rules.MOST_A_DAY:
        raise TooManyTodayError

"""Questions asked from afar: settled once, in time, and forgotten after a month."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import OperationalError

from portal import db, events, queue
from portal.consent import approvals, services, terms
from portal.consent.models import ApprovalRequest
from tests.consent.offers import Offer
from tests.consent.questions import kept, put, states
from tests.consent.test_races import together

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.orm import Session

    from portal.config import Settings
    from portal.consent.models import Grant
    from portal.consent.services import Reply
    from portal.vault.keyring import Keyring

SECOND = timedelta(seconds=1)


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[events.ApprovalAnswered]:
    found: list[events.ApprovalAnswered] = []
    monkeypatch.setitem(events._listeners, events.ApprovalAnswered, [lambda _session, fact: found.append(fact)])  # noqa: SLF001 - the list itself
    return found


def approve(session: Session, person_id: UUID, request_id: UUID, offer: Offer, **choice: Any) -> Grant:  # noqa: ANN401 - arguments of `give`
    now = db.now()
    return approvals.approve(
        session,
        person_id=person_id,
        request_id=request_id,
        give=partial(offer.give, session, person_id, now=now, **choice),
        authenticated_at=now,
        level=1,
        now=now,
    )


def deny(session: Session, person_id: UUID, request_id: UUID) -> None:
    approvals.deny(session, request_id=request_id, reply=reply(session, person_id, request_id))


def reply(session: Session, person_id: UUID, request_id: UUID) -> Reply:
    row = approvals.find(session, person_id=person_id, request_id=request_id)
    assert row
    return approvals.reply(row, shown={"title": "Share?"}, wanted=terms.wanted(row.asked), now=db.now())


def test_an_answer_settles_it_and_is_told(
    settings: Settings, keys: Keyring, lasting: Offer, person: Callable[..., UUID], heard: list[events.ApprovalAnswered]
) -> None:
    who = person()
    asked = put(settings, keys, who, lasting, message="W4SCT")
    with db.transaction(settings.database_url) as session:
        grant = approve(session, who, asked, lasting)
    row = kept(settings, who, asked)
    assert (row.state, row.grant_id, row.level, row.sealed_message) == ("approved", grant.grant_id, 1, None)
    assert [fact.request_id for fact in heard] == [asked]
    assert states(settings, who) == ["active"]


@pytest.mark.parametrize("first", ["approve", "deny"])
def test_the_first_answer_counts(
    settings: Settings, keys: Keyring, lasting: Offer, person: Callable[..., UUID], first: str
) -> None:
    who = person()
    asked = put(settings, keys, who, lasting)
    acts: dict[str, Callable[[Session], object]] = {
        "approve": lambda session: approve(session, who, asked, lasting),
        "deny": lambda session: deny(session, who, asked),
    }
    with db.transaction(settings.database_url) as session:
        acts.pop(first)(session)
    before = states(settings, who)
    for act in acts.values():
        with pytest.raises(approvals.AnsweredError), db.transaction(settings.database_url) as session:
            act(session)
    assert states(settings, who) == before


def test_yes_and_no_at_the_same_moment_are_one_answer(
    settings: Settings, keys: Keyring, lasting: Offer, person: Callable[..., UUID]
) -> None:
    for _ in range(10):
        who = person()
        asked = put(settings, keys, who, lasting)

        def attempt(act: Callable[[Session], object], session: Session) -> bool:
            try:
                act(session)
            except approvals.AnsweredError:
                session.rollback()
                return False
            return True

        yes = partial(approve, person_id=who, request_id=asked, offer=lasting)
        no = partial(deny, person_id=who, request_id=asked)
        won = together(settings, *[partial(attempt, act) for act in (yes, no, yes, no)])
        assert won.count(True) == 1
        state = kept(settings, who, asked).state
        assert states(settings, who) == {"approved": ["active"], "denied": ["refused"]}[state]


def test_nothing_is_given_and_nothing_settled_when_giving_fails(
    settings: Settings, keys: Keyring, person: Callable[..., UUID]
) -> None:
    who = person()
    with db.transaction(settings.database_url) as session:
        offer = Offer(session, required=[{"attribute": "birth.date", "reason": "To know your age"}])
    asked = put(settings, keys, who, offer)
    with pytest.raises(terms.SecondProofNeededError), db.transaction(settings.database_url) as session:
        approve(session, who, asked, offer, attributes=["birth.date"])
    assert kept(settings, who, asked).state == "waiting"
    assert states(settings, who) == []


def test_less_proof_than_was_asked_for_settles_nothing(
    settings: Settings, keys: Keyring, lasting: Offer, person: Callable[..., UUID]
) -> None:
    who = person()
    asked = put(settings, keys, who, lasting, level=2)
    with pytest.raises(terms.SecondProofNeededError), db.transaction(settings.database_url) as session:
        approve(session, who, asked, lasting)
    assert kept(settings, who, asked).state == "waiting"
    assert states(settings, who) == []


def test_nobody_answers_after_the_time_is_over(
    settings: Settings, keys: Keyring, lasting: Offer, person: Callable[..., UUID]
) -> None:
    who = person()
    asked = put(settings, keys, who, lasting)
    _move(settings, asked, -SECOND)
    with pytest.raises(approvals.AnsweredError), db.transaction(settings.database_url) as session:
        approve(session, who, asked, lasting)
    assert states(settings, who) == []


def test_confirming_what_was_stopped_meanwhile_is_refused(
    settings: Settings, keys: Keyring, lasting: Offer, person: Callable[..., UUID]
) -> None:
    who = person()
    with db.transaction(settings.database_url) as session:
        grant = lasting.give(session, who)
    asked = put(settings, keys, who, lasting)
    with db.transaction(settings.database_url) as session:
        assert approvals.confirmed(session, row=kept(settings, who, asked), now=db.now()).grant_id == grant.grant_id
        services.withdraw(session, person_id=who, grant_id=grant.grant_id, now=db.now())
        with pytest.raises(services.StoppedError):
            approvals.confirmed(session, row=kept(settings, who, asked), now=db.now())


def test_questions_that_come_at_once_are_counted_one_after_the_other(
    settings: Settings, keys: Keyring, lasting: Offer, person: Callable[..., UUID]
) -> None:
    who = person()
    put(settings, keys, who, lasting)
    with db.transaction(settings.database_url) as first, db.transaction(settings.database_url) as second:
        second.execute(text("SET LOCAL lock_timeout = '200ms'"))
        approvals._let_only_a_few_wait(first, who, lasting.company_id, db.now())  # noqa: SLF001 - where it waits
        with pytest.raises(OperationalError, match="lock timeout"):
            approvals._let_only_a_few_wait(second, who, lasting.company_id, db.now())  # noqa: SLF001 - where it waits
        second.rollback()


def test_whoever_leaves_questions_without_an_answer_gets_no_more_letters_that_day(
    settings: Settings, keys: Keyring, lasting: Offer, person: Callable[..., UUID]
) -> None:
    who = person()
    asked = [put(settings, keys, who, lasting)]
    for _ in range(4):
        _move(settings, asked[-1], -SECOND)
        asked.append(put(settings, keys, who, lasting))
    jobs = queue.queue(settings.redis_url, queue.MAIL).get_jobs()
    written = {UUID(job.args[1]) for job in jobs if job.func_name == approvals.LETTER and job.args[0] == str(who)}
    assert written == set(asked[:3])


def test_what_was_not_answered_in_time_is_closed_and_its_words_dropped(
    settings: Settings, keys: Keyring, lasting: Offer, person: Callable[..., UUID]
) -> None:
    who = person()
    late, waiting = (put(settings, keys, who, lasting, message="W4SCT") for _ in range(2))
    _move(settings, late, -SECOND)
    with db.transaction(settings.database_url) as session:
        approvals.expire_due(session, now=db.now())
    row = kept(settings, who, late)
    assert (row.state, row.sealed_message) == ("expired", None)
    assert kept(settings, who, waiting).state == "waiting"


def test_questions_are_forgotten_after_a_month_in_batches(
    settings: Settings, keys: Keyring, lasting: Offer, person: Callable[..., UUID]
) -> None:
    who = person()
    old, recent = (put(settings, keys, who, lasting) for _ in range(2))
    _move(settings, old, -approvals.KEPT - SECOND)
    _move(settings, recent, -approvals.KEPT + timedelta(minutes=1))
    with db.transaction(settings.database_url) as session:
        session.execute(
            text("""
                INSERT INTO approval_request
                    (person_id, request_id, company_id, client_id, purpose_id, asked, state, asked_at, expires_at)
                SELECT :who, gen_random_uuid(), :who, 'c', :who, '{}', 'denied', :past, :past
                FROM generate_series(1, 1200)
            """),
            {"who": who, "past": db.now() - approvals.KEPT - SECOND},
        )
        approvals.forget(session, now=db.now())
        mine = select(func.count()).select_from(ApprovalRequest).where(ApprovalRequest.person_id == who)
        assert session.scalar(mine) == 1
    assert kept(settings, who, recent).request_id == recent


def _move(settings: Settings, request_id: UUID, away: timedelta) -> None:
    with db.transaction(settings.database_url) as session:
        mine = update(ApprovalRequest).where(ApprovalRequest.request_id == request_id)
        session.execute(mine.values(expires_at=db.now() + away))

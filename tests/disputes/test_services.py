"""Questions about rows of the log: what may follow what, each step kept once, whoever comes at the same moment."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select, text, update

from portal import db
from portal.companies import clients
from portal.companies import queries as companies
from portal.companies import services as registering
from portal.consent import chain, counters
from portal.consent import queries as consents
from portal.consent import rules as policy
from portal.consent import services as consent
from portal.consent.models import Grant
from portal.disputes import queries as dispute_queries
from portal.disputes import rules
from portal.disputes import services as disputes
from portal.disputes.models import Dispute, DisputeStep
from portal.errors import NotFoundError, RefusedError
from portal.vault.keyring import SealBrokenError
from tests.consent.test_races import together
from tests.disputes.asking import WORDS, Asker

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.orm import Session

    from portal.config import Settings
    from portal.vault.keyring import Keyring

STATES = (*rules.UNFINISHED, *rules.OVER)
ELEVEN_DAYS = timedelta(days=11)


@pytest.fixture
def asker(settings: Settings, keys: Keyring) -> Asker:
    return Asker(settings, keys)


def sweep(asker: Asker, now: Any) -> None:  # noqa: ANN401 - a moment
    while asker.transact(lambda session: disputes.see_to(session, now=now)):
        pass


def attempt(act: Callable[[Session], object]) -> Callable[[Session], str]:
    """Return the class of a refusal by its name; whatever else happens is no refusal."""

    def tried(session: Session) -> str:
        try:
            with session.begin_nested():
                act(session)
        except RefusedError as error:
            return type(error).__name__
        return ""

    return tried


# step → the states it can be taken in, and what each leads to; in any other it cannot.
MOVES = {
    rules.ANSWERED: {"asked": "answered", "mending": "answered", "escalated": "escalated"},
    rules.ESCALATED: {"asked": "escalated", "mending": "escalated", "answered": "escalated"},
    rules.SETTLED: {"asked": "settled", "answered": "settled", "escalated": "settled", "mending": "settled"},
    rules.UNFOUNDED: {"escalated": "decided"},
    rules.MEND: {"escalated": "mending"},
    rules.SUSPEND: {"escalated": "decided"},
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("step", MOVES)
def test_what_may_follow_what(step: str, state: str) -> None:
    assert rules.after(step, state=state, last_step="") == MOVES[step].get(state)


@pytest.mark.parametrize("state", STATES)
def test_nothing_is_answered_twice_in_a_row(state: str) -> None:
    assert rules.after(rules.ANSWERED, state=state, last_step=rules.ANSWERED) is None


@pytest.mark.parametrize(
    ("left", "words"),
    [
        ({"days": 10}, "10 days left"), ({"days": 9, "hours": 1}, "10 days left"), ({"hours": 49}, "3 days left"),
        ({"hours": 48}, "48 hours left"), ({"minutes": 61}, "2 hours left"), ({"seconds": 1}, "1 hour left"),
        ({"seconds": 0}, "overdue"), ({"days": -1}, "overdue"),
    ],
)  # fmt: skip
def test_time_left_is_said_in_words(left: dict[str, int], words: str) -> None:
    now = db.now()
    assert rules.time_left(now + timedelta(**left), now=now) == words


def test_from_question_to_decision(asker: Asker) -> None:
    row = asker.ask()
    assert asker.held(row).due_at == asker.held(row).opened_at + timedelta(days=10)
    asker.answer(row)
    asker.escalate(row, "I have no bill.")
    asker.decide(row, rules.MEND, days=7)
    assert asker.held(row).state == rules.MENDING
    asker.answer(row, "We deleted it.")
    asker.settle(row)
    assert asker.held(row).state == rules.SETTLED
    assert [(one.step, one.actor, one.words) for one in asker.said(row)] == [
        ("asked", "person", WORDS), ("answered", "company", "For your bill."),
        ("escalated", "person", "I have no bill."), ("mend", "operator", "We looked."),
        ("answered", "company", "We deleted it."), ("settled", "person", ""),
    ]  # fmt: skip
    assert asker.said(row)[0].choice == "not-this-use"


def test_asking_again_finds_the_first_question(asker: Asker) -> None:
    entry = asker.row()
    asker.ask(entry, words="first")
    asker.ask(entry, words="second")
    assert [one.words for one in asker.said(entry.disclosure_id)] == ["first"]


def test_asking_twice_at_once_is_one_question(asker: Asker, settings: Settings, keys: Keyring) -> None:
    for _ in range(5):
        entry = asker.row()
        ask = partial(disputes.ask, keyring=keys, entry=entry, choice="", words=WORDS, pause=False, now=db.now())
        together(settings, ask, ask)
        assert asker.steps(entry.disclosure_id) == [("asked", "person")]
        asker.settle(entry.disclosure_id)


def test_of_two_answers_at_once_one_is_kept(asker: Asker, settings: Settings) -> None:
    for _ in range(5):
        row = asker.ask()
        results = together(settings, *(attempt(asker.answering(row, words)) for words in ("one", "two")))
        assert sorted(map(str, results)) == ["", "AnsweredBeforeError"]
        assert asker.steps(row) == [("asked", "person"), ("answered", "company")]
        asker.settle(row)


def test_an_answer_and_the_end_of_its_time_at_once_are_both_kept_in_order(asker: Asker, settings: Settings) -> None:
    seen = set()
    for _ in range(8):
        row, later = asker.ask(), db.now() + ELEVEN_DAYS
        together(settings, asker.answering(row, now=later), partial(disputes.see_to, now=later))
        steps = asker.steps(row)
        first = [("asked", "person"), ("answered", "company")]
        late = [("asked", "person"), ("escalated", "portal"), ("answered", "company")]
        assert (steps, asker.held(row).state) in [(first, "answered"), (late, "escalated")]
        seen.add(len(steps))
        asker.settle(row)
    assert seen <= {2, 3}


def test_settling_and_not_being_satisfied_at_once_leaves_one_state(
    asker: Asker, settings: Settings, keys: Keyring
) -> None:
    for _ in range(5):
        row = asker.ask()
        asker.answer(row)
        mine: dict[str, Any] = {"person_id": asker.person_id, "disclosure_id": row, "now": db.now()}
        escalate = attempt(partial(disputes.escalate, keyring=keys, words="", **mine))
        together(settings, escalate, partial(disputes.settle, **mine))
        assert asker.held(row).state == rules.SETTLED
        assert asker.steps(row)[2:] in [[("settled", "person")], [("escalated", "person"), ("settled", "person")]]


def test_two_decisions_at_once_are_one(asker: Asker, settings: Settings, keys: Keyring) -> None:
    row = asker.with_operator()
    decide = attempt(
        partial(
            disputes.decide, keyring=keys, disclosure_id=row, decision=rules.UNFOUNDED, words="Fine.",
            operator_id=db.new_id(), now=db.now(),
        )
    )  # fmt: skip
    assert sorted(map(str, together(settings, decide, decide))) == ["", "NotEscalatedError"]
    assert asker.steps(row)[3:] == [("unfounded", "operator")]


def test_what_is_not_answered_in_time_goes_to_the_operator_once(asker: Asker, settings: Settings) -> None:
    row, later = asker.ask(), db.now() + ELEVEN_DAYS
    together(settings, *[partial(disputes.see_to, now=later)] * 3)
    sweep(asker, later)
    assert asker.steps(row) == [("asked", "person"), ("escalated", "portal")]
    assert asker.said(row)[1].reason == rules.OVERDUE
    assert asker.held(row).look_at is None


def test_nothing_happens_before_the_time_is_over(asker: Asker) -> None:
    row = asker.ask()
    due = asker.held(row).due_at
    assert due
    sweep(asker, due - timedelta(seconds=1))
    assert asker.held(row).state == rules.ASKED
    assert asker.held(row).look_at == due, "it was reminded of, and is looked at when it is due"
    sweep(asker, due)
    assert asker.held(row).state == rules.ESCALATED


def test_a_late_answer_is_kept_and_the_operator_still_decides(asker: Asker) -> None:
    row = asker.ask()
    sweep(asker, db.now() + ELEVEN_DAYS)
    asker.answer(row, "Sorry, late.")
    assert asker.held(row).state == rules.ESCALATED
    with pytest.raises(disputes.AnsweredBeforeError):
        asker.answer(row, "And more.")
    asker.decide(row, rules.UNFOUNDED)
    assert asker.steps(row)[1:] == [("escalated", "portal"), ("answered", "company"), ("unfounded", "operator")]


def test_silence_settles_what_was_answered(asker: Asker) -> None:
    row = asker.ask()
    asker.answer(row)
    sweep(asker, db.now() + timedelta(days=29))
    assert asker.held(row).state == rules.ANSWERED
    sweep(asker, db.now() + timedelta(days=31))
    assert asker.said(row)[-1].reason == rules.SILENCE
    assert asker.held(row).state == rules.SETTLED


def test_what_is_not_mended_in_time_comes_back_to_the_operator(asker: Asker) -> None:
    row = asker.with_operator()
    asker.decide(row, rules.MEND, days=7)
    sweep(asker, db.now() + timedelta(days=6))
    assert asker.held(row).state == rules.MENDING
    sweep(asker, db.now() + timedelta(days=8))
    assert asker.held(row).state == rules.ESCALATED


@pytest.mark.parametrize("closed", ["settle", "decide"])
def test_nothing_is_added_to_what_is_over(asker: Asker, closed: str) -> None:
    row = asker.with_operator()
    asker.settle(row) if closed == "settle" else asker.decide(row, rules.UNFOUNDED)
    steps = asker.steps(row)
    for act, error in (
        (asker.answer, disputes.SettledError),
        (asker.escalate, disputes.SettledError),
        (partial(asker.decide, decision=rules.MEND), disputes.NotEscalatedError),
    ):
        with pytest.raises(error):
            act(row)
    asker.settle(row)
    assert asker.steps(row) == steps


def test_nobody_is_dissatisfied_before_there_is_an_answer(asker: Asker) -> None:
    row = asker.ask()
    with pytest.raises(disputes.NotAnsweredError):
        asker.escalate(row)


def test_another_company_and_another_person_find_nothing(asker: Asker, settings: Settings, keys: Keyring) -> None:
    row, other = asker.ask(), Asker(settings, keys)
    for act in (other.answer, other.settle, other.escalate):
        with pytest.raises(NotFoundError):
            act(row)
    assert asker.steps(row) == [("asked", "person")]


def test_ten_may_be_open_and_then_one_has_to_be_settled(asker: Asker, settings: Settings, keys: Keyring) -> None:
    rows = [asker.ask() for _ in range(rules.MOST_OPEN - 1)]
    asks = [
        attempt(
            partial(disputes.ask, keyring=keys, entry=asker.row(), choice="", words=WORDS, pause=False, now=db.now())
        )
        for _ in range(2)
    ]
    assert sorted(map(str, together(settings, *asks))) == ["", "TooManyOpenError"], "however many ask at once"
    asker.settle(rows[0])
    asker.ask()


def test_twenty_may_be_asked_in_a_day(asker: Asker) -> None:
    for _ in range(rules.MOST_A_DAY):
        asker.settle(asker.ask())
    with pytest.raises(disputes.TooManyTodayError):
        asker.ask()
    asker.ask(now=db.now() + timedelta(days=1, minutes=1))


def test_pausing_at_the_same_time_pauses_that_organisation_alone(
    asker: Asker, settings: Settings, keys: Keyring
) -> None:
    other = Asker(settings, keys, asker.person_id)
    asker.ask(pause=True)
    states = {one.grant_id: one.state for one in asker.transact(partial(consents.grants_of, person_id=asker.person_id))}
    assert states == {asker.grant_id: "paused", other.grant_id: "active"}
    versions = asker.transact(partial(consents.versions, person_id=asker.person_id, grant_id=asker.grant_id))
    assert chain.intact(versions)
    assert (versions[-1].step, versions[-1].actor) == ("paused", "person")


def test_pausing_takes_back_what_was_offered_to_that_organisation(settings: Settings, keys: Keyring) -> None:
    asker = Asker(settings, keys, shares=False)
    mine: dict[str, Any] = {"person_id": asker.person_id, "now": db.now()}
    reply = consent.Reply(client_id=asker.offer.client_id, purpose_id=asker.offer.purpose_id, shown={}, **mine)
    less = counters.Less(attributes=["email.main"], mode="once", days=None, level=1)
    offered = asker.transact(lambda session: counters.counter(session, reply, less)).grant_id
    asker.ask(pause=True)
    accept = partial(counters.accept, client_id=asker.offer.client_id, grant_id=offered, now=db.now())
    with pytest.raises(counters.OfferOverError):
        asker.transact(accept)


def run_out(session: Session, *, person_id: UUID, grant_id: UUID, now: datetime) -> None:
    """Let the time of a consent be over without anybody having said so."""
    mine = update(Grant).where(Grant.person_id == person_id, Grant.grant_id == grant_id)
    session.execute(mine.values(expires_at=now - timedelta(seconds=1)))


@pytest.mark.parametrize("act", [consent.pause, consent.withdraw, run_out])
def test_what_is_paused_or_over_stays_as_it_is(asker: Asker, act: Callable[..., object]) -> None:
    mine: dict[str, Any] = {"person_id": asker.person_id, "grant_id": asker.grant_id}
    asker.transact(lambda session: act(session, now=db.now(), **mine))
    before = len(asker.transact(partial(consents.versions, **mine)))
    asker.ask(pause=True)
    assert len(asker.transact(partial(consents.versions, **mine))) == before


@pytest.mark.parametrize(
    "columns",
    [
        {"outcome": "denied", "reason": "consent-absent", "given": {}, "grant_id": None, "grant_version": None},
        {"outcome": "sending", "channel": "push"},
        {"channel": "staff", "asked": [], "given": {}},
        {"channel": "consent", "reason": "given"},
    ],
)
def test_any_row_can_be_asked_about(asker: Asker, columns: dict[str, Any]) -> None:
    row = asker.ask(asker.row(**columns))
    assert asker.held(row).state == rules.ASKED


def test_a_look_by_an_operator_is_asked_of_operators(asker: Asker) -> None:
    row = asker.ask(asker.row(channel="operator", asked=[], given={}))
    held = asker.held(row)
    assert (held.state, held.company_id, held.due_at) == (rules.ESCALATED, None, None)
    assert asker.transact(lambda session: dispute_queries.open_disputes(session, asker.offer.company_id)) == 0
    with pytest.raises(NotFoundError):
        asker.answer(row)
    asker.decide(row, rules.UNFOUNDED)
    assert asker.held(row).state == rules.DECIDED


def test_open_disputes_are_those_that_somebody_else_owes_something(asker: Asker) -> None:
    def counted() -> int:
        found: int = asker.transact(lambda session: dispute_queries.open_disputes(session, asker.offer.company_id))
        return found

    assert counted() == 0
    asker.ask()
    row = asker.ask()
    assert counted() == 2
    asker.answer(row)
    assert counted() == 1, "an answer counts for the company until the person says otherwise"
    asker.escalate(row)
    assert counted() == 2
    asker.decide(row, rules.MEND, days=7)
    assert counted() == 2
    asker.answer(row)
    asker.settle(row)
    assert counted() == 1


def test_a_suspended_app_gets_nothing_until_that_is_lifted(asker: Asker) -> None:
    row = asker.with_operator()
    asker.decide(row, rules.SUSPEND)
    standing = asker.transact(partial(consents.standing, person_id=asker.person_id, grant_id=asker.grant_id))
    decision = policy.decide(
        standing, client_id=asker.offer.client_id, channel=policy.Channel.PULL, requested=None, now=db.now()
    )
    assert decision.refusal is policy.Refusal.CLIENT_SUSPENDED
    found = asker.transact(lambda session: companies.client(session, asker.offer.client_id))
    assert not found.active
    assert not found.ended
    asker.transact(lambda session: clients.lift(session, client_id=asker.offer.client_id))
    assert asker.transact(lambda session: companies.client(session, asker.offer.client_id)).active


def test_who_is_a_party_to_a_question_neither_decides_it_nor_lifts_what_was_decided(asker: Asker) -> None:
    staff = db.new_id()
    hire = partial(registering.add_staff, company_id=asker.offer.company_id, person_id=staff)
    asker.transact(hire)
    row = asker.with_operator()
    for party in (staff, asker.person_id):
        with pytest.raises(disputes.OwnQuestionError):
            asker.decide(row, rules.UNFOUNDED, operator_id=party)
    asker.decide(row, rules.SUSPEND)
    with pytest.raises(disputes.OwnQuestionError):
        asker.transact(partial(disputes.lift, disclosure_id=row, operator_id=staff))
    assert asker.transact(partial(clients.is_suspended, client_id=asker.offer.client_id))


def test_an_ended_app_is_neither_suspended_nor_brought_back(asker: Asker) -> None:
    asker.transact(lambda session: clients.end(session, client_id=asker.offer.client_id, now=db.now()))
    for act in (clients.suspend, clients.lift):
        asker.transact(partial(act, client_id=asker.offer.client_id))
        assert asker.transact(lambda session: companies.client(session, asker.offer.client_id)).ended


def test_words_are_sealed_for_their_row_and_step(asker: Asker) -> None:
    rows = [asker.ask(words=f"{WORDS} {number}") for number in range(2)]

    def sealed(session: Session) -> list[DisputeStep]:
        mine = select(DisputeStep).where(DisputeStep.disclosure_id.in_(rows)).order_by(DisputeStep.disclosure_id)
        return list(session.scalars(mine))

    first, second = asker.transact(sealed)
    assert b"Zirkonia" not in (first.sealed_words or b"")
    assert WORDS not in repr(asker.said(rows[0]))
    mine = {"person_id": asker.person_id, "number": 3, "at": db.now(), "step": "answered", "actor": "company"}
    for row, words in ((second.disclosure_id, first.sealed_words), (first.disclosure_id, first.sealed_words)):
        with db.sessions(asker.settings.database_url)() as session:
            session.add(DisputeStep(disclosure_id=row, sealed_words=words, **mine))
            session.flush()
            held = dispute_queries.one(session, person_id=asker.person_id, disclosure_id=row)
            assert held
            with pytest.raises(SealBrokenError):
                dispute_queries.steps(session, keyring=asker.keys, held=held)


def test_what_was_said_cannot_be_changed_even_by_the_owner_of_the_tables(asker: Asker) -> None:
    asker.ask()
    owner = db.engine(asker.settings.database_owner_url)
    for statement in ("UPDATE dispute_step SET step = 'x'", "DELETE FROM dispute_step", "TRUNCATE dispute_step"):
        with owner.connect() as connection, pytest.raises(Exception, match="append-only"):
            connection.execute(text(statement))


def test_a_question_that_nobody_sees_to_holds_up_no_other(asker: Asker, settings: Settings) -> None:
    """One that somebody is about to answer at this moment is left for the next sweep."""
    busy, idle = asker.ask(), asker.ask()
    past = update(Dispute).where(Dispute.disclosure_id.in_([busy, idle])).values(look_at=db.now(), due_at=db.now())
    asker.transact(lambda session: session.execute(past))
    with db.transaction(settings.database_url) as answering:
        asker.answering(busy)(answering)
        sweep(asker, db.now())
        assert asker.held(idle).state == rules.ESCALATED
    assert asker.held(busy).state == rules.ANSWERED

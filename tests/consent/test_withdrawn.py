"""What people share for a purpose that is withdrawn is ended, each as a step of its own, and cannot begin again."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from sqlalchemy import select, update

from portal import db
from portal.companies.models import Purpose
from portal.consent import cards, counters, freezing, jobs, later, queries, renewing, services, terms, withdrawn
from portal.consent.models import ConsentLetter
from portal.consent.services import Reply
from portal.wiring import wire
from tests.consent.offers import NOW, Offer
from tests.purposes_gone import ROLES, withdraw

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from sqlalchemy.orm import Session

    from portal.config import Settings
    from portal.consent.models import Grant
    from portal.vault.keyring import Keyring
    from tests.consent.browser import Browser

STEPS = {"company": ("ended", "company"), "operator": ("taken-down", "operator")}
AFTER = NOW + timedelta(days=1)


@pytest.fixture(autouse=True)
def nothing_left(settings: Settings) -> None:
    """What other tests have withdrawn is nobody's here."""
    gone = update(Purpose).where(Purpose.withdrawn_at.is_not(None), Purpose.closed_at.is_(None))
    with db.transaction(settings.database_url) as session:
        session.execute(gone.values(closed_at=db.now()))


def closed(session: Session, offer: Offer) -> bool:
    return session.scalars(select(Purpose.closed_at).where(Purpose.purpose_id == offer.purpose_id)).one() is not None


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("state", ["active", "paused", "frozen"])
def test_each_is_ended_by_whoever_withdrew_it(session: Session, offer: Offer, role: str, state: str) -> None:
    held = offer.give(session, uuid4())
    if state == "paused":
        services.pause(session, person_id=held.person_id, grant_id=held.grant_id, now=NOW)
    if state == "frozen":
        freezing.freeze(session, person_id=held.person_id, now=NOW)
    withdraw(session, offer.purpose_id, role)
    assert withdrawn.end_due(session, now=db.now()) == 1
    assert held.state == "ended"
    last = queries.versions(session, person_id=held.person_id, grant_id=held.grant_id)[-1]
    assert (last.step, last.actor) == STEPS[role]
    written = select(ConsentLetter.version).where(ConsentLetter.grant_id == held.grant_id)
    assert held.version in session.scalars(written).all()
    assert withdrawn.end_due(session, now=db.now()) == 0


def test_it_is_closed_when_nobody_can_be_left(session: Session, offer: Offer) -> None:
    withdraw(session, offer.purpose_id, "company")
    withdrawn.end_due(session, now=db.now())
    assert not closed(session, offer), "somebody may have agreed at that moment"
    withdrawn.end_due(session, now=db.now() + timedelta(minutes=2))
    assert closed(session, offer)


def test_others_go_on(session: Session, offer: Offer) -> None:
    other, person_id = Offer(session), uuid4()
    stays, ends = other.give(session, person_id), offer.give(session, person_id)
    withdraw(session, offer.purpose_id, "company")
    withdrawn.end_due(session, now=db.now())
    assert (stays.state, ends.state) == ("active", "ended")


def test_many_are_ended_in_turns(session: Session, offer: Offer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(withdrawn, "_AT_ONCE", 2)
    for _ in range(5):
        offer.give(session, uuid4())
    withdraw(session, offer.purpose_id, "company")
    late = db.now() + timedelta(minutes=2)
    assert [withdrawn.end_due(session, now=late) for _ in range(4)] == [2, 2, 1, 0]
    assert closed(session, offer)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("act", ["give", "renew", "change", "ask later"])
def test_nothing_begins_goes_on_or_grows(
    session: Session, keys: Keyring, offer: Offer, person: Callable[..., UUID], *, act: str, role: str
) -> None:
    held = offer.give(session, person(name__full="Zenobia Quill"), days=90)
    withdraw(session, offer.purpose_id, role)
    mine: dict[str, Any] = {"person_id": held.person_id, "grant_id": held.grant_id, "now": AFTER}
    acts: dict[str, Callable[[], object]] = {
        "give": lambda: offer.give(session, uuid4()),
        "renew": lambda: renewing.renew(session, level=1, shown={}, **mine),
        "change": lambda: services.change(
            session, attributes=["name.full", "email.main"], mode="kept-up-to-date", days=30, level=1, shown={}, **mine
        ),
        "ask later": lambda: later.ask(
            session, keyring=keys, client_id=offer.client_id, grant_id=held.grant_id, attributes=["email.main"],
            now=AFTER,
        ),
    }  # fmt: skip
    with pytest.raises(terms.PurposeWithdrawnError):
        acts[act]()


@pytest.mark.parametrize(("role", "step"), [("company", ("declined", "company")), ("operator", ("lapsed", "portal"))])
def test_what_is_offered_comes_to_nothing(session: Session, offer: Offer, role: str, step: tuple[str, str]) -> None:
    reply = Reply(person_id=uuid4(), client_id=offer.client_id, purpose_id=offer.purpose_id, shown={}, now=NOW)
    less = counters.Less(attributes=["email.main"], mode="kept-up-to-date", days=30, level=1)
    held = counters.counter(session, reply, less)
    withdraw(session, offer.purpose_id, role)
    with pytest.raises(counters.OfferOverError):
        counters.accept(session, client_id=offer.client_id, grant_id=held.grant_id, now=NOW)
    assert withdrawn.end_due(session, now=db.now()) == 1
    last = queries.versions(session, person_id=held.person_id, grant_id=held.grant_id)[-1]
    assert (held.state, last.step, last.actor) == ("refused", *step)


def test_who_agreed_at_the_very_moment_is_ended_too(settings: Settings, lasting: Offer) -> None:
    """Their transaction began to read before the purpose was withdrawn, and is seen only when it was."""
    late = db.now() + timedelta(minutes=2)
    with db.transaction(settings.database_url) as agreeing:
        held = lasting.give(agreeing, db.new_id(), now=db.now())
        grant_id = held.grant_id
        with db.transaction(settings.database_url) as session:
            withdraw(session, lasting.purpose_id, "company")
        with db.transaction(settings.database_url) as session:
            assert withdrawn.end_due(session, now=db.now()) == 0
    with db.transaction(settings.database_url) as session:
        assert withdrawn.end_due(session, now=late) == 1
        assert queries.by_id(session, grant_id=grant_id).state == "ended"


def test_a_job_ends_them_at_once(settings: Settings, lasting: Offer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(withdrawn, "_AT_ONCE", 2)
    wire()
    with db.transaction(settings.database_url) as session:
        held = [lasting.give(session, db.new_id(), now=db.now()).grant_id for _ in range(5)]
        withdraw(session, lasting.purpose_id, "operator")
    jobs.end_withdrawn()
    with db.transaction(settings.database_url) as session:
        assert {queries.by_id(session, grant_id=grant_id).state for grant_id in held} == {"ended"}


def test_who_stopped_before_cannot_begin_again(session: Session, offer: Offer) -> None:
    held = offer.give(session, uuid4())
    services.withdraw(session, person_id=held.person_id, grant_id=held.grant_id, now=NOW)
    assert cards.of_grant(session, held=held, now=NOW).may_begin_again
    withdraw(session, offer.purpose_id, "company")
    assert not cards.of_grant(session, held=held, now=NOW).may_begin_again


@pytest.mark.parametrize(
    ("role", "tag", "row"),
    [
        ("company", "Ended by them", "They ended it"),
        ("operator", "Ended by us", "We ended it, because they may not use details for this any more"),
    ],
)
def test_the_person_reads_who_ended_it(
    settings: Settings, browser: Browser, lasting: Offer, *, role: str, tag: str, row: str
) -> None:
    def act(work: Callable[[Session], object]) -> None:
        with db.transaction(settings.database_url) as session:
            work(session)

    def give(session: Session) -> Grant:
        return lasting.give(session, browser.person_id, now=db.now())

    act(give)
    act(lambda session: withdraw(session, lasting.purpose_id, role))
    act(lambda session: withdrawn.end_due(session, now=db.now()))
    assert tag in browser.get("/sharing").text
    assert row in browser.get("/activity").text

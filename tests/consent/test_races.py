"""Two windows at once: the database settles it, and what is kept is whole."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from portal import db
from portal.consent import chain, counters, queries, services
from portal.errors import PortalError
from tests.consent.offers import NOW, Offer

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from sqlalchemy.orm import Session

    from portal.config import Settings
    from portal.consent.models import Grant


def together(settings: Settings, *acts: Callable[[Session], object]) -> list[object]:
    """Run each act in a transaction and a thread of its own, all starting at the same moment."""
    start = Barrier(len(acts))

    def run(act: Callable[[Session], object]) -> object:
        with db.transaction(settings.database_url) as session:
            start.wait(timeout=10)
            return act(session)

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(run, acts))


def kept(settings: Settings, person_id: UUID) -> list[Grant]:
    with db.transaction(settings.database_url) as session:
        grants = queries.grants_of(session, person_id=person_id)
        for grant in grants:
            versions = queries.versions(session, person_id=person_id, grant_id=grant.grant_id)
            assert chain.intact(versions)
            assert len(versions) == grant.version
        return grants


def test_giving_twice_at_once_is_one_grant(settings: Settings, lasting: Offer) -> None:
    for _ in range(5):
        person_id = uuid4()
        together(settings, *[partial(lasting.give, person_id=person_id)] * 2)
        [grant] = kept(settings, person_id)
        assert (grant.state, grant.version) == ("active", 2)


def test_giving_and_stopping_at_once_leaves_one_answer(settings: Settings, lasting: Offer) -> None:
    for _ in range(5):
        person_id = uuid4()
        with db.transaction(settings.database_url) as session:
            first = lasting.give(session, person_id)
        mine: dict[str, Any] = {"person_id": person_id, "grant_id": first.grant_id, "now": NOW}
        together(
            settings,
            partial(lasting.give, person_id=person_id),
            partial(services.withdraw, **mine),
        )
        states = sorted(grant.state for grant in kept(settings, person_id))
        # Given first: the stop ended that; stopped first: the consent began anew.
        assert states in (["withdrawn"], ["active", "withdrawn"])


def test_stopping_and_pausing_at_once_ends_stopped(settings: Settings, lasting: Offer) -> None:
    person_id = uuid4()
    with db.transaction(settings.database_url) as session:
        grant = lasting.give(session, person_id)
    mine: dict[str, Any] = {"person_id": person_id, "grant_id": grant.grant_id, "now": NOW}

    def pause(session: Session) -> None:
        try:
            services.pause(session, **mine)
        except services.StoppedError:
            session.rollback()

    together(settings, pause, partial(services.withdraw, **mine))
    assert [one.state for one in kept(settings, person_id)] == ["withdrawn"]


def test_an_offer_is_settled_once_whoever_comes_first(settings: Settings, lasting: Offer) -> None:
    """The company accepts and declines, the person takes it back, offers anew and shares it all: at the same moment."""
    less = counters.Less(attributes=["email.main"], mode="asked", days=30, level=1)
    asked: dict[str, Any] = {"client_id": lasting.client_id, "purpose_id": lasting.purpose_id}
    for _ in range(6):
        person_id = uuid4()
        reply = services.Reply(person_id=person_id, shown={}, now=db.now(), **asked)
        offer = partial(counters.counter, reply=reply, less=less)
        with db.transaction(settings.database_url) as session:
            made = counters.counter(session, reply, less)
        theirs: dict[str, Any] = {"client_id": lasting.client_id, "grant_id": made.grant_id, "now": db.now()}
        acts: list[Callable[[Session], object]] = [
            partial(counters.accept, **theirs), partial(counters.decline, **theirs), offer,
            partial(counters.take_back, person_id=person_id, grant_id=made.grant_id, now=db.now()),
            partial(lasting.give, person_id=person_id),
        ]  # fmt: skip
        together(settings, *[partial(_unless_refused, act=act) for act in acts])
        states = [grant.state for grant in kept(settings, person_id)]
        assert states.count("active") == 1, "whoever gave it all gave it, or added to what was accepted"
        assert states.count("countered") <= 1
        assert set(states) <= {"active", "refused", "countered"}


def _unless_refused(session: Session, act: Callable[[Session], object]) -> None:
    try:
        act(session)
    except PortalError:
        session.rollback()


def test_a_subject_is_made_once(settings: Settings) -> None:
    person_id, company_id = uuid4(), uuid4()
    subs = together(
        settings, *[lambda session: services.subject(session, person_id=person_id, company_id=company_id)] * 4
    )
    assert len(set(subs)) == 1

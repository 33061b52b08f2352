"""A grant's life: what each step keeps, tells and refuses."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from sqlalchemy import event, update

from portal.companies.models import Client, Purpose
from portal.consent import cards, chain, queries, rules, services, terms
from portal.errors import NotFoundError, PortalError
from portal.ledger import queries as ledger
from portal.ledger.services import NewDisclosure, record
from tests.consent.offers import NOW, Offer

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.orm import Session

    from portal import events
    from portal.consent.models import Grant

ALL = ["phone.mobile", "email.main", "name.full"]


def steps(session: Session, grant: Grant) -> list[str]:
    kept = queries.versions(session, person_id=grant.person_id, grant_id=grant.grant_id)
    assert chain.intact(kept)
    return [version.step for version in kept]


def activity(session: Session, person_id: UUID) -> list[tuple[str, str, str | None]]:
    rows = ledger.of_person(session, person_id=person_id)
    return [(row.channel, row.outcome, row.reason) for row in rows]


def test_giving_keeps_what_was_chosen_and_tells(
    session: Session, offer: Offer, told: list[events.GrantChanged]
) -> None:
    person_id = uuid4()
    grant = offer.give(session, person_id, attributes=ALL, days=90)
    assert (grant.state, grant.version, grant.mode) == ("active", 1, "kept-up-to-date")
    assert grant.attributes == ["name.full", "email.main", "phone.mobile"]
    assert grant.expires_at == NOW + timedelta(days=90)
    assert [fact.grant_id for fact in told] == [grant.grant_id]
    assert activity(session, person_id) == [("consent", "completed", "given")]
    [entry] = ledger.of_person(session, person_id=person_id)
    assert (entry.company_name, entry.purpose) == (offer.name, "send bills to the right address")


def test_giving_again_is_a_new_version_of_the_same(session: Session, offer: Offer) -> None:
    person_id = uuid4()
    first = offer.give(session, person_id)
    second = offer.give(session, person_id, attributes=ALL, now=NOW + timedelta(hours=1))
    assert (second.grant_id, second.version) == (first.grant_id, 2)
    assert steps(session, second) == ["given", "given"]


@pytest.mark.parametrize("stop", [services.withdraw, services.end])
def test_after_a_stop_giving_starts_afresh(session: Session, offer: Offer, stop: Any) -> None:  # noqa: ANN401 - a service
    person_id = uuid4()
    first = offer.give(session, person_id)
    stop(session, person_id=person_id, grant_id=first.grant_id, now=NOW + timedelta(hours=1))
    second = offer.give(session, person_id, now=NOW + timedelta(hours=2))
    assert second.grant_id != first.grant_id
    assert queries.live_for_purpose(session, person_id=person_id, purpose_id=offer.purpose_id) == second


def test_each_step_is_kept_told_and_shown(session: Session, offer: Offer, told: list[events.GrantChanged]) -> None:
    person_id = uuid4()
    grant = offer.give(session, person_id)
    mine: dict[str, Any] = {"person_id": person_id, "grant_id": grant.grant_id}
    for hour, act in enumerate([services.pause, services.pause, services.resume, services.resume], start=1):
        act(session, **mine, now=NOW + timedelta(hours=hour))
    choice: dict[str, Any] = {"attributes": ALL, "mode": "asked", "days": 365, "level": 1, "shown": {"title": "?"}}
    services.change(session, **mine, **choice, now=NOW + timedelta(hours=5))
    services.withdraw(session, **mine, now=NOW + timedelta(hours=6))
    services.withdraw(session, **mine, now=NOW + timedelta(hours=7))
    assert steps(session, grant) == ["given", "paused", "resumed", "changed", "withdrawn"]
    assert [reason for _, _, reason in activity(session, person_id)] == steps(session, grant)[::-1]
    assert len(told) == 5


def test_a_change_while_paused_stays_paused_and_may_keep_its_end(session: Session, offer: Offer) -> None:
    person_id = uuid4()
    grant = offer.give(session, person_id, days=90)
    mine: dict[str, Any] = {"person_id": person_id, "grant_id": grant.grant_id, "now": NOW + timedelta(hours=1)}
    services.pause(session, **mine)
    changed = services.change(
        session, **mine, attributes=ALL, mode="kept-up-to-date", days=None, level=1, shown={}, keep_end=True
    )
    assert (changed.state, changed.expires_at) == ("paused", NOW + timedelta(days=90))


def test_declining_is_recorded_and_leaves_what_is_shared(
    session: Session, offer: Offer, told: list[events.GrantChanged]
) -> None:
    person_id = uuid4()
    held = offer.give(session, person_id)
    asked: dict[str, Any] = {"client_id": offer.client_id, "purpose_id": offer.purpose_id}
    said: dict[str, Any] = {"shown": {"title": "Share?"}, "now": NOW + timedelta(hours=1)}
    refused = services.refuse(session, services.Reply(person_id=person_id, **asked, **said))
    assert (refused.state, refused.attributes, steps(session, refused)) == ("refused", [], ["refused"])
    assert activity(session, person_id)[0] == ("consent", "denied", "refused")
    assert queries.live_for_purpose(session, person_id=person_id, purpose_id=offer.purpose_id) == held
    assert [fact.grant_id for fact in told] == [held.grant_id]


@pytest.mark.parametrize(
    ("choice", "error"),
    [
        ({"attributes": ["email.main"]}, terms.RequiredMissingError),
        ({"attributes": ["name.full", "birth.date"]}, terms.NotAskedError),
        ({"attributes": ["name.full", "no-such-thing"]}, terms.NotAskedError),
        ({"mode": "for-ever"}, terms.ModeNotOfferedError),
        ({"days": 366}, terms.TooLongError),
        ({"days": 0}, terms.TooLongError),
    ],
)
def test_too_much_and_too_little_are_refused(
    session: Session, offer: Offer, choice: dict[str, Any], error: type[PortalError]
) -> None:
    person_id = uuid4()
    with pytest.raises(error):
        offer.give(session, person_id, **choice)
    assert queries.grants_of(session, person_id=person_id) == []


def test_a_purpose_caps_mode_and_length(session: Session) -> None:
    offer = Offer(session, mode="asked", longest_days=30)
    for choice in ({"mode": "kept-up-to-date", "days": 30}, {"mode": "asked"}, {"mode": "asked", "days": 31}):
        with pytest.raises((terms.ModeNotOfferedError, terms.TooLongError)):
            offer.give(session, uuid4(), **choice)
    once = offer.give(session, uuid4(), mode="once", days=None)
    assert once.expires_at == NOW + timedelta(days=7)


def test_nothing_can_be_given_to_who_may_not_ask(session: Session, offer: Offer) -> None:
    other = Offer(session)
    with pytest.raises(NotFoundError):
        services.give(
            session,
            person_id=uuid4(),
            client_id=other.client_id,
            purpose_id=offer.purpose_id,
            attributes=["name.full"],
            mode="asked",
            days=30,
            level=1,
            shown={},
            now=NOW,
        )
    session.execute(update(Purpose).where(Purpose.purpose_id == other.purpose_id).values(withdrawn_at=NOW))
    session.execute(update(Client).where(Client.client_id == offer.client_id).values(state="suspended"))
    session.expire_all()
    with pytest.raises(terms.PurposeWithdrawnError):
        other.give(session, uuid4())
    with pytest.raises(terms.ClientSuspendedError):
        offer.give(session, uuid4())


@pytest.mark.parametrize("act", [services.pause, services.resume, services.withdraw, services.end])
def test_nobody_touches_another_persons_grant(session: Session, offer: Offer, act: Any) -> None:  # noqa: ANN401 - a service
    grant = offer.give(session, uuid4())
    with pytest.raises(NotFoundError):
        act(session, person_id=uuid4(), grant_id=grant.grant_id, now=NOW)
    assert steps(session, grant) == ["given"]


def test_what_is_over_cannot_be_paused_resumed_or_changed(session: Session, offer: Offer) -> None:
    person_id = uuid4()
    grant = offer.give(session, person_id, days=1)
    mine: dict[str, Any] = {"person_id": person_id, "grant_id": grant.grant_id}
    for act in (services.pause, services.resume):
        with pytest.raises(services.StoppedError):
            act(session, **mine, now=NOW + timedelta(days=1))
    services.withdraw(session, **mine, now=NOW)
    with pytest.raises(services.StoppedError):
        services.resume(session, **mine, now=NOW)


def test_time_closes_what_is_due_and_nothing_else(session: Session, offer: Offer) -> None:
    people = [uuid4() for _ in range(3)]
    due = [offer.give(session, people[0], days=1), offer.give(session, people[1], days=1)]
    services.pause(session, person_id=people[1], grant_id=due[1].grant_id, now=NOW)
    later = offer.give(session, people[2], days=2)
    assert services.expire_due(session, now=NOW + timedelta(days=1)) >= 2
    assert [grant.state for grant in [*due, later]] == ["expired", "expired", "active"]
    assert steps(session, due[0]) == ["given", "expired"]


def test_a_company_knows_a_person_by_one_random_name(session: Session) -> None:
    person_id, one, other = uuid4(), uuid4(), uuid4()
    sub = services.subject(session, person_id=person_id, company_id=one)
    assert sub == services.subject(session, person_id=person_id, company_id=one)
    assert sub != services.subject(session, person_id=person_id, company_id=other)
    assert len(sub) == 22
    assert queries.person_of(session, company_id=one, sub=sub) == person_id
    assert queries.person_of(session, company_id=other, sub=sub) is None
    assert queries.sub_of(session, person_id=person_id, company_id=one) == sub


def test_a_changed_or_missing_version_breaks_the_chain(session: Session, offer: Offer) -> None:
    person_id = uuid4()
    grant = offer.give(session, person_id)
    services.pause(session, person_id=person_id, grant_id=grant.grant_id, now=NOW)
    kept = queries.versions(session, person_id=person_id, grant_id=grant.grant_id)
    assert chain.intact(kept)
    assert not chain.intact(kept[1:])
    session.expunge_all()
    kept[0].shown = {"title": "Give us everything"}
    assert not chain.intact(kept)


def test_standing_is_what_the_rules_decide_by(session: Session, offer: Offer) -> None:
    person_id = uuid4()
    grant = offer.give(session, person_id, mode="once", days=None)
    found = queries.standing(session, person_id=person_id, grant_id=grant.grant_id)
    assert found is not None
    assert (found.state, found.used, found.purpose_withdrawn, found.client_active) == ("active", False, False, True)
    pulled = NewDisclosure(
        person_id=person_id,
        at=NOW,
        context_id=grant.context_id,
        grant_id=grant.grant_id,
        channel="pull",
        outcome="completed",
        asked=["name.full"],
        given={"name.full": 1},
    )
    record(session, pulled)
    again = queries.standing(session, person_id=person_id, grant_id=grant.grant_id)
    decision = rules.decide(again, client_id=offer.client_id, channel=rules.Channel.PULL, requested=None, now=NOW)
    assert decision.refusal is rules.Refusal.ALREADY_USED
    assert queries.standing(session, person_id=uuid4(), grant_id=grant.grant_id) is None


def test_recipients_are_those_who_get_an_edit_at_once(session: Session) -> None:
    person_id = uuid4()
    live, paused, asked, over = (Offer(session) for _ in range(4))
    live.give(session, person_id, attributes=["name.full", "email.main"])
    grant = paused.give(session, person_id)
    services.pause(session, person_id=person_id, grant_id=grant.grant_id, now=NOW)
    asked.give(session, person_id, mode="asked")
    over.give(session, person_id, days=1)
    later = NOW + timedelta(days=1)
    [one] = queries.recipients(session, person_id=person_id, attributes=["name.full"], now=later)
    assert (one.company_name, one.attributes) == (live.name, ("name.full",))
    assert queries.recipients(session, person_id=person_id, attributes=["phone.mobile"], now=later) == []


def test_naming_recipients_costs_three_queries_however_many_there_are(session: Session) -> None:
    person_id = uuid4()
    for _ in range(12):
        Offer(session).give(session, person_id)
    session.flush()
    session.expire_all()
    statements: list[str] = []
    event.listen(session.connection(), "before_cursor_execute", lambda *args: statements.append(args[2]))
    assert len(queries.recipients(session, person_id=person_id, attributes=["name.full"], now=NOW)) == 12
    assert len(statements) == 3


def test_who_declines_more_of_what_they_share_still_shares(session: Session, offer: Offer) -> None:
    person_id = uuid4()
    held = offer.give(session, person_id)
    asked: dict[str, Any] = {"client_id": offer.client_id, "purpose_id": offer.purpose_id}
    services.refuse(session, services.Reply(person_id=person_id, shown={}, now=NOW, **asked))
    [card] = cards.of_person(session, person_id=person_id, now=NOW)
    assert (card.id, card.state) == (held.grant_id, "active")
    services.withdraw(session, person_id=person_id, grant_id=held.grant_id, now=NOW)
    assert len(cards.of_person(session, person_id=person_id, now=NOW)) == 2

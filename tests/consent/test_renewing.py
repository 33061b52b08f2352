"""Going on with what is shared, and declaring void what should not have begun."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from click.testing import CliRunner

from portal import cli, db
from portal.consent import freezing, queries, renewing, rules, services, terms
from portal.errors import NotFoundError
from portal.ledger import queries as ledger
from portal.ledger import services as logging
from tests.consent.offers import NOW, Offer

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.orm import Session

    from portal import events
    from portal.config import Settings
    from portal.consent.models import Grant

LATER = NOW + timedelta(days=80)


@pytest.fixture
def held(session: Session, offer: Offer) -> Grant:
    return offer.give(session, uuid4(), days=90)


def renew(session: Session, held: Grant, **terms_of: Any) -> Grant:  # noqa: ANN401 - arguments of `renew`
    chosen: dict[str, Any] = {"level": 1, "shown": {"title": "Still right?"}, "now": LATER} | terms_of
    return renewing.renew(session, person_id=held.person_id, grant_id=held.grant_id, **chosen)


def test_it_goes_on_as_long_again_as_was_chosen(session: Session, held: Grant) -> None:
    renewed = renew(session, held)
    assert (renewed.expires_at, renewed.changed_at, renewed.state) == (LATER + timedelta(days=90), LATER, "active")
    assert renewed.given_at == NOW
    [_given, step] = queries.versions(session, person_id=held.person_id, grant_id=held.grant_id)
    assert (step.step, step.actor, step.shown) == ("renewed", "person", {"title": "Still right?"})


def test_or_for_as_long_as_they_say_now(session: Session, held: Grant) -> None:
    assert renew(session, held, days=30).expires_at == LATER + timedelta(days=30)


def test_what_has_no_end_is_confirmed_and_has_none_afterwards(
    session: Session, offer: Offer, told: list[events.GrantChanged]
) -> None:
    held = offer.give(session, uuid4())
    assert renew(session, held).expires_at is None
    assert len(told) == 2


def test_paused_stays_paused(session: Session, held: Grant) -> None:
    services.pause(session, person_id=held.person_id, grant_id=held.grant_id, now=NOW)
    assert renew(session, held).state == "paused"


@pytest.mark.parametrize(
    ("days", "error"), [(366, terms.TooLongError), (0, terms.TooLongError), (-1, terms.TooLongError)]
)
def test_nobody_renews_for_longer_than_was_asked(
    session: Session, held: Grant, days: int, error: type[Exception]
) -> None:
    with pytest.raises(error):
        renew(session, held, days=days)


def test_what_is_over_shared_once_or_frozen_is_not_renewed(session: Session, offer: Offer, held: Grant) -> None:
    with pytest.raises(services.StoppedError):
        renew(session, held, now=NOW + timedelta(days=91))
    once = Offer(session).give(session, held.person_id, mode="once")
    with pytest.raises(renewing.SharedOnceError):
        renew(session, once, now=NOW)
    freezing.freeze(session, person_id=held.person_id, now=NOW)
    with pytest.raises(freezing.FrozenError):
        renew(session, held)
    offer.alter(session)


def _used(session: Session, held: Grant) -> None:
    row = logging.NewDisclosure(
        person_id=held.person_id, at=NOW, context_id=held.context_id, channel="pull", outcome="completed",
        asked=["name.full"], given={"name.full": 1}, grant_id=held.grant_id, grant_version=1,
    )  # fmt: skip
    logging.record(session, row)


def test_what_is_void_flows_no_more_and_is_to_be_deleted(session: Session, held: Grant) -> None:
    _used(session, held)
    mine: dict[str, Any] = {"person_id": held.person_id, "grant_id": held.grant_id}
    void = renewing.invalidate(session, **mine, reason="  Nobody was\nasked. ", now=LATER)
    assert (void.state, void.erasure_asked_at) == ("invalidated", LATER)
    standing = queries.standing(session, **mine)
    decision = rules.decide(standing, client_id=held.client_id, channel=rules.Channel.PULL, requested=None, now=LATER)
    assert decision.refusal is rules.Refusal.INVALIDATED
    step = queries.versions(session, **mine)[-1]
    assert (step.step, step.actor, step.shown) == ("invalidated", "operator", {"reason": "Nobody was asked."})
    assert renewing.invalidate(session, **mine, reason="Again.", now=LATER).version == void.version
    with pytest.raises(services.StoppedError):
        services.resume(session, **mine, now=LATER)
    [last, *_] = ledger.of_person(session, person_id=held.person_id)
    assert (last.channel, last.reason) == ("consent", "invalidated")


@pytest.mark.parametrize("reason", ["", "  ", "x" * 201])
def test_it_takes_a_reason(session: Session, held: Grant, reason: str) -> None:
    with pytest.raises(renewing.ReasonError):
        renewing.invalidate(session, person_id=held.person_id, grant_id=held.grant_id, reason=reason, now=LATER)


def test_a_command_declares_it_void(settings: Settings, lasting: Offer) -> None:
    person_id: UUID = uuid4()
    with db.transaction(settings.database_url) as session:
        held = lasting.give(session, person_id)
    answer = CliRunner().invoke(cli.portal, ["consent-void", str(held.grant_id), "--reason", "Nobody was asked."])
    assert answer.output.startswith(f"{held.grant_id} is void.")
    with db.transaction(settings.database_url) as session:
        found = queries.grant(session, person_id=person_id, grant_id=held.grant_id)
        assert found is not None
        assert found.state == "invalidated"
    unknown = CliRunner().invoke(cli.portal, ["consent-void", str(uuid4()), "--reason", "Nobody was asked."])
    assert isinstance(unknown.exception, NotFoundError)

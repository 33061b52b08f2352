"""A request for less than its purpose: what the screen says, what is kept, and what a change may widen."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from portal import config
from portal.consent import asking, queries, receipts, services, terms
from portal.consent.terms import Effect, Wanted
from tests.consent.offers import NOW, Offer
from tests.consent.test_asking import build

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.orm import Session

    from portal.consent.models import Grant
    from portal.vault.keyring import Keyring

NARROW = Wanted(
    attributes=("name.full", "email.main"), mode="asked", retention_days=7, longest_days=60, open_ended=False
)
BIRTH = [{"attribute": "birth.date", "reason": "To know your age"}]
LATER = NOW + timedelta(hours=1)


@pytest.fixture
def narrowed(session: Session, keys: Keyring, offer: Offer, person: Callable[..., UUID]) -> Grant:
    """A consent to a narrow request, with the words that were on its screen."""
    who = person(name__full="Zenobia Quill")
    ask = build(session, keys, offer, who, wanted=NARROW)
    return offer.give(session, who, mode="asked", days=60, wanted=NARROW, shown=asking.shown(ask))


def changed(session: Session, held: Grant, **choice: Any) -> Grant:  # noqa: ANN401 - arguments of `change`
    chosen: dict[str, Any] = {
        "attributes": ["name.full"],
        "mode": "asked",
        "days": 30,
        "level": 1,
        "shown": {},
        "now": LATER,
    }
    chosen["wanted"] = asking.agreed(session, held=held)
    return services.change(session, person_id=held.person_id, grant_id=held.grant_id, **chosen | choice)


def test_the_screen_says_what_the_request_asks_and_no_more(
    session: Session, keys: Keyring, offer: Offer, person: Callable[..., UUID]
) -> None:
    ask = build(session, keys, offer, person(), wanted=NARROW)
    shown = asking.shown(ask)
    assert [item["attribute"] for item in shown["chooses"]] == ["email.main"]
    assert shown["how"] == asking.HOW["asked"]
    assert shown["durations"] == ["60 days", "Just this once, within 7 days"]
    assert any("within 7 days" in sentence for sentence in shown["good_to_know"])
    assert not any("told when you change" in sentence for sentence in shown["good_to_know"])
    assert shown["terms"]["retention_days"] == 7


def test_retention_of_none_is_said(session: Session, keys: Keyring, offer: Offer, person: Callable[..., UUID]) -> None:
    ask = build(session, keys, offer, person(), wanted=replace(NARROW, retention_days=0))
    assert "They may not keep your details after they have used them." in ask.good_to_know


def test_the_consent_and_its_receipt_hold_to_the_request(session: Session, offer: Offer, narrowed: Grant) -> None:
    steps = queries.versions(session, person_id=narrowed.person_id, grant_id=narrowed.grant_id)
    _client, purpose = queries.offer(session, offer.client_id, offer.purpose_id)
    receipt = receipts.record(session, narrowed, steps, settings=config.current())
    assert purpose.retention_days == 30
    assert receipt["retention_period"] == {"unit": "DAY", "value": 7}
    assert receipt["consent_mode"] == "asked"
    assert receipt["chain_intact"]


@pytest.mark.parametrize(
    ("choice", "error"),
    [
        ({"mode": "kept-up-to-date"}, terms.ModeNotOfferedError),
        ({"days": None}, terms.TooLongError),
        ({"days": 61}, terms.TooLongError),
    ],
)
def test_an_answer_and_a_change_stay_within_the_request(
    session: Session, offer: Offer, narrowed: Grant, choice: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        offer.give(session, uuid4(), **{"mode": "asked", "days": 60} | choice, wanted=NARROW)
    with pytest.raises(error):
        changed(session, narrowed, **choice)


def test_a_detail_that_was_not_requested_cannot_be_given(session: Session, offer: Offer) -> None:
    with pytest.raises(terms.NotAskedError):
        offer.give(session, uuid4(), attributes=["name.full", "phone.mobile"], mode="asked", days=9, wanted=NARROW)


def test_a_change_adds_details_and_keeps_the_retention(session: Session, narrowed: Grant) -> None:
    after = changed(session, narrowed, attributes=["name.full", "phone.mobile"], wanted=None)
    assert (after.attributes, after.retention_days, after.mode) == (["name.full", "phone.mobile"], 7, "asked")


def test_who_changes_what_they_share_stays_with_the_version_they_agreed_to(
    session: Session, keys: Keyring, person: Callable[..., UUID]
) -> None:
    offer, who = Offer(session), person()
    wide = build(session, keys, offer, who)
    held = offer.give(session, who, days=90, shown=asking.shown(wide))
    offer.alter(session, sentence="sell what we learn", mode="once", retention_days=2, longest_days=5)
    agreed = asking.agreed(session, held=held)
    assert (agreed.mode, agreed.retention_days, agreed.longest_days) == ("kept-up-to-date", 30, 365)
    again = build(session, keys, offer, who, wanted=agreed, version=held.purpose_version)
    assert again.sentence == wide.sentence
    after = changed(session, held, mode="kept-up-to-date", attributes=["name.full", "email.main"], wanted=agreed)
    assert (after.purpose_version, after.attributes) == (1, ["name.full", "email.main"])


@pytest.mark.parametrize("level", [1, 2])
def test_a_sensitive_detail_takes_two_proofs(session: Session, level: int) -> None:
    offer, who = Offer(session, optional=BIRTH), uuid4()
    chosen = ["name.full", "birth.date"]
    if level == 1:
        with pytest.raises(terms.SecondProofNeededError):
            offer.give(session, who, attributes=chosen, level=1)
        return
    held = offer.give(session, who, attributes=chosen, level=2)
    assert held.level == 2
    [step] = queries.versions(session, person_id=who, grant_id=held.grant_id)
    assert step.level == 2


def test_what_is_shared_already_takes_no_proof_again(session: Session) -> None:
    offer, who = Offer(session, optional=BIRTH), uuid4()
    held = offer.give(session, who, attributes=["name.full", "birth.date"], level=2)
    again = offer.give(session, who, attributes=["name.full", "birth.date"], level=1, now=LATER)
    assert (again.grant_id, again.level) == (held.grant_id, 2)
    kept = changed(session, held, mode="kept-up-to-date", attributes=["name.full", "birth.date"])
    assert kept.level == 2
    changed(session, held, mode="kept-up-to-date", attributes=["name.full"])
    with pytest.raises(terms.SecondProofNeededError):
        changed(session, held, mode="kept-up-to-date", attributes=["name.full", "birth.date"])


def test_beginning_anew_takes_the_proof_anew(session: Session, keys: Keyring, person: Callable[..., UUID]) -> None:
    offer, who = Offer(session, optional=BIRTH), person()
    offer.give(session, who, attributes=["name.full", "birth.date"], level=2)
    assert not build(session, keys, offer, who).needs_second_proof(["birth.date"])
    assert build(session, keys, offer, who, effect=Effect.CREATE).needs_second_proof(["birth.date"])
    with pytest.raises(terms.SecondProofNeededError):
        offer.give(session, who, attributes=["name.full", "birth.date"], level=1, effect=Effect.CREATE)


def test_what_is_over_is_shared_newly(session: Session, keys: Keyring, person: Callable[..., UUID]) -> None:
    offer, who = (
        Offer(session, required=[*BIRTH, {"attribute": "name.full", "reason": "To write"}], optional=[]),
        person(),
    )
    assert build(session, keys, offer, who).needs_second_proof([])
    offer.give(session, who, attributes=["name.full", "birth.date"], level=2, days=1)
    assert not build(session, keys, offer, who).needs_second_proof([])
    assert build(session, keys, offer, who, now=NOW + timedelta(days=2)).needs_second_proof([])
    with pytest.raises(terms.SecondProofNeededError):
        offer.give(session, who, attributes=["name.full", "birth.date"], level=1, now=NOW + timedelta(days=2))


@pytest.mark.parametrize("effect", [Effect.MERGE, Effect.REPLACE])
def test_only_the_grant_that_is_named_is_merged_with_or_replaced(
    session: Session, offer: Offer, effect: Effect
) -> None:
    who = uuid4()
    for grant_id in (None, uuid4()):
        with pytest.raises(services.StoppedError):
            offer.give(session, who, effect=effect, grant_id=grant_id)
    held = offer.give(session, who)
    with pytest.raises(services.StoppedError):
        offer.give(session, who, effect=effect, grant_id=uuid4())
    assert offer.give(session, who, effect=effect, grant_id=held.grant_id).version == 2
    services.withdraw(session, person_id=who, grant_id=held.grant_id, now=LATER)
    with pytest.raises(services.StoppedError):
        offer.give(session, who, effect=effect, grant_id=held.grant_id)


def test_a_merge_keeps_what_stays_also_when_the_purpose_asks_for_less_by_now(session: Session, offer: Offer) -> None:
    who = uuid4()
    held = offer.give(session, who, attributes=["name.full", "email.main"], days=30)
    offer.alter(session, optional=[{"attribute": "phone.mobile", "reason": "To call"}], retention_days=3)
    merged = offer.give(session, who, attributes=["phone.mobile"], effect=Effect.MERGE, grant_id=held.grant_id)
    assert (merged.attributes, merged.retention_days) == (["name.full", "phone.mobile"], 3)
    assert (merged.mode, merged.expires_at) == ("kept-up-to-date", NOW + timedelta(days=30))

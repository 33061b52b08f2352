"""How often an organisation may look: asked, read, agreed, kept, and never more than was read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from portal import config, db
from portal.consent import asking, queries, receipts, services, terms
from portal.consent.terms import Effect
from portal.oauth import rich_authorization
from tests.consent.offers import Offer

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from sqlalchemy.orm import Session

    from portal.consent.asking import Ask
    from portal.vault.keyring import Keyring

FOUR = 4


@pytest.fixture
def who(person: Callable[..., UUID]) -> UUID:
    return person(name__full="Zenobia Quill")


@pytest.fixture
def declared(session: Session) -> Offer:
    return Offer(session, pulls_a_day=FOUR)


def build(session: Session, keys: Keyring, offer: Offer, who: UUID, **narrowed: Any) -> Ask:  # noqa: ANN401 - `wanted`
    return asking.build(
        session, keyring=keys, person_id=who, client_id=offer.client_id, purpose_id=offer.purpose_id, **narrowed
    )


def declare(session: Session, offer: Offer, pulls_a_day: int | None) -> None:
    offer.alter(session, pulls_a_day=pulls_a_day)


def once() -> terms.Wanted:
    return terms.Wanted(
        attributes=("name.full",), mode="once", retention_days=0, longest_days=7, open_ended=False, pulls_a_day=FOUR
    )


@pytest.mark.parametrize(
    ("one", "other", "lower"), [(None, None, None), (4, None, 4), (None, 4, 4), (4, 9, 4), (9, 4, 4)]
)
def test_the_lower_ceiling_holds(one: int | None, other: int | None, lower: int | None) -> None:
    assert terms.fewer(one, other) == lower


@pytest.mark.parametrize(
    ("pulls_a_day", "words"),
    [(None, "as often as they need to"), (1, "at most once a day"), (4, "at most 4 times a day")],
)
def test_the_screen_says_it_in_plain_words(
    session: Session, keys: Keyring, who: UUID, pulls_a_day: int | None, words: str
) -> None:
    ask = build(session, keys, Offer(session, pulls_a_day=pulls_a_day), who)
    assert ask.often == f"They may look {words}."
    assert asking.shown(ask)["often"] == ask.often


def test_one_time_is_not_called_often(session: Session, keys: Keyring, declared: Offer, who: UUID) -> None:
    assert build(session, keys, declared, who, wanted=once()).often == ""


def test_it_is_kept_with_the_consent_its_versions_and_its_receipt(session: Session, declared: Offer, who: UUID) -> None:
    grant = declared.give(session, who)
    assert grant.pulls_a_day == FOUR
    steps = queries.versions(session, person_id=who, grant_id=grant.grant_id)
    told = receipts.record(session, grant, steps, settings=config.current())
    assert (told["frequency"], told["events"][0]["frequency"]) == ({"unit": "DAY", "value": FOUR},) * 2
    assert told["chain_intact"]
    assert rich_authorization.granted("billing", grant)[0]["pulls_a_day"] == FOUR


def test_nobody_agrees_to_more_by_changing_or_adding(session: Session, declared: Offer, who: UUID) -> None:
    grant = declared.give(session, who)
    declare(session, declared, 100)
    changed = services.change(
        session,
        person_id=who, grant_id=grant.grant_id, attributes=["name.full"], mode="asked", days=30, level=1, shown={},
        now=db.now(),
    )  # fmt: skip
    assert changed.pulls_a_day == FOUR
    assert declared.give(session, who, effect=Effect.MERGE, grant_id=grant.grant_id).pulls_a_day == FOUR
    assert declared.give(session, who).pulls_a_day == 100


@pytest.mark.parametrize(("pulls_a_day", "covered"), [(4, True), (9, True), (None, True), (3, False)])
def test_to_look_more_often_they_have_to_ask(
    session: Session, keys: Keyring, declared: Offer, who: UUID, *, pulls_a_day: int | None, covered: bool
) -> None:
    declared.give(session, who).pulls_a_day = pulls_a_day
    wanted = terms.Wanted(
        attributes=("name.full",), mode="asked", retention_days=30, longest_days=365, open_ended=True, pulls_a_day=FOUR,
    )  # fmt: skip
    assert build(session, keys, declared, who, wanted=wanted).covered(db.now()) is covered


def test_a_merge_shows_the_ceiling_that_stays(session: Session, keys: Keyring, declared: Offer, who: UUID) -> None:
    declared.give(session, who)
    declare(session, declared, None)
    ask = build(session, keys, declared, who, effect=Effect.MERGE)
    assert ask.often == "They may look at most 4 times a day."


def test_what_was_asked_before_there_were_ceilings_can_be_answered(declared: Offer, session: Session) -> None:
    kept = {"attributes": ["name.full"], "mode": "asked", "retention_days": 30, "longest_days": 365, "open_ended": True}
    _client, purpose = queries.offer(session, declared.client_id, declared.purpose_id)
    assert terms.within(terms.wanted(kept), purpose).pulls_a_day == FOUR

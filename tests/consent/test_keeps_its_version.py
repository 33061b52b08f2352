"""Whoever agreed to a version of a purpose keeps it, whatever the organisation declares later."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from portal.companies import queries as companies
from portal.consent import asking, cards, queries, renewing, rules, services
from portal.errors import NotFoundError
from tests.consent.offers import NOW, Offer

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from sqlalchemy.orm import Session

    from portal.consent.asking import Ask
    from portal.consent.models import Grant
    from portal.vault.keyring import Keyring

BOTH = ["name.full", "email.main"]
PHONE = [{"attribute": "phone.mobile", "reason": "To call you"}]


@pytest.fixture
def who(person: Callable[..., UUID]) -> UUID:
    return person(name__full="Zenobia Quill", email__main="zenobia@example.org", phone__mobile="+353851234567")


@pytest.fixture
def held(session: Session, offer: Offer, who: UUID) -> Grant:
    """What somebody shares under the first version, when there is a second one."""
    made = offer.give(session, who, attributes=BOTH)
    offer.alter(session, sentence="sell what we learn", optional=PHONE, retention_days=3, mode="asked")
    return made


def build(session: Session, keys: Keyring, offer: Offer, who: UUID, version: int | None = None) -> Ask:
    return asking.build(
        session, keyring=keys, person_id=who, client_id=offer.client_id, purpose_id=offer.purpose_id, version=version
    )


def test_what_is_shared_and_said_of_it_stays(session: Session, offer: Offer, who: UUID, held: Grant) -> None:
    card = cards.of_grant(session, held=held, now=NOW)
    assert card.sentence == "send bills to the right address"
    standing = queries.standing_of(session, held)
    decided = rules.decide(
        standing, client_id=offer.client_id, channel=rules.Channel.PUSH, requested=None, now=NOW, proved=None
    )
    assert set(decided.attributes) == set(BOTH)
    [one] = queries.recipients(session, person_id=who, attributes=["email.main"], now=NOW)
    assert one.grant_id == held.grant_id


def test_who_keeps_sharing_keeps_the_version(session: Session, held: Grant, who: UUID) -> None:
    renewed = renewing.renew(session, person_id=who, grant_id=held.grant_id, level=1, shown={}, now=NOW)
    assert (renewed.purpose_version, renewed.attributes, renewed.retention_days) == (1, BOTH, 30)
    paused = services.pause(session, person_id=who, grant_id=held.grant_id, now=NOW)
    assert services.resume(session, person_id=who, grant_id=paused.grant_id, now=NOW).purpose_version == 1


def test_the_organisation_asks_for_another_version_in_full(
    session: Session, keys: Keyring, offer: Offer, who: UUID, held: Grant
) -> None:
    ask = build(session, keys, offer, who)
    assert not ask.covered(NOW)
    assert (ask.sentence, ask.purpose_version) == ("sell what we learn", 2)
    assert [item.attribute for item in ask.chooses if item.new] == ["phone.mobile"]
    assert list(ask.removed) == ["Email address"]
    own = build(session, keys, offer, who, version=1)
    assert (own.sentence, own.removed) == ("send bills to the right address", [])
    after = offer.give(session, who, attributes=["name.full", "phone.mobile"], mode="asked", days=30)
    assert (after.grant_id, after.purpose_version) == (held.grant_id, 2)
    assert (after.attributes, after.retention_days) == (["name.full", "phone.mobile"], 3)


def test_what_is_kept_is_the_version_that_was_read(session: Session, keys: Keyring, offer: Offer, who: UUID) -> None:
    read = build(session, keys, offer, who)
    offer.alter(session, sentence="sell what we learn", optional=PHONE)
    given = offer.give(session, who, attributes=BOTH, shown=asking.shown(read), version=read.purpose_version)
    assert (given.purpose_version, given.attributes) == (1, BOTH)
    assert cards.of_grant(session, held=given, now=NOW).sentence == read.sentence


def test_only_a_test_says_that_nobody_looked(session: Session, keys: Keyring, offer: Offer, who: UUID) -> None:
    looked = build(session, keys, offer, who)
    assert (looked.reviewed, looked.warning) == (True, "")
    tried = Offer(session, state="draft")
    ask = build(session, keys, tried, who)
    assert ask.warning == "This is a test: nobody has looked at this use of your details yet."
    assert asking.shown(ask)["warning"] == ask.warning


@pytest.mark.parametrize(
    ("basis", "words"),
    [("consent", ""), ("contract", "cannot do what you asked them for"), ("legal-obligation", "a law makes them ask"),
     ("public-task", "in the public interest"), ("legitimate-interest", "does not override your own interests")],
)  # fmt: skip
def test_a_person_reads_on_what_basis_they_are_asked(
    session: Session, keys: Keyring, who: UUID, basis: str, words: str
) -> None:
    ask = build(session, keys, Offer(session, lawful_basis=basis), who)
    said = [line for line in asking.shown(ask)["good_to_know"] if line.startswith("They say that")]
    assert [words in line for line in said] == [True] * bool(words)


def test_nobody_is_asked_under_a_version_that_is_not_there(session: Session, offer: Offer) -> None:
    assert companies.purpose(session, offer.purpose_id, version=9) is None
    with pytest.raises(NotFoundError):
        queries.offer(session, offer.client_id, offer.purpose_id, version=9)
    with pytest.raises(NotFoundError):
        queries.offer(session, offer.client_id, uuid4())

"""Which keys a client has, and which of them may be sealed to: nothing walks round the proof or the hold."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from joserfc.jwk import ECKey, OKPKey
from sqlalchemy import select, update

from portal import db
from portal.companies import client_keys, clients, keys, proofs, queries, registration, services
from portal.companies.key_states import AWAY, HOLD, State
from portal.companies.models import ClientKey, CompanyLetter
from portal.errors import NotFoundError
from tests import possession

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from sqlalchemy.orm import Session

    from portal.companies.queries import CompanyFacts
    from portal.config import Settings

    Make = Callable[..., dict[str, Any]]

DAY = timedelta(hours=24)


class Shop:
    """A live app that has proved its first key `e1`, and the private halves of whatever it adds."""

    def __init__(self, session: Session, company: CompanyFacts, first: OKPKey | None = None) -> None:
        self.session = session
        services.verify_company(session, slug=company.slug, now=db.now())
        self.signing = ECKey.generate_key("P-256")
        self.private: dict[str, ECKey | OKPKey] = {"e1": first or ECKey.generate_key("P-256")}
        described = {"client_name": "Bills", "redirect_uris": ["https://b.example/"], "jwks": self.set("e1")}
        self.client_id = services.register_client(
            session, company_slug=company.slug, metadata=described, environment="live", now=db.now()
        )

    def public(self, kid: str, group: str = "") -> dict[str, Any]:
        if kid not in self.private:
            self.private[kid] = ECKey.generate_key("P-256")
        named = {"ucm_group": group} if group else {}
        return {**self.private[kid].as_dict(private=False), "use": "enc", "kid": kid, **named}

    def set(self, *kids: str | tuple[str, str]) -> dict[str, Any]:
        """Return the signing key and these encryption keys, each a kid or (kid, department)."""
        sealed = [self.public(kid) if isinstance(kid, str) else self.public(*kid) for kid in kids]
        return {"keys": [{**self.signing.as_dict(private=False), "use": "sig", "kid": "s1"}, *sealed]}

    def add(self, *kids: str | tuple[str, str]) -> None:
        client_keys.add(self.session, client_id=self.client_id, jwks=self.set(*kids), now=db.now())

    def replace(self, *kids: str | tuple[str, str]) -> None:
        client_keys.replace(self.session, client_id=self.client_id, keys=keys.check(self.set(*kids)), now=db.now())

    def prove(self, kid: str) -> None:
        asked = proofs.challenge(self.session, client_id=self.client_id, kid=kid, now=db.now())
        answer = possession.opened(asked.text, self.private[kid])
        assert proofs.prove(self.session, client_id=self.client_id, kid=kid, answer=answer, now=db.now())

    def wait(self, time: timedelta) -> None:
        """Let time pass for this app: every moment that is written moves back, so that the clock stays the clock."""
        self.session.flush()
        moments = ("added_at", "challenge_expires_at", "proved_at", "active_from", "announced_at", "leaving_at",
                   "retired_at", "stopped_at")  # fmt: skip
        mine = update(ClientKey).where(ClientKey.client_id == self.client_id)
        self.session.execute(mine.values({name: getattr(ClientKey, name) - time for name in moments}))
        self.session.expire_all()

    def turn(self) -> int:
        """Have those told whose hold is over; return of how many keys of this app, for others are here as well."""
        before = self.letters().count("key_in_use")
        proofs.announce_due(self.session, now=db.now())
        return self.letters().count("key_in_use") - before

    def states(self) -> dict[str, State]:
        facts = queries.key_list(self.session, self.client_id, now=db.now())
        return {fact.kid: fact.state for fact in facts if fact.use == "enc"}

    def sealed_to(self) -> str | None:
        found = queries.encryption_key(self.session, self.client_id)
        return found[0] if found else None

    def letters(self) -> list[str]:
        client = queries.client(self.session, self.client_id)
        assert client
        mine = select(CompanyLetter.kind).where(CompanyLetter.company_id == client.company_id)
        return list(self.session.scalars(mine.order_by(CompanyLetter.written_at, CompanyLetter.kind)))


@pytest.fixture
def shop(session: Session, company: CompanyFacts) -> Shop:
    return Shop(session, company)


@pytest.fixture
def open_shop(shop: Shop) -> Shop:
    """A shop whose first key has been proved, and so is in use."""
    shop.prove("e1")
    return shop


def test_nothing_is_sealed_to_a_key_nobody_has_proved(shop: Shop) -> None:
    assert shop.states() == {"e1": State.UNPROVED}
    assert shop.sealed_to() is None


def test_the_first_key_is_used_at_once(shop: Shop) -> None:
    shop.prove("e1")
    assert shop.states() == {"e1": State.ACTIVE}
    assert shop.sealed_to() == "e1"
    assert shop.turn() == 0
    assert shop.letters() == []


def test_a_later_key_waits_a_day_and_the_company_is_written_to(open_shop: Shop) -> None:
    open_shop.add("e2")
    assert open_shop.letters() == ["key_added"]
    assert open_shop.states()["e2"] is State.UNPROVED
    open_shop.prove("e2")
    assert open_shop.letters() == ["key_added", "key_held"]
    assert open_shop.states() == {"e1": State.ACTIVE, "e2": State.HELD}
    open_shop.wait(HOLD - timedelta(minutes=1))
    assert (open_shop.turn(), open_shop.sealed_to()) == (0, "e1")
    open_shop.wait(timedelta(minutes=2))
    assert open_shop.sealed_to() == "e2"
    assert [open_shop.turn(), open_shop.turn()] == [1, 0]
    assert open_shop.letters() == ["key_added", "key_held", "key_in_use"]
    assert open_shop.states() == {"e1": State.SUPERSEDED, "e2": State.ACTIVE}


def test_a_test_app_waits_as_long_as_the_operator_says(session: Session, client_id: str) -> None:
    key = ECKey.generate_key("P-256")
    named = {**key.as_dict(private=False), "use": "enc", "kid": "e2"}
    client_keys.add(session, client_id=client_id, jwks=named, now=db.now())
    possession.prove(session, client_id, key)
    [held] = [fact for fact in queries.key_list(session, client_id, now=db.now()) if fact.kid == "e2"]
    assert held.state is State.HELD
    assert held.active_from is not None
    assert held.proved_at is not None
    assert held.active_from - held.proved_at == timedelta(seconds=60)


def test_the_hold_begins_with_the_proof(open_shop: Shop) -> None:
    open_shop.add("e2")
    open_shop.wait(10 * DAY)
    open_shop.prove("e2")
    assert open_shop.states()["e2"] is State.HELD


def test_a_key_that_goes_stays_in_use_until_its_successor_may_be(open_shop: Shop) -> None:
    open_shop.replace("e2")
    assert open_shop.states() == {"e1": State.ACTIVE, "e2": State.UNPROVED}
    open_shop.prove("e2")
    assert open_shop.sealed_to() == "e1"
    open_shop.wait(HOLD)
    open_shop.turn()
    assert open_shop.states() == {"e1": State.RETIRED, "e2": State.ACTIVE}


def test_a_stolen_key_is_stopped_whatever_waits(open_shop: Shop) -> None:
    open_shop.add("e2")
    client_keys.stop(open_shop.session, client_id=open_shop.client_id, kid="e1", now=db.now())
    assert open_shop.sealed_to() is None
    open_shop.prove("e2")
    assert open_shop.states() == {"e1": State.STOPPED, "e2": State.HELD}, "that another was stopped skips no hold"
    open_shop.replace("e1", "e2")
    assert open_shop.states()["e1"] is State.STOPPED
    with pytest.raises(client_keys.KeyTakenError):
        open_shop.add("e1")


def test_a_key_under_its_hold_can_be_called_off(open_shop: Shop) -> None:
    open_shop.replace("e2")
    open_shop.prove("e2")
    client_keys.stop(open_shop.session, client_id=open_shop.client_id, kid="e2", now=db.now())
    open_shop.wait(2 * HOLD)
    assert open_shop.turn() == 0
    assert (open_shop.sealed_to(), open_shop.states()["e2"]) == ("e1", State.STOPPED)
    with pytest.raises(keys.KeySetError, match="Add a key"):
        open_shop.replace("e2")


def test_the_last_key_in_use_is_not_retired_before_another_is(open_shop: Shop) -> None:
    def retire(kid: str) -> None:
        client_keys.retire(open_shop.session, client_id=open_shop.client_id, kid=kid, now=db.now())

    with pytest.raises(client_keys.LastKeyError):
        retire("e1")
    with pytest.raises(client_keys.LastKeyError):
        retire("s1")
    open_shop.add("e2")
    open_shop.prove("e2")
    with pytest.raises(client_keys.SuccessorNotReadyError):
        retire("e1")
    open_shop.wait(HOLD)
    retire("e1")
    assert open_shop.states() == {"e1": State.RETIRED, "e2": State.ACTIVE}
    with pytest.raises(NotFoundError):
        retire("e1")


def test_two_copies_of_a_set_that_differ_move_nothing(open_shop: Shop) -> None:
    """A hold stands still while the key is away, so that it has stood there for a day in all before it is used."""
    open_shop.replace("e2")
    open_shop.prove("e2")
    for _ in range(6):
        open_shop.wait(timedelta(hours=2))
        open_shop.replace("e1")
        assert open_shop.sealed_to() == "e1"
        open_shop.wait(timedelta(hours=2))
        open_shop.replace("e2")
        assert open_shop.states() == {"e1": State.ACTIVE, "e2": State.HELD}
    assert open_shop.letters() == ["key_added", "key_held"]
    open_shop.wait(timedelta(hours=11, minutes=59))
    assert open_shop.sealed_to() == "e1"
    open_shop.wait(timedelta(minutes=2))
    assert open_shop.sealed_to() == "e2"


def test_a_key_that_was_away_for_a_day_begins_anew(open_shop: Shop) -> None:
    open_shop.add("e2")
    open_shop.prove("e2")
    open_shop.wait(HOLD)
    open_shop.turn()
    open_shop.replace("e2")
    assert open_shop.states()["e1"] is State.RETIRED
    open_shop.wait(AWAY)
    open_shop.replace("e1")
    assert open_shop.states() == {"e1": State.UNPROVED, "e2": State.ACTIVE}
    open_shop.prove("e1")
    assert open_shop.states() == {"e1": State.HELD, "e2": State.ACTIVE}
    open_shop.wait(HOLD)
    assert open_shop.turn() == 1
    assert open_shop.states() == {"e1": State.ACTIVE, "e2": State.RETIRED}
    assert open_shop.letters().count("key_in_use") == 2


def test_the_same_key_under_another_kid_is_refused(open_shop: Shop) -> None:
    open_shop.private["e9"] = open_shop.private["e1"]
    for way in (open_shop.add, open_shop.replace):
        with pytest.raises(client_keys.SameKeyError):
            way("e9")
    with pytest.raises(client_keys.KeyTakenError):
        client_keys.add(
            open_shop.session, client_id=open_shop.client_id, now=db.now(),
            jwks={**ECKey.generate_key("P-256").as_dict(private=False), "use": "enc", "kid": "e1"},
        )  # fmt: skip


def test_a_program_gets_no_further_than_staff(open_shop: Shop) -> None:
    """RFC 7592 section 2.2, by the service behind it."""
    found = queries.client(open_shop.session, open_shop.client_id)
    assert found
    clients.replace(
        open_shop.session, client_id=open_shop.client_id, described=clients.described(found),
        keys=keys.check(open_shop.set("e2")), now=db.now(),
    )  # fmt: skip
    open_shop.prove("e2")
    assert open_shop.states() == {"e1": State.ACTIVE, "e2": State.HELD}


def test_a_departments_key_waits_as_well(open_shop: Shop) -> None:
    open_shop.add(("hr1", "hr"))
    open_shop.prove("hr1")
    assert open_shop.states() == {"e1": State.ACTIVE, "hr1": State.HELD}
    open_shop.wait(HOLD)
    open_shop.turn()
    assert open_shop.states() == {"e1": State.ACTIVE, "hr1": State.ACTIVE}
    assert open_shop.sealed_to() == "e1", "a department's key is nobody else's"


def test_departments_of_the_first_set_need_not_wait_for_each_other(session: Session, company: CompanyFacts) -> None:
    shop = Shop(session, company)
    client = queries.client(session, shop.client_id)
    assert client
    described = clients.described(client)
    made = services.keep_client(
        session, company_id=company.company_id, described=described, environment="live", now=db.now(),
        keys=keys.check(shop.set("e1", ("hr1", "hr"), ("hr2", "hr"))),
    )  # fmt: skip
    shop.client_id = made
    shop.prove("hr1")
    shop.prove("e1")
    shop.add(("pay1", "pay"))
    for kid in ("hr2", "pay1"):
        shop.prove(kid)
    assert shop.states() == {
        "e1": State.ACTIVE, "hr1": State.ACTIVE, "hr2": State.HELD, "pay1": State.HELD,
    }  # fmt: skip


def test_a_key_stays_with_its_department(open_shop: Shop) -> None:
    for way in (open_shop.add, open_shop.replace):
        with pytest.raises(client_keys.OtherGroupError):
            way(("e1", "hr"), "e2")


@pytest.mark.parametrize("name", ["HR", "h r", "1st", "x" * 33, "-a", "é", 5, ["hr"]])
def test_a_department_has_a_plain_name(shop: Shop, name: object) -> None:
    with pytest.raises(keys.KeySetError) as refusal:
        keys.check({"keys": [shop.public("e2") | {"ucm_group": name}]})
    assert refusal.value.pointer == "/jwks/keys/0/ucm_group"


def test_somebody_must_be_able_to_open_what_is_for_nobody_in_particular(shop: Shop) -> None:
    with pytest.raises(keys.KeySetError, match="without ucm_group"):
        shop.replace(("hr1", "hr"))


def test_staff_name_the_department_of_keys_that_name_none(open_shop: Shop) -> None:
    named = client_keys.add(
        open_shop.session, client_id=open_shop.client_id, jwks=open_shop.public("hr1"), group="hr", now=db.now()
    )
    assert named == ["hr1"]
    [fact] = [key for key in queries.key_list(open_shop.session, open_shop.client_id, now=db.now()) if key.group]
    assert (fact.kid, fact.group) == ("hr1", "hr")
    with pytest.raises(keys.KeySetError):
        client_keys.add(
            open_shop.session, client_id=open_shop.client_id, jwks=open_shop.public("x1"), group="H R", now=db.now()
        )


def test_there_is_a_limit(open_shop: Shop) -> None:
    with pytest.raises(client_keys.TooManyKeysError):
        open_shop.add(*(f"k{number}" for number in range(19)))
    open_shop.add(*(f"k{number}" for number in range(18)))
    with pytest.raises(client_keys.TooManyKeysError):
        open_shop.add("k19")


def test_a_challenge_is_good_for_an_hour_five_tries_and_until_the_next(shop: Shop) -> None:
    def attempt(answer: str, now: datetime | None = None) -> bool:
        return proofs.prove(shop.session, client_id=shop.client_id, kid="e1", answer=answer, now=now or db.now())

    def asked() -> str:
        made = proofs.challenge(shop.session, client_id=shop.client_id, kid="e1", now=db.now())
        return possession.opened(made.text, shop.private["e1"])

    with pytest.raises(proofs.ChallengeGoneError):
        attempt("before any was made")
    old, new = asked(), asked()
    assert old != new
    assert not attempt(old)
    with pytest.raises(proofs.ChallengeGoneError):
        attempt(new, db.now() + proofs.CHALLENGE_LIFE)
    assert [attempt(wrong) for wrong in ("", "é", new[:-1], new + " ")] == [False] * 4
    with pytest.raises(proofs.ChallengeGoneError):
        attempt(new)
    assert shop.states() == {"e1": State.UNPROVED}
    assert attempt(asked())
    assert attempt("whatever: it is proved already")


def test_only_a_hash_of_the_answer_is_kept(shop: Shop) -> None:
    made = proofs.challenge(shop.session, client_id=shop.client_id, kid="e1", now=db.now())
    row = shop.session.get_one(ClientKey, (shop.client_id, "e1"))
    answer = possession.opened(made.text, shop.private["e1"])
    assert row.challenge_hash
    assert answer.encode() not in row.challenge_hash
    assert made.text not in repr(made)


@pytest.mark.parametrize("kid", ["s1", "unknown", "e1"])
def test_there_is_no_challenge_to_what_needs_none(open_shop: Shop, kid: str) -> None:
    with pytest.raises(NotFoundError):
        proofs.challenge(open_shop.session, client_id=open_shop.client_id, kid=kid, now=db.now())


def test_of_two_keys_proved_at_once_one_is_the_first(settings: Settings, facts: Make) -> None:
    with db.transaction(settings.database_url) as session:
        shop = Shop(session, services.register_company(session, **facts()))
        shop.add("e2")
        asked = {
            kid: proofs.challenge(session, client_id=shop.client_id, kid=kid, now=db.now()) for kid in ("e1", "e2")
        }

    def attempt(kid: str) -> bool:
        answer = possession.opened(asked[kid].text, shop.private[kid])
        with db.transaction(settings.database_url) as own:
            return proofs.prove(own, client_id=shop.client_id, kid=kid, answer=answer, now=db.now())

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(attempt, ("e1", "e2", "e1", "e2")))
    with db.transaction(settings.database_url) as session:
        shop.session = session
        assert sorted(shop.states().values()) == [State.ACTIVE, State.HELD]
        assert shop.letters() == ["key_held"]


def test_whoever_looks_at_once_is_told_once(settings: Settings, facts: Make) -> None:
    with db.transaction(settings.database_url) as session:
        shop = Shop(session, services.register_company(session, **facts()))
        shop.prove("e1")
        shop.add("e2")
        shop.prove("e2")
        shop.wait(HOLD)

    def look(_number: int) -> int:
        with db.transaction(settings.database_url) as own:
            return proofs.announce_due(own, now=db.now())

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(look, range(4)))
    with db.transaction(settings.database_url) as session:
        shop.session = session
        assert shop.letters().count("key_in_use") == 1


def test_a_signing_key_is_proved_by_its_first_signature(shop: Shop) -> None:
    assert queries.unused_keys(shop.session, shop.client_id) == {"s1"}
    proofs.signed(shop.session, client_id=shop.client_id, kid="s1", now=db.now())
    assert queries.unused_keys(shop.session, shop.client_id) == frozenset()
    assert registration.by_program(shop.session, client_id=shop.client_id) is False


def test_a_later_signing_key_is_written_about(open_shop: Shop) -> None:
    jwk = {**ECKey.generate_key("P-256").as_dict(private=False), "use": "sig", "kid": "s2"}
    client_keys.add(open_shop.session, client_id=open_shop.client_id, jwks=jwk, now=db.now())
    assert open_shop.letters() == ["signing_key_added"]


def test_the_same_keys_again_change_nothing(open_shop: Shop) -> None:
    assert client_keys.add(
        open_shop.session, client_id=open_shop.client_id, jwks=open_shop.set("e1"), now=db.now()
    ) == []  # fmt: skip
    assert open_shop.letters() == []


def test_owners_are_written_to_and_a_contact_address_once_it_is_checked(settings: Settings, facts: Make) -> None:
    with db.transaction(settings.database_url) as session:
        owner = db.new_id()
        made = services.register_company(session, **facts(owner=owner))
        services.add_staff(session, company_id=made.company_id, person_id=db.new_id())
        shop = Shop(session, made)
        shop.prove("e1")
        shop.add("e2")
        readers = session.scalars(select(CompanyLetter.person_id).where(CompanyLetter.company_id == made.company_id))
        assert set(readers) == {owner, None}
        session.rollback()

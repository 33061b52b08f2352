"""What they see today is what they would get: the same details, versions and values as a pull at that moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from portal import config, db
from portal.consent import freezing
from portal.ledger import queries as ledger
from portal.sync import courier, today
from portal.sync.messages import PROFILE
from portal.sync.pulls import Desk
from portal.vault import signing
from tests.consent.browser import Browser
from tests.sync.receiver import read
from tests.sync.test_receipts import receipt, results, send

if TYPE_CHECKING:
    from flask import Flask
    from sqlalchemy.orm import Session

    from portal.config import Settings
    from portal.vault.keyring import Keyring
    from tests.sync.caller import Caller
    from tests.sync.cast import Firm, Shared, World


def seen(world: World, shared: Shared) -> today.Seen:
    def look(session: Session) -> today.Seen | None:
        signer = signing.current(session, keyring=world.keyring)
        desk = Desk(keyring=world.keyring, signer=signer, issuer=world.settings.issuer, now=db.now())
        return today.seen(session, person_id=shared.person_id, grant_id=shared.grant_id, desk=desk)

    found: today.Seen | None = world.transact(look)
    assert found is not None
    return found


def test_it_is_the_answer_to_a_pull(world: World, firm: Firm, caller: Caller) -> None:
    shared = world.share(world.person(phone__mobile="+353851234567"), firm)
    shown = seen(world, shared)
    pulled = read(
        caller.get(f"/api/v1/people/{shared.sub}").text, portal_keys=world.portal_keys(), key=firm.receiver.key
    )
    assert {name: (each["version"], each["value"]) for name, each in shown.details.items()} == pulled.values
    assert pulled.profile
    theirs = {key: value for key, value in pulled.profile.items() if key not in {"attributes", "keys"}}
    ours = {key: value for key, value in shown.claims["events"][PROFILE].items() if key != "attributes"}
    assert ours == theirs
    assert {name: shown.claims[name] for name in ("iss", "aud", "sub_id")} == {
        name: pulled.claims[name] for name in ("iss", "aud", "sub_id")
    }


def test_looking_is_no_use_and_stands_nowhere(world: World, shared: Shared) -> None:
    before = world.transact(lambda session: ledger.of_person(session, person_id=shared.person_id))
    assert seen(world, shared).missing == ("phone.mobile",)
    assert world.transact(lambda session: ledger.of_person(session, person_id=shared.person_id)) == before


@pytest.mark.parametrize(
    ("step", "refusal"), [("pause", "consent-paused"), ("withdraw", "consent-withdrawn"), ("freeze", "consent-frozen")]
)
def test_who_would_be_refused_sees_nothing(world: World, shared: Shared, step: str, refusal: str) -> None:
    if step == "freeze":
        world.transact(lambda session: freezing.freeze(session, person_id=shared.person_id, now=db.now()))
    else:
        world.step(step, shared)
    found = seen(world, shared)
    assert (found.refusal, found.details, found.claims) == (refusal, {}, {})


def test_just_once_is_over_when_it_was_used(world: World, firm: Firm, caller: Caller) -> None:
    shared = world.share(world.person(), firm, mode="once")
    assert seen(world, shared).details
    caller.get(f"/api/v1/people/{shared.sub}")
    assert seen(world, shared).refusal == "consent-used-up"


@pytest.fixture
def reader(app: Flask, settings: Settings, keys: Keyring) -> Browser:
    return Browser(app, settings, keys, {"name.full": "Zenobia Quill", "email.main": "zenobia@example.org"})


def test_the_page_shows_ones_own_values(world: World, firm: Firm, reader: Browser) -> None:
    shared: Any = world.share(reader.person_id, firm)
    page = reader.get(f"/sharing/{shared.grant_id}/today").text
    for words in ("Zenobia Quill", "zenobia@example.org", "Not provided yet", shared.sub, "Only you see this page"):
        assert words in page
    reader.send(f"/sharing/{shared.grant_id}/pause")
    refused = reader.get(f"/sharing/{shared.grant_id}/today").text
    assert "You paused sharing with them." in refused
    assert "Zenobia Quill" not in refused


def test_no_repr_holds_a_value(world: World, shared: Shared) -> None:
    assert "Ada Byrne" not in repr(seen(world, shared))


def test_a_detail_says_what_delivery_knows(world: World, firm: Firm, caller: Caller, reader: Browser) -> None:
    world.share(reader.person_id, firm)
    courier.drain(config.current())
    detail = "/sharing/by-detail/name.full"
    assert "on its way" not in reader.get(detail).text
    world.save(reader.person_id, name__full="Zenobia King")
    page = reader.get(detail).text
    assert "Has an older one" in page
    assert "A newer one is on its way." in page
    courier.drain(config.current())
    assert "Has the current one" in reader.get(detail).text
    said = receipt(firm.receiver.journal[-1].jti, "rejected") | {"reason": "not-kept"}
    assert results(send(caller, said)) == ["recorded"]
    assert "could not use what they got last: they do not keep this detail" in reader.get(detail).text

"""Staff say of many details at once that they are deleted: counted first, and of all of them or of none."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from sqlalchemy import event, select, update

from portal import db
from portal.companies import services as companies
from portal.consent import chain, deletion_rounds, deletions, queries, services
from portal.consent.deletion_rounds import Key
from portal.consent.models import Deletion, DeletionNews
from portal.ledger.models import Disclosure
from tests.consent.browser import Browser
from tests.consent.offers import Offer
from tests.consent.test_erasure import used
from tests.consent.test_races import together

if TYPE_CHECKING:
    from uuid import UUID

    from flask import Flask
    from sqlalchemy.orm import Session
    from werkzeug.test import TestResponse

    from portal.config import Settings
    from portal.consent.models import Grant
    from portal.vault.keyring import Keyring

NAME, MAIL = "name.full", "email.main"
PLACE = "/org/deletions/confirm"
# Wishes are heard where the program is put together.
pytestmark = pytest.mark.usefixtures("app")


def wish(settings: Settings, offer: Offer, person_id: UUID | None = None) -> Grant:
    """Share two details and ask for both to be deleted."""
    with db.transaction(settings.database_url) as session:
        held = offer.give(session, person_id or uuid4(), attributes=[NAME, MAIL], now=db.now())
        used(session, held)
        mine: dict[str, Any] = {"person_id": held.person_id, "grant_id": held.grant_id, "now": db.now()}
        return services.withdraw(session, **mine, erase=True, shown={})


@pytest.fixture
def wished(settings: Settings, lasting: Offer) -> list[Grant]:
    return [wish(settings, lasting) for _ in range(3)]


def states(settings: Settings, grants: list[Grant]) -> list[str]:
    with db.transaction(settings.database_url) as session:
        found = [deletions.of_grant(session, person_id=one.person_id, grant_id=one.grant_id) for one in grants]
    return ["/".join(row.state for row in rows) for rows in found]


def keys_of(*grants: Grant) -> list[str]:
    return [str(Key(one.grant_id, name)) for one in grants for name in (NAME, MAIL)]


def hidden(answer: TestResponse) -> list[str]:
    return re.findall(r'type="hidden" name="detail" value="([^"]+)"', answer.text)


def words(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub("<[^>]*>", " ", page.partition("<main")[2]))


def test_what_is_ticked_is_counted_first_and_then_said(staff: Browser, wished: list[Grant], settings: Settings) -> None:
    listed = staff.get("/org/deletions").text
    assert listed.count('type="checkbox" name="detail"') == 6
    assert not re.search(r"<input[^>]* checked", listed)
    ticked = [*keys_of(wished[0]), keys_of(wished[1])[0]]
    counted = staff.send(PLACE, detail=ticked)
    assert "Say that 3 details are deleted?" in counted.text
    assert "3 details of 2 people." in words(counted.text)
    assert set(states(settings, wished)) == {"asked/asked"}, "counting says nothing"
    done = staff.send(PLACE, detail=hidden(counted), sure="1")
    assert done.headers["Location"] == "/org/deletions?state=open"
    assert "You said that 3 details of 2 people are deleted." in staff.get("/org/deletions").text
    assert states(settings, wished) == ["deleted/deleted", "deleted/asked", "asked/asked"]


def test_all_of_a_list_leaves_out_what_is_held_back(staff: Browser, wished: list[Grant], settings: Settings) -> None:
    with db.transaction(settings.database_url) as session:
        mine = update(Deletion).where(Deletion.grant_id == wished[0].grant_id, Deletion.attribute == MAIL)
        session.execute(mine.values(state="held", reason="accounts"))
    counted = staff.send(PLACE, which="all", state="open")
    assert "5 details of 3 people." in words(counted.text)
    staff.send(PLACE, detail=hidden(counted), sure="1")
    assert states(settings, wished) == ["deleted/held", "deleted/deleted", "deleted/deleted"]
    held = staff.send(PLACE, detail=keys_of(wished[0])[1])
    assert "You hold 1 of them back" in words(held.text)


def test_all_of_one_person_and_of_one_app(
    staff: Browser, wished: list[Grant], settings: Settings, lasting: Offer
) -> None:
    with db.transaction(settings.database_url) as session:
        sub = queries.sub_of(session, person_id=wished[1].person_id, company_id=lasting.company_id)
    narrowed = staff.get(f"/org/deletions?person={sub}").text
    assert narrowed.count('type="checkbox" name="detail"') == 2
    counted = staff.send(PLACE, which="all", state="open", person=sub)
    assert sorted(hidden(counted)) == sorted(keys_of(wished[1]))
    whole = staff.send(PLACE, which="all", state="open", app=lasting.client_id)
    assert len(hidden(whole)) == 6
    assert "nobody by this identifier" in staff.get("/org/deletions?person=zoe").text
    assert staff.send(PLACE, which="all", state="open", person="zoe").status_code == 303
    assert set(states(settings, wished)) == {"asked/asked"}


def test_whoever_looks_at_one_person_stands_in_their_log(
    staff: Browser, wished: list[Grant], settings: Settings, lasting: Offer
) -> None:
    with db.transaction(settings.database_url) as session:
        sub = queries.sub_of(session, person_id=wished[1].person_id, company_id=lasting.company_id)
    staff.get(f"/org/deletions?person={sub}")
    with db.transaction(settings.database_url) as session:
        seen = select(Disclosure.person_id).where(
            Disclosure.channel == "staff", Disclosure.person_id.in_([one.person_id for one in wished])
        )
        assert session.scalars(seen).all() == [wished[1].person_id]


@pytest.mark.parametrize("how", ["shared again", "said by another"])
def test_half_is_never_said(staff: Browser, wished: list[Grant], settings: Settings, lasting: Offer, how: str) -> None:
    counted = staff.send(PLACE, which="all", state="open")
    with db.transaction(settings.database_url) as session:
        if how == "shared again":
            lasting.give(session, wished[2].person_id, attributes=[NAME, MAIL], now=db.now())
        else:
            said = [deletions.Said(attribute=NAME, deleted=True), deletions.Said(attribute=MAIL, deleted=True)]
            mine: dict[str, Any] = {"person_id": wished[2].person_id, "grant_id": wished[2].grant_id}
            deletions.answer(session, **mine, said=said, channel="api", now=db.now())
    again = staff.send(PLACE, detail=hidden(counted), sure="1")
    assert again.status_code == 409
    assert "2 of the details you chose were settled meanwhile" in words(again.text)
    assert "Say that 4 details are deleted?" in again.text
    assert states(settings, wished)[:2] == ["asked/asked", "asked/asked"]
    assert staff.send(PLACE, detail=hidden(again), sure="1").status_code == 303
    assert states(settings, wished)[:2] == ["deleted/deleted", "deleted/deleted"]


@pytest.mark.parametrize("sure", [{}, {"sure": "1"}])
def test_another_companys_details_are_not_there(
    app: Flask, settings: Settings, keys: Keyring, wished: list[Grant], sure: dict[str, Any]
) -> None:
    rival = Browser(app, settings, keys, {})
    with db.transaction(settings.database_url) as session:
        companies.add_staff(session, company_id=Offer(session).company_id, person_id=rival.person_id)
    assert rival.send(PLACE, detail=keys_of(*wished), **sure).status_code == 303
    assert "Nothing of what you chose is left to say." in rival.get("/org/deletions").text
    assert set(states(settings, wished)) == {"asked/asked"}


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({}, 303),
        ({"detail": "everything"}, 422),
        ({"which": "all", "state": "gone"}, 422),
        ({"which": "all", "app": "another"}, 422),
        ({"detail": f"{uuid4()}~name.full"}, 303),
    ],
)
def test_what_chooses_nothing_says_so(
    staff: Browser, wished: list[Grant], settings: Settings, sent: dict[str, Any], status: int
) -> None:
    assert staff.send(PLACE, **sent).status_code == status
    assert set(states(settings, wished)) == {"asked/asked"}


def test_the_most_is_said_in_one_go_whole_and_in_the_chain(
    staff: Browser, settings: Settings, lasting: Offer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deletion_rounds, "MOST", 5)
    wishes = [wish(settings, lasting) for _ in range(4)]
    counted = staff.send(PLACE, which="all", state="open")
    assert len(hidden(counted)) == 5
    assert "3 more are in the list" in words(counted.text)
    staff.send(PLACE, detail=hidden(counted), sure="1")
    assert sum(each.count("deleted") for each in states(settings, wishes)) == 5
    with db.transaction(settings.database_url) as session:
        told = select(DeletionNews.deleted).where(DeletionNews.person_id.in_([one.person_id for one in wishes]))
        assert sum(session.scalars(told)) == 5
        for one in wishes:
            versions = queries.versions(session, person_id=one.person_id, grant_id=one.grant_id)
            assert chain.intact(versions)


def test_a_round_takes_as_many_statements_for_each_consent_however_many(settings: Settings, lasting: Offer) -> None:
    counts = []
    for many in (2, 6):
        wishes = [wish(settings, lasting) for _ in range(many)]
        keys = [Key.read(given) for given in keys_of(*wishes)]
        said: list[str] = []
        with db.transaction(settings.database_url) as session:
            event.listen(session.connection(), "before_cursor_execute", lambda *args, said=said: said.append(args[2]))
            deletion_rounds.confirm(session, client_ids=[lasting.client_id], keys=keys, now=db.now())
        counts.append(len(said) / many)
    assert counts[1] <= counts[0] <= 20


def test_rounds_answers_and_sharing_again_at_once_leave_all_or_nothing(settings: Settings, lasting: Offer) -> None:
    for _ in range(4):
        wishes = [wish(settings, lasting) for _ in range(4)]
        keys = [Key.read(given) for given in keys_of(*wishes)]
        done: list[int] = []

        def round_of(session: Session, keys: list[Key], done: list[int] = done) -> None:
            try:
                done.append(
                    deletion_rounds.confirm(session, client_ids=[lasting.client_id], keys=keys, now=db.now())[0]
                )
            except deletion_rounds.ChangedError:
                session.rollback()

        last = wishes[-1]
        said = [deletions.Said(attribute=NAME, deleted=True)]
        mine: dict[str, Any] = {"person_id": last.person_id, "grant_id": last.grant_id, "now": db.now()}
        together(
            settings,
            partial(round_of, keys=keys),
            partial(round_of, keys=keys[::-1]),
            partial(deletions.answer, **mine, said=said, channel="api"),
            partial(lasting.give, person_id=last.person_id, attributes=[NAME, MAIL], now=db.now()),
        )
        assert len(done) <= 1, "of two rounds the second finds what the first has said"
        first = states(settings, wishes[:3])
        assert first == (["deleted/deleted"] * 3 if done else ["asked/asked"] * 3)

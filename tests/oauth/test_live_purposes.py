"""A live client asks only under what an operator has put live, whichever way it asks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import update

from portal import db
from portal.companies import queries, versions
from portal.companies import services as companies
from portal.companies.models import Client
from portal.consumer.catalogue import CATALOGUE
from portal.oauth import rich_authorization
from tests.oauth.rp import RelyingParty, query

if TYPE_CHECKING:
    from uuid import UUID

    from portal.config import Settings
    from tests.oauth.conftest import Person

CODE = "letters"
SAID: dict[str, Any] = {
    "sentence": "send you letters", "dpv": "ServiceProvision", "mode": "asked",
    "required": [("name.full", "To write to you")], "optional": [("email.main", "To answer you")],
    "retention_days": 30, "catalogue": CATALOGUE,
}  # fmt: skip
DETAILS = json.dumps([{"type": "ucm_profile", "purpose": CODE}])


@pytest.fixture
def live(rp: RelyingParty, settings: Settings) -> RelyingParty:
    """A live client with a second purpose that is drafted."""
    with db.transaction(settings.database_url) as session:
        session.execute(update(Client).where(Client.client_id == rp.client_id).values(environment="live"))
        session.flush()
        companies.declare_purpose(session, client_id=rp.client_id, code=CODE, now=db.now(), **SAID)
    return rp


def put_live(settings: Settings, client_id: str) -> UUID:
    with db.transaction(settings.database_url) as session:
        sent = versions.send(session, client_id=client_id, code=CODE, now=db.now()).purpose
        versions.put_live(
            session, purpose_id=sent.purpose_id, version=sent.version, by=db.new_id(), words="", now=db.now()
        )
    return sent.purpose_id


def test_nobody_is_asked_before_it_is_live(live: RelyingParty, person: Person, settings: Settings) -> None:
    for act in (None, versions.send, versions.take_back):
        with db.transaction(settings.database_url) as session:
            if act is not None:
                act(session, client_id=live.client_id, code=CODE, **({"now": db.now()} if act is versions.send else {}))
        refused = live.post("/oauth/par", live.request(authorization_details=DETAILS))
        assert (refused.status_code, refused.json["error"]) == (400, "invalid_authorization_details")
        assert refused.json["error_description"] == rich_authorization.PurposeNotLiveError.public
    put_live(settings, live.client_id)
    assert "send you letters" in person.browser.get(live.address(live.push(authorization_details=DETAILS))).text


def test_what_is_drafted_later_is_not_asked(live: RelyingParty, person: Person, settings: Settings) -> None:
    put_live(settings, live.client_id)
    waiting = live.push(authorization_details=DETAILS)
    more = SAID | {"sentence": "sell what we know", "optional": [("phone.mobile", "To call you")]}
    with db.transaction(settings.database_url) as session:
        versions.revise(session, client_id=live.client_id, code=CODE, now=db.now(), **more)
        versions.send(session, client_id=live.client_id, code=CODE, now=db.now())
    wide = json.dumps([{"type": "ucm_profile", "purpose": CODE, "attributes": ["name.full", "phone.mobile"]}])
    assert live.post("/oauth/par", live.request(authorization_details=wide)).status_code == 400
    screen = person.browser.get(live.address(waiting)).text
    assert "send you letters" in screen
    assert "sell what we know" not in screen
    back = live.answer(person.browser, waiting, attributes=["email.main"], duration="year")
    [granted] = live.redeem(query(back)["code"]).json["authorization_details"]
    assert granted["attributes"] == ["name.full", "email.main"]


def test_a_draft_does_not_count_among_the_purposes_that_a_scope_may_mean(
    live: RelyingParty, settings: Settings
) -> None:
    with db.transaction(settings.database_url) as session:
        assert [one.code for one in queries.purposes_of(session, live.client_id)] == [live.purpose]
    assert live.post("/oauth/par", live.request(authorization_details=None)).status_code == 201

"""A purpose that is withdrawn can be asked for on no way, and what was asked for it before cannot be agreed to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from portal import db
from portal.consent import queries as consents
from portal.consent import withdrawn
from tests.oauth import afar
from tests.oauth.rp import RelyingParty, csrf
from tests.purposes import only
from tests.purposes_gone import ROLES, withdraw

if TYPE_CHECKING:
    from uuid import UUID

    from flask.testing import FlaskClient

    from portal.config import Settings
    from tests.oauth.conftest import Person

pytestmark = pytest.mark.parametrize("role", ROLES)


def gone(settings: Settings, rp: RelyingParty, role: str) -> None:
    with db.transaction(settings.database_url) as session:
        withdraw(session, only(session, rp.client_id), role)


def states(settings: Settings, person_id: UUID) -> list[str]:
    with db.transaction(settings.database_url) as session:
        return [held.state for held in consents.grants_of(session, person_id=person_id)]


def test_nobody_can_be_asked(http: FlaskClient, settings: Settings, person: Person, role: str) -> None:
    asker = afar.make(http, settings, person)
    gone(settings, asker.rp, role)
    for answer in (asker.rp.post("/oauth/par", asker.rp.request()), asker.ask()):
        assert answer.status_code == 400
        assert answer.json["error"] == "invalid_authorization_details"


@pytest.mark.parametrize("opened", [False, True], ids=["before it is opened", "on the open screen"])
def test_what_was_pushed_before_cannot_be_agreed_to(
    settings: Settings, rp: RelyingParty, person: Person, role: str, *, opened: bool
) -> None:
    uri = rp.push()
    screen = person.browser.get(rp.address(uri)) if opened else None
    gone(settings, rp, role)
    if screen is not None:
        fields = {"client_id": rp.client_id, "request_uri": uri, "answer": "share", "duration": "year"}
        answer = person.browser.post("/oauth/authorize", data=fields | {"csrf_token": csrf(screen.text)})
    else:
        answer = person.browser.get(rp.address(uri))
    assert answer.status_code in {303, 400, 403, 409}
    assert "code=" not in answer.headers.get("Location", "")
    assert states(settings, person.person_id) == []


def test_what_waits_in_the_portal_cannot_be_agreed_to(
    http: FlaskClient, settings: Settings, person: Person, role: str
) -> None:
    asker = afar.make(http, settings, person)
    asked = asker.asked()
    page = person.browser.get(asker.page(asked)).text
    gone(settings, asker.rp, role)
    answer = person.browser.post(asker.page(asked), data=afar.filled(page, "share"))
    assert answer.status_code == 409
    assert asker.rp.poll(asked).json["error"] == "access_denied"
    assert states(settings, person.person_id) == []


def test_its_tokens_open_nothing(settings: Settings, rp: RelyingParty, person: Person, role: str) -> None:
    redeemed = rp.redeem(rp.code(person.browser)).json
    late = rp.code(person.browser)
    gone(settings, rp, role)
    assert rp.call("/oauth/userinfo", redeemed["access_token"]).status_code in {401, 403}
    assert "name" not in rp.call("/oauth/userinfo", redeemed["access_token"]).text
    with db.transaction(settings.database_url) as session:
        while withdrawn.end_due(session, now=db.now()):
            continue
    assert set(states(settings, person.person_id)) == {"ended"}
    assert rp.redeem(late).status_code == 400
    assert rp.call("/oauth/userinfo", redeemed["access_token"]).status_code == 401

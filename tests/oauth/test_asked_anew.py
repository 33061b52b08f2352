"""Whoever was answered under another name or host is not known by that answer: people are asked anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest
from sqlalchemy import select, update

from portal import db
from portal.companies.models import Client, Company
from tests.oauth.rp import query

if TYPE_CHECKING:
    from portal.config import Settings
    from tests.oauth.conftest import Person
    from tests.oauth.rp import Answer, RelyingParty

WISHED = ["address.home", "email.main"]


def put(settings: Settings, rp: RelyingParty, who: type[Client | Company], **values: Any) -> None:  # noqa: ANN401 - columns
    company_id = select(Client.company_id).where(Client.client_id == rp.client_id).scalar_subquery()
    which = Client.client_id == rp.client_id if who is Client else Company.company_id == company_id
    with db.transaction(settings.database_url) as session:
        session.execute(update(who).where(which).values(**values))


def shares(rp: RelyingParty, person: Person, **asked: str) -> None:
    assert rp.answer(person.browser, rp.push(**asked), attributes=WISHED).status_code == 303


def silently(rp: RelyingParty, person: Person) -> str:
    back = query(cast("Answer", person.browser.get(rp.address(rp.push(prompt="none")))))
    return "code" if "code" in back else back["error"]


CHANGES: dict[str, tuple[type[Client | Company], dict[str, Any], str]] = {
    "host": (Client, {"redirect_uris": ["https://elsewhere.example/callback"]}, "consent_required"),
    "path": (Client, {"redirect_uris": ["https://client.example/another"]}, "code"),
    "legal name": (Company, {"legal_name": "Willow Books Limited"}, "consent_required"),
    "contact": (Company, {"contact_email": "other@linden.example"}, "code"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_who_was_answered_as_somebody_else(
    rp: RelyingParty, person: Person, settings: Settings, change: tuple[type[Client | Company], dict[str, Any], str]
) -> None:
    who, values, answer = change
    shares(rp, person)
    put(settings, rp, who, **values)
    rp.redirect_uri = values.get("redirect_uris", [rp.redirect_uri])[0]
    assert silently(rp, person) == answer
    # Once they have read it and answered, it is known again.
    shares(rp, person, prompt="consent")
    assert silently(rp, person) == "code"


def test_a_host_that_was_answered_once_is_known_beside_another(rp: RelyingParty, person: Person) -> None:
    shares(rp, person)
    rp.redirect_uri = "http://localhost:9/cb?fixed=1"
    assert silently(rp, person) == "consent_required"
    shares(rp, person)
    assert silently(rp, person) == "code"
    rp.redirect_uri = "https://client.example/callback"
    assert silently(rp, person) == "code"


def test_who_is_no_longer_checked(rp: RelyingParty, person: Person, settings: Settings) -> None:
    put(settings, rp, Company, state="verified", verified_at=db.now())
    shares(rp, person)
    assert silently(rp, person) == "code"
    put(settings, rp, Company, state="draft", verified_at=None)
    assert silently(rp, person) == "consent_required"

"""Staff answer offers of less on their page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portal import db
from portal.consent import counters, freezing, queries
from portal.consent.services import Reply

if TYPE_CHECKING:
    from portal.config import Settings
    from tests.consent.browser import Browser
    from tests.consent.offers import Offer


def test_an_offer_of_somebody_who_froze_everything_waits(
    settings: Settings, staff: Browser, browser: Browser, lasting: Offer
) -> None:
    with db.transaction(settings.database_url) as session:
        reply = Reply(
            person_id=browser.person_id, client_id=lasting.client_id, purpose_id=lasting.purpose_id, shown={},
            now=db.now(),
        )  # fmt: skip
        less = counters.Less(attributes=["email.main"], mode="kept-up-to-date", days=30, level=1)
        held = counters.counter(session, reply, less)
        freezing.freeze(session, person_id=browser.person_id, now=db.now())
    offers = f"/org/apps/{lasting.client_id}/offers"
    assert staff.send(f"{offers}/{held.grant_id}/accept").location == offers
    assert "The offer still waits: accept it later." in staff.get(offers).text
    browser.send("/sharing/unfreeze", which="all")
    staff.send(f"{offers}/{held.grant_id}/accept")
    with db.transaction(settings.database_url) as session:
        found = queries.grant(session, person_id=held.person_id, grant_id=held.grant_id)
    assert found
    assert found.state == "active"

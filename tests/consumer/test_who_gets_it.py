"""What the details pages say about organisations: before saving, after saving, and under each value."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from portal import db
from portal.sync.models import Stream
from tests.consent.offers import Offer

if TYPE_CHECKING:
    from uuid import UUID

    from portal.config import Settings
    from tests.consumer.conftest import Browser


@pytest.fixture
def follower(settings: Settings, browser: Browser, person: UUID) -> str:
    """The name of an organisation that is kept up to date about the person's name, and nothing else."""
    browser.send("/details/name.full/edit", value="Prince")
    with db.transaction(settings.database_url) as session:
        offer = Offer(session)
        told = {"url": "https://brightwell.example/push", "state": "enabled", "created_at": db.now()}
        session.add(Stream(stream_id=db.new_id(), client_id=offer.client_id, **told))
        session.flush()
        offer.give(session, person)
    return offer.name


def test_before_saving_the_page_names_who_will_get_it(browser: Browser, follower: str) -> None:
    form = browser.get("/details/name.full/edit").text
    assert "1 organisation will get this:" in form
    assert follower in form
    assert follower not in browser.get("/details/birth.date/edit").text


def test_a_form_with_a_mistake_names_them_still(browser: Browser, follower: str) -> None:
    assert follower in browser.send("/details/name.full/edit", htmx=True, value="").text


def test_after_saving_the_row_says_how_far_it_is(browser: Browser, follower: str) -> None:
    row = browser.send("/details/name.full/edit", htmx=True, value="Symbol").text
    assert "Saved." in row
    assert follower in row
    page = browser.get(browser.send("/details/name.full/edit", value="Prince again").location).text
    assert page.count(follower) == 1


def test_under_a_value_stands_how_many_follow_it(browser: Browser, follower: str) -> None:
    browser.send("/details/contact.channel/edit", value="post")
    text = browser.get("/details").text
    assert follower
    assert text.count("Shared with") == 1
    assert text.index('id="f-name-full"') < text.index("1 organisation</a>") < text.index('id="f-name-known-as"')

"""The pages of the record: what they show, to whom, and how they answer what cannot be kept."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from portal import db
from portal.consumer import queries, services
from portal.consumer.catalogue import CATALOGUE

if TYPE_CHECKING:
    from uuid import UUID

    from flask.testing import FlaskClient
    from sqlalchemy.orm import Session

    from portal.vault.keyring import Keyring
    from tests.consumer.conftest import Browser

PATHS = ["/home", "/details", "/details/name.full/edit", "/details/name.full/history", "/details/history"]
CORK = {"country": "IE", "line1": "14 Bramble Row", "city": "Cork", "postal_code": "t12x70a"}


def give(session: Session, keys: Keyring, person: UUID, **values: str) -> None:
    changes = {name.replace("__", "."): value for name, value in values.items()}
    services.save(session, keyring=keys, person_id=person, changes=changes, now=db.now())
    session.commit()


@pytest.mark.parametrize("path", PATHS)
def test_strangers_are_sent_to_sign_in(stranger: FlaskClient, path: str) -> None:
    answer = stranger.get(path)
    assert answer.status_code == 303
    assert answer.location.startswith("/account/sign-in?next=")


@pytest.mark.parametrize("path", PATHS)
def test_pages_show_this_person_and_nobody_else(
    *, browser: Browser, person: UUID, somebody_else: UUID, work: Session, keys: Keyring, path: str
) -> None:
    give(work, keys, person, name__full="Máire Ní Bhriain")
    give(work, keys, somebody_else, name__full="Somebody Else")
    answer = browser.get(path)
    assert answer.status_code == 200
    assert "Máire Ní Bhriain" in answer.text
    assert "Somebody Else" not in answer.text
    assert answer.headers["Cache-Control"] == "no-store"


def test_details_lists_every_attribute_once(browser: Browser) -> None:
    text = browser.get("/details").text
    for entry in CATALOGUE.values():
        assert text.count(f'href="/details/{entry.name}/edit"') == 1
    assert text.count("Not provided") == len(CATALOGUE)


@pytest.mark.parametrize("name", sorted(CATALOGUE))
@pytest.mark.parametrize("htmx", [False, True])
def test_every_attribute_can_be_opened(browser: Browser, name: str, htmx: bool) -> None:  # noqa: FBT001 - a case
    answer = browser.get(f"/details/{name}/edit", headers={"HX-Request": "true"} if htmx else {})
    assert answer.status_code == 200
    assert ("<html" in answer.text) is not htmx
    assert 'class="editing"' in answer.text


@pytest.mark.parametrize("part", ["", "/edit", "/history"])
def test_an_unknown_attribute_is_not_found(browser: Browser, part: str) -> None:
    assert browser.get(f"/details/shoe.size{part}").status_code == 404


def test_saving_goes_back_to_the_row(browser: Browser) -> None:
    answer = browser.send("/details/name.full/edit", value="  Zoe\u0308 ")
    assert answer.status_code == 303
    assert answer.location == "/details?saved=1#f-name-full"
    text = browser.get(answer.location).text
    assert "Zo\u00eb" in text
    assert text.count("Saved.") == 1


def test_saving_by_htmx_answers_with_the_row(browser: Browser) -> None:
    answer = browser.send("/details/name.full/edit", htmx=True, value="Prince")
    assert answer.status_code == 200
    assert answer.text.strip().startswith('<div id="f-name-full" data-announce="Saved: full name.">')
    assert answer.vary.as_set() >= {"hx-request"}


def test_saving_the_same_again_says_so(browser: Browser) -> None:
    browser.send("/details/name.full/edit", value="Prince")
    assert "Nothing was different." in browser.send("/details/name.full/edit", htmx=True, value="Prince").text
    assert browser.send("/details/name.full/edit", value="Prince").location == "/details#f-name-full"


def test_a_mistake_keeps_what_was_typed(browser: Browser, person: UUID, session: Session) -> None:
    answer = browser.send("/details/email.main/edit", value="me@@here")
    assert answer.status_code == 422
    assert re.search(r"<title>Error: ", answer.text)
    assert 'href="#email-main-value"' in answer.text
    assert 'value="me@@here"' in answer.text
    assert 'aria-invalid="true"' in answer.text
    assert queries.entries(session, person_id=person) == {}


def test_a_date_names_the_part_to_mend(browser: Browser) -> None:
    answer = browser.send("/details/birth.date/edit", htmx=True, day="27", month="", year="1984")
    assert answer.status_code == 422
    assert "Date of birth must include a month" in answer.text
    assert answer.text.count('aria-invalid="true"') == 1


def test_a_future_date_is_refused(browser: Browser) -> None:
    answer = browser.send("/details/birth.date/edit", day="1", month="jan", year="2999")
    assert "Date of birth must be in the past" in answer.text


def test_an_address_is_kept(browser: Browser) -> None:
    browser.send("/details/address.home/edit", CORK)
    assert "T12 X70A" in browser.get("/details").text


def test_another_country_brings_its_fields_and_keeps_what_was_typed(browser: Browser) -> None:
    answer = browser.send("/details/address.home/edit", CORK | {"country": "US", "step": "country"})
    assert answer.status_code == 200
    assert "ZIP code" in answer.text
    assert 'value="14 Bramble Row"' in answer.text
    assert "California" in answer.text


def test_an_address_can_be_typed_as_lines(browser: Browser) -> None:
    answer = browser.send("/details/address.home/edit", CORK, step="lines")
    assert "<textarea" in answer.text
    assert "14 Bramble Row\nCork" in answer.text
    browser.send("/details/address.home/edit", country="IE", as_lines="1", lines="The old mill\r\nCork")
    text = browser.get("/details").text
    assert "<bdi>The old mill</bdi>" in text
    assert "<textarea" in browser.get("/details/address.home/edit").text


def test_back_from_lines_nothing_is_lost(browser: Browser) -> None:
    lines = {"country": "IE", "as_lines": "1", "lines": "The old mill\r\nCork", "step": "fields"}
    answer = browser.send("/details/address.home/edit", lines)
    assert 'value="The old mill"' in answer.text
    assert 'value="Cork"' in answer.text


def test_a_value_can_be_removed_and_put_back(browser: Browser) -> None:
    browser.send("/details/phone.mobile/edit", value="+353 85 012 3456")
    assert browser.send("/details/phone.mobile/remove").location == "/details?saved=2#f-phone-mobile"
    assert "+353" not in browser.get("/details").text
    assert "Put this back" in browser.get("/details/phone.mobile/history").text
    browser.send("/details/phone.mobile/undo", version="1")
    assert "+353 85 012 3456" in browser.get("/details").text


@pytest.mark.parametrize("version", ["7", "0", "x", "-1", "", "9" * 40])
def test_a_version_that_never_was_cannot_be_put_back(browser: Browser, version: str) -> None:
    assert browser.send("/details/phone.mobile/undo", version=version).status_code == 404


def test_nothing_changes_without_the_forms_own_secret(browser: Browser) -> None:
    answer = browser.client.post("/details/name.full/edit", data={"value": "Mallory"})
    assert answer.status_code == 400
    assert "Mallory" not in browser.get("/details").text


def test_broken_unicode_is_refused(browser: Browser) -> None:
    body = f"csrf_token={browser.csrf()}&value=Zo%FF".encode()
    form = "application/x-www-form-urlencoded"
    answer = browser.client.post("/details/name.full/edit", data=body, content_type=form)
    assert answer.status_code == 400
    assert "arrived damaged" in answer.text


def test_a_body_that_is_no_form_is_refused(browser: Browser) -> None:
    form = "application/x-www-form-urlencoded"
    assert browser.client.post("/details/name.full/edit", data=b"value=\xff\xfe", content_type=form).status_code == 400


@pytest.mark.parametrize("saved", ["99", "0", "-1", "x", "9" * 50])
def test_only_a_true_sequence_is_celebrated(browser: Browser, saved: str) -> None:
    assert "Saved." not in browser.get(f"/details?saved={saved}").text


def test_what_people_type_is_shown_as_text(browser: Browser) -> None:
    browser.send("/details/name.full/edit", value="<script>alert(1)</script>")
    assert "<script>alert" not in browser.get("/details").text


def test_enter_saves_and_does_not_switch_the_country(browser: Browser) -> None:
    text = browser.get("/details/address.home/edit").text
    first_button = re.search(r"<button[^>]*>", text[text.index('id="change-address-home"') :])
    assert first_button
    assert "name=" not in first_button.group()


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_titles_read_as_sentences(browser: Browser, name: str) -> None:
    title = re.search(r"<h1>(.*?)</h1>", browser.get(f"/details/{name}/edit").text)
    assert title
    assert title.group(1) == f"Add your {CATALOGUE[name].noun}"
    assert not re.search(r"your (how|what)", title.group(1))

"""What a person watches after a change, and what company staff see of their endpoint and deliveries."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import update

from portal.companies.models import Client
from portal.sync import jobs
from tests.companies.browser import Browser

if TYPE_CHECKING:
    from flask import Flask

    from portal.config import Settings
    from portal.vault.keyring import Keyring
    from tests.sync.cast import Firm, World


@pytest.fixture
def browser(app: Flask, settings: Settings, keys: Keyring) -> Browser:
    return Browser(app, settings, keys)


def share(world: World, browser: Browser, firm: Firm) -> None:
    world.save(browser.person_id, name__full="Ada Byrne", email__main="ada@example.org")
    world.share(browser.person_id, firm)
    jobs.drain()


def plain(page: str) -> str:
    """Return the words of a page, in order."""
    return " ".join(re.sub(r"<[^>]*>", " ", page).split())


def set_state(world: World, firm: Firm, state: str) -> None:
    world.set_stream(firm, state=state)


def test_a_change_is_on_its_way_and_then_received(world: World, browser: Browser) -> None:
    firm = world.firm()
    share(world, browser, firm)
    sequence = world.save(browser.person_id, name__full="Ada Lovelace")
    before = browser.get(f"/updates/{sequence}", headers={"HX-Request": "true"}).text
    assert f"{firm.name} gets it now: on its way" in plain(before)
    assert 'hx-trigger="load delay:300ms, click"' in before
    assert "<html" not in before
    jobs.drain()
    after = browser.get(f"/updates/{sequence}", headers={"HX-Request": "true"}).text
    assert re.search(rf"{firm.name} has your new full name: received \d\.\d s after you saved", plain(after))
    assert "hx-get" not in after
    assert "data-announce" in after
    whole = browser.get(f"/updates/{sequence}").text
    assert "1 of 1 received it" in whole


def test_a_company_that_does_not_answer_is_said_in_words(world: World, browser: Browser) -> None:
    firm = world.firm()
    share(world, browser, firm)
    firm.receiver.behave = lambda _number: (503, {}, b"")
    sequence = world.save(browser.person_id, name__full="Ada Lovelace")
    jobs.drain()
    shown = browser.get(f"/updates/{sequence}").text
    assert "We keep trying" in shown
    assert "load delay:5s" in shown
    assert 'href="/updates/' in shown


def test_who_is_named_before_saving_is_named_after_it(world: World, browser: Browser) -> None:
    told, silent = world.firm(), world.firm(enabled=False)
    share(world, browser, told)
    world.share(browser.person_id, silent)
    before = plain(browser.get("/details/name.full/edit").text)
    assert f"1 organisation will get this: {told.name} " in before
    assert f"1 organisation can ask for it, but does not accept updates now: {silent.name} " in before
    sequence = world.save(browser.person_id, name__full="Ada Lovelace")
    jobs.drain()
    after = browser.get(f"/updates/{sequence}", headers={"HX-Request": "true"}).text
    assert f"1 of 1 received it. {told.name} has your new full name: received" in plain(after)
    assert f"1 organisation can ask for it, but does not accept updates now: {silent.name}" in plain(after)
    assert "hx-get" not in after
    assert "1 organisation has your change" in after


def test_a_page_does_not_wait_for_those_who_would_have_to_ask(world: World, browser: Browser) -> None:
    unproven, none = world.firm(), world.firm(enabled=False)
    for firm in (unproven, none):
        share(world, browser, firm)
    set_state(world, unproven, "pending")
    sequence = world.save(browser.person_id, name__full="Ada Lovelace")
    page = browser.get(f"/updates/{sequence}", headers={"HX-Request": "true"}).text
    assert "2 organisations can ask for it, but do not accept updates now:" in page
    for words in ("hx-get", "of 0", "on its way", "No organisation", "data-announce"):
        assert words not in page
    assert "2 organisations can ask for it, but do not" in browser.get("/details/name.full/edit").text


def test_who_refused_a_message_is_not_called_silent(world: World, browser: Browser) -> None:
    firm = world.firm()
    share(world, browser, firm)
    firm.receiver.behave = lambda _number: (422, {}, b"")
    sequence = world.save(browser.person_id, name__full="Ada Lovelace")
    jobs.drain()
    assert "their system does not accept it. We keep trying" in browser.get(f"/updates/{sequence}").text


def test_whoever_may_no_longer_have_it_is_named_neither_before_nor_after(world: World, browser: Browser) -> None:
    firm = world.firm()
    share(world, browser, firm)
    suspend = update(Client).where(Client.client_id == firm.client_id).values(state="suspended")
    world.transact(lambda session: session.execute(suspend))
    assert firm.name not in browser.get("/details/name.full/edit").text
    sequence = world.save(browser.person_id, name__full="Ada Lovelace")
    page = browser.get(f"/updates/{sequence}").text
    assert "No organisation gets this change now." in page
    assert "hx-get" not in page


def test_nobody_sees_another_persons_change(world: World, browser: Browser) -> None:
    firm = world.firm()
    other = world.person()
    world.share(other, firm)
    sequence = world.save(other, name__full="Ada Lovelace")
    assert firm.name not in browser.get(f"/updates/{sequence}").text
    jobs.drain()


@pytest.mark.parametrize("path", ["/updates/99999999999999999999", "/updates/x", "/updates/-1"])
def test_there_is_no_such_change(browser: Browser, path: str) -> None:
    assert browser.get(path).status_code == 404


@pytest.mark.parametrize("path", ["/updates/1", "/org/deliveries", "/org/apps/test_x/endpoint"])
def test_strangers_are_sent_to_sign_in(app: Flask, path: str) -> None:
    assert app.test_client().get(path).headers["Location"].startswith("/account/sign-in")


def test_an_endpoint_proves_itself(world: World, browser: Browser) -> None:
    firm = world.firm(enabled=False)
    world.employ(browser.person_id, firm)
    path = f"/org/apps/{firm.client_id}/endpoint"
    assert "No endpoint yet" in browser.get(f"/org/apps/{firm.client_id}").text
    answer = browser.send(path, url=f" {firm.receiver.url} ")
    assert answer.status_code == 303
    assert "Proven" in browser.get(path).text
    assert world.endpoint(firm).state == "enabled"
    assert firm.receiver.url in browser.get(f"/org/apps/{firm.client_id}").text


@pytest.mark.parametrize(
    ("url", "sentence"),
    [("", "Enter the address"), ("http://example.org/events", "must begin with https://"),
     ("https://10.0.0.1/events", "full domain name"), ("https://example.org:25/", "443 or 8443"),
     ("https://a:b@example.org/", "user name")],
)  # fmt: skip
def test_an_address_that_may_not_be_called_is_refused_and_kept_on_the_page(
    world: World, browser: Browser, url: str, sentence: str
) -> None:
    firm = world.firm()
    world.employ(browser.person_id, firm)
    answer = browser.send(f"/org/apps/{firm.client_id}/endpoint", url=url)
    assert answer.status_code == 422
    assert sentence in answer.text
    assert f'value="{url}"' in answer.text
    assert world.endpoint(firm).url == firm.receiver.url


def test_an_endpoint_that_does_not_echo_leaves_the_working_one(world: World, browser: Browser) -> None:
    firm, silent = world.firm(), world.firm(enabled=False)
    world.employ(browser.person_id, firm)
    silent.receiver.behave = lambda _number: (200, {}, b"<html>")
    answer = browser.send(f"/org/apps/{firm.client_id}/endpoint", url=silent.receiver.url)
    assert answer.status_code == 422
    assert "could not be proven" in answer.text
    kept = world.endpoint(firm)
    assert (kept.url, kept.state) == (firm.receiver.url, "enabled")

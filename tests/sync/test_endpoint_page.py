"""What staff see and set of how their app is told: where, how much at once, or by collecting; and pausing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import update

from portal import db
from portal.companies import services as companies
from portal.sync import jobs, push_header, streams
from portal.sync.models import Stream

if TYPE_CHECKING:
    from http.server import BaseHTTPRequestHandler

    from portal.vault.keyring import Keyring
    from tests.companies.browser import Browser
    from tests.sync.cast import Firm, World


def here(firm: Firm, more: str = "") -> str:
    return f"/org/apps/{firm.client_id}/endpoint{more}"


def test_pausing_keeps_what_happens_and_going_on_sends_it(world: World, browser: Browser, firm: Firm) -> None:
    shared = world.share(world.person(), firm)
    jobs.drain()
    assert "Pause" in browser.get(here(firm)).text
    assert browser.send(here(firm, "/status"), status="paused").status_code == 303
    world.save(shared.person_id, email__main="new@example.org")
    jobs.drain()
    assert firm.receiver.newest(shared.sub)["email.main"][0] == 1
    page = browser.get(here(firm)).text
    assert "Paused" in page
    assert "Go on" in page
    browser.send(here(firm, "/status"), status="enabled")
    jobs.drain()
    assert firm.receiver.newest(shared.sub)["email.main"] == (2, "new@example.org")


def test_how_much_at_once_is_kept_and_a_wrong_number_is_said(world: World, browser: Browser, firm: Firm) -> None:
    good = {"batch": "20", "in_flight": "2", "per_second": "50"}
    assert browser.send(here(firm, "/pace"), **good).status_code == 303
    stream = world.endpoint(firm)
    assert (stream.batch, stream.in_flight, stream.per_second) == (20, 2, 50)
    wrong = browser.send(here(firm, "/pace"), **(good | {"in_flight": "99", "batch": "many"}))
    assert wrong.status_code == 422
    assert "Enter a number from 1 to 16." in wrong.text
    assert "Enter a whole number." in wrong.text
    assert 'value="99"' in wrong.text
    assert world.endpoint(firm).in_flight == 2


def test_collecting_and_being_sent_to_again(world: World, browser: Browser, firm: Firm) -> None:
    assert browser.send(here(firm, "/collect")).status_code == 303
    assert (world.endpoint(firm).method, world.endpoint(firm).url) == ("poll", None)
    assert "Your server collects" in browser.get(here(firm)).text
    assert "Your server collects" in browser.get(f"/org/apps/{firm.client_id}").text
    assert browser.send(here(firm), url=firm.receiver.url).status_code == 303
    assert (world.endpoint(firm).method, world.endpoint(firm).url) == ("push", firm.receiver.url)


def shown_to(receiver: Any, monkeypatch: pytest.MonkeyPatch) -> list[str | None]:  # noqa: ANN401 - a Receiver
    """Return the Authorization headers that come to this receiver from now on."""
    seen: list[str | None] = []
    handler = receiver._server.RequestHandlerClass  # noqa: SLF001 - what the wire carries, it keeps to itself
    answer = handler.do_POST

    def note(request: BaseHTTPRequestHandler) -> None:
        seen.append(request.headers["Authorization"])
        answer(request)

    monkeypatch.setattr(handler, "do_POST", note)
    return seen


def test_it_is_proved_again_with_the_header_that_it_asked_for(
    world: World, keys: Keyring, browser: Browser, firm: Firm, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrapped = push_header.wrap(keys, client_id=firm.client_id, header="Bearer theirs")
    theirs = {"authorization_version": wrapped[0], "wrapped_authorization": wrapped[1]}
    mine = update(Stream).where(Stream.client_id == firm.client_id)
    world.transact(lambda session: session.execute(mine.values(theirs)))
    other = world.firm(enabled=False)
    for receiver, header in ((firm.receiver, "Bearer theirs"), (other.receiver, None)):
        seen = shown_to(receiver, monkeypatch)
        assert browser.send(here(firm), url=receiver.url).status_code == 303
        assert seen == [header]


@pytest.mark.parametrize(("state", "words"), [("paused", "It stays paused"), ("disabled", "It stays turned off")])
def test_one_that_rests_still_does_when_its_place_is_another(
    world: World, browser: Browser, firm: Firm, state: str, words: str
) -> None:
    world.transact(
        lambda session: streams.set_status(session, client_id=firm.client_id, status=state, reason="", now=db.now())
    )
    other = world.firm(enabled=False)
    for more, fields, where in (
        ("", {"url": other.receiver.url}, other.receiver.url),
        ("/collect", {}, None),
        ("", {"url": firm.receiver.url}, firm.receiver.url),
    ):
        assert browser.send(here(firm, more), **fields).status_code == 303
        assert words in browser.get(here(firm)).text
        stream = world.endpoint(firm)
        assert (stream.state, stream.url) == (state, where)


def test_one_that_rests_unproven_is_not_gone_on_with_before_it_is_proved(
    world: World, browser: Browser, firm: Firm
) -> None:
    off = update(Stream).where(Stream.client_id == firm.client_id)
    world.transact(lambda session: session.execute(off.values(state="paused", verified_at=None)))
    assert "Go on" not in browser.get(here(firm)).text
    browser.send(here(firm), url=firm.receiver.url)
    assert "Go on" in browser.get(here(firm)).text
    browser.send(here(firm, "/status"), status="enabled")
    assert world.endpoint(firm).state == "enabled"


def test_an_app_without_an_endpoint_may_collect(world: World, browser: Browser) -> None:
    other = world.firm(enabled=False)
    world.transact(
        lambda session: companies.add_staff(session, company_id=other.company_id, person_id=browser.person_id)
    )
    browser.send("/org/switch", company=other.name.lower().replace(" ", "-"))
    assert "Let our server collect" in browser.get(here(other)).text
    assert browser.send(here(other, "/collect")).status_code == 303
    assert world.endpoint(other).state == "enabled"


@pytest.mark.parametrize("collects", [True, False])
def test_what_ended_while_there_was_no_stream_is_told(
    world: World, browser: Browser, firm: Firm, *, collects: bool
) -> None:
    shared = world.share(world.person(), firm)
    jobs.drain()
    world.transact(lambda session: streams.end(session, client_id=firm.client_id))
    world.step("withdraw", shared)
    more, fields = ("/collect", {}) if collects else ("", {"url": firm.receiver.url})
    assert browser.send(here(firm, more), **fields).status_code == 303
    row = world.delivery(shared)
    assert row.generation > row.acked_generation


@pytest.mark.parametrize("status", ["", "enabled", "disabled", "anything"])
def test_a_step_that_is_not_offered_is_none(browser: Browser, firm: Firm, status: str) -> None:
    assert browser.send(here(firm, "/status"), status=status).status_code == 404


def test_one_that_was_turned_off_because_it_failed_is_not_simply_gone_on_with(
    world: World, browser: Browser, firm: Firm
) -> None:
    off = update(Stream).where(Stream.client_id == firm.client_id)
    world.transact(lambda session: session.execute(off.values(state="disabled", disabled_at=db.now())))
    assert "Go on" not in browser.get(here(firm)).text
    assert browser.send(here(firm, "/status"), status="enabled").status_code == 404


def test_the_pages_of_an_app_say_that_its_endpoint_fails_and_lead_to_how_it_does(
    world: World, browser: Browser, firm: Firm
) -> None:
    failing = update(Stream).where(Stream.client_id == firm.client_id)
    values = {"last_problem": "It did not answer in time.", "failing_since": db.now()}
    world.transact(lambda session: session.execute(failing.values(**values)))
    for page in (here(firm), f"/org/apps/{firm.client_id}"):
        text = browser.get(page).text
        assert "It did not answer in time. No success since today at" in text
        assert f"/org/deliveries/endpoints/{firm.client_id}" in text


def test_the_overview_says_which_endpoint_takes_nothing(world: World, browser: Browser, firm: Firm) -> None:
    page = f"/org/deliveries/endpoints/{firm.client_id}"
    assert page not in browser.get("/org").text
    mine = update(Stream).where(Stream.client_id == firm.client_id)
    world.transact(lambda session: session.execute(mine.values(circuit_step=1, failing_since=db.now())))
    assert "the endpoint takes no updates since today at" in browser.get("/org").text
    off = mine.values(state="disabled", disabled_at=db.now(), reason="The endpoint answered 410: it is gone for good.")
    world.transact(lambda session: session.execute(off))
    assert "the endpoint is turned off. The endpoint answered 410" in browser.get("/org").text
    assert page in browser.get("/org").text


def test_where_an_engineer_looks_the_guide_is_one_link_away(browser: Browser, firm: Firm) -> None:
    for page in ("/org", f"/org/apps/{firm.client_id}"):
        text = browser.get(page).text
        assert '<a href="/docs/companies">' in text.partition("<h1>")[2]
        assert '<a href="/api/v1/openapi.json">' in text
    assert "/docs/companies/streams#when-a-message-does-not-arrive" in browser.get(here(firm)).text
    assert '<a href="/docs/companies">Guide</a>' in browser.get("/org/deliveries").text


def test_an_endpoint_that_is_left_alone_is_not_shown_as_if_it_were_well(
    world: World, browser: Browser, firm: Firm
) -> None:
    mine = update(Stream).where(Stream.client_id == firm.client_id)
    for page in (here(firm), f"/org/apps/{firm.client_id}"):
        world.transact(lambda session: session.execute(mine.values(circuit_step=0)))
        assert '<span class="tag ok">Proven</span>' in browser.get(page).text
        world.transact(lambda session: session.execute(mine.values(circuit_step=1, failing_since=db.now())))
        text = browser.get(page).text
        assert '<span class="tag stop">Takes no updates</span> since today at' in text
        assert "tag ok" not in text.partition("Endpoint")[2]

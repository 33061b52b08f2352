"""What company staff see of what was sent to them, and what they can do about it."""

from __future__ import annotations

import html
import json
import re
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from sqlalchemy import update

from portal import db
from portal.companies.models import Client
from portal.sync import chart, deliveries, jobs
from portal.sync.consignments import MANY
from portal.sync.models import Attempt, Delivery, Receipt
from tests.companies.browser import Browser
from tests.counting import statements

if TYPE_CHECKING:
    from datetime import datetime

    from flask import Flask
    from werkzeug.test import TestResponse

    from portal.config import Settings
    from portal.vault.keyring import Keyring
    from tests.sync.cast import Firm, Shared, World

PROFILE = "urn:ucm:event:profile"
PATH = "/org/deliveries"


@pytest.fixture
def browser(app: Flask, settings: Settings, keys: Keyring) -> Browser:
    return Browser(app, settings, keys)


@pytest.fixture
def firm(world: World, browser: Browser) -> Firm:
    made = world.firm()
    world.employ(browser.person_id, made)
    return made


def attempt(world: World, firm: Firm, shared: Shared | None = None, **more: Any) -> Attempt:  # noqa: ANN401 - columns
    columns: dict[str, Any] = {
        "client_id": firm.client_id, "at": db.now(), "attempt_id": db.new_id(), "jti": db.new_id().hex,
        "person_id": shared and shared.person_id, "grant_id": shared and shared.grant_id, "generation": 1,
        "grant_version": 1, "channel": "push", "kinds": [PROFILE], "outcome": "completed", "status": 202,
        "milliseconds": 12, "detail": "", "payload": '{"jti":"x"}',
    }  # fmt: skip
    made = Attempt(**(columns | more))
    world.transact(lambda session: session.add(made))
    return made


def failed(world: World, firm: Firm, shared: Shared, **more: Any) -> Attempt:  # noqa: ANN401 - columns
    return attempt(world, firm, shared, **({"outcome": "failed", "status": 503, "detail": "It answered 503."} | more))


def set_delivery(world: World, shared: Shared, **values: Any) -> None:  # noqa: ANN401 - columns
    now_so = update(Delivery).where(Delivery.grant_id == shared.grant_id).values(**values)
    world.transact(lambda session: session.execute(now_so))


def shared_with(world: World, firm: Firm) -> Shared:
    return world.share(world.person(), firm)


def rows(answer: TestResponse) -> list[str]:
    body = answer.text.partition("<tbody")[2].partition("</tbody>")[0]
    return [" ".join(re.sub(r"<[^>]*>", " ", row).split()) for row in body.split("<tr")[1:]]


def test_staff_see_every_attempt_but_not_who_it_was(world: World, browser: Browser, firm: Firm) -> None:
    shared = shared_with(world, firm)
    failed(world, firm, shared, jti="one", milliseconds=7)
    attempt(world, firm, shared, jti="one")
    newest, older = rows(browser.get(PATH))
    for words in ("profile", shared.sub, "202 Delivered", "12 ms"):
        assert words in newest
    for words in (shared.sub, "503 Failed", "7 ms", "It answered 503."):
        assert words in older
    page = browser.get(PATH).text
    assert str(shared.person_id) not in page
    assert "1 delivered, 1 failed (50.0%)" in page
    assert re.findall(r'data-h="Try" class="amount">(\d+)', page) == ["2", "1"]


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("", "dvfn"), ("result=delivered", "dv"), ("result=failed", "f"), ("result=not-sent", "n"),
        ("kind=profile", "dfn"), ("kind=verification", "v"), ("person={sub}", "dfn"), ("person=nobody", ""),
        ("first={tomorrow}", ""), ("last={yesterday}", ""), ("first={yesterday}&last={tomorrow}", "dvfn"),
        ("app={app}&result=failed&person={sub}&kind=profile", "f"),
    ],
)  # fmt: skip
def test_the_list_shows_what_is_asked_for(world: World, browser: Browser, firm: Firm, query: str, shown: str) -> None:
    shared = shared_with(world, firm)
    verification = "https://schemas.openid.net/secevent/ssf/event-type/verification"
    made = {
        "d": attempt(world, firm, shared), "v": attempt(world, firm, kinds=[verification]),
        "f": failed(world, firm, shared), "n": attempt(world, firm, shared, outcome="suppressed", status=None),
    }  # fmt: skip
    day = timedelta(days=1)
    words = {"sub": shared.sub, "app": firm.client_id, "tomorrow": db.now().date() + day}
    page = browser.get(f"{PATH}?" + query.format(**words, yesterday=db.now().date() - day)).text
    assert {key for key, one in made.items() if f"/{one.jti}" in page} == set(shown)


@pytest.mark.parametrize(
    "query",
    ["result=x", "app=test_x", "kind=x", "first=x", "last=0001-01-01", "last=9999-12-31", f"person={'x' * 200}"],
)
def test_what_cannot_be_looked_for_is_said_and_kept(browser: Browser, firm: Firm, query: str) -> None:
    assert firm
    answer = browser.get(f"{PATH}?{query}")
    assert answer.status_code == 422
    assert "There is a problem" in answer.text


def test_older_attempts_are_one_page_further_with_the_same_filter(world: World, browser: Browser, firm: Firm) -> None:
    shared = shared_with(world, firm)
    made = [failed(world, firm, shared).jti for _ in range(70)]
    attempt(world, firm, shared)
    first = browser.get(f"{PATH}?result=failed").text
    older = re.search(r'href="([^"]+before=[^"]+)"', first)
    assert older
    second = browser.get(older.group(1).replace("&amp;", "&")).text
    assert "hx-trigger" not in second
    shown = [re.findall(r"/messages/[^/]+/([0-9a-f]+)", page) for page in (first, second)]
    assert [len(found) for found in shown] == [50, 20]
    assert [*shown[0], *shown[1]] == made[::-1]


@pytest.mark.parametrize(
    ("stream", "delivery", "words"),
    [
        ({}, {"due_at": timedelta(hours=2)}, " at "),
        ({}, {"due_at": timedelta(hours=-2)}, "now"),
        ({}, {"due_at": timedelta(hours=2), "held": True}, "when you send it again"),
        ({"state": "disabled"}, {"due_at": timedelta(hours=2)}, "when the endpoint is on again"),
        ({"method": "poll"}, {"due_at": timedelta(hours=2)}, "when you poll"),
        ({"circuit_until": timedelta(hours=2)}, {"due_at": timedelta()}, " at "),
        ({}, {"due_at": timedelta(), "leased_until": timedelta(minutes=1)}, "on its way"),
    ],
)
def test_what_waits_says_when_it_is_tried_next(
    world: World, browser: Browser, stream: dict[str, Any], delivery: dict[str, Any], words: str
) -> None:
    firm = world.firm()
    world.employ(browser.person_id, firm)
    shared = shared_with(world, firm)
    world.set_stream(firm, **({"state": "enabled"} | _absolute(stream)))
    set_delivery(world, shared, **_absolute(delivery))
    held = "held" if delivery.get("held") else "waiting"
    (row,) = rows(browser.get(f"{PATH}?result={held}"))
    assert words in row.lower()
    assert shared.sub in row
    assert rows(browser.get(f"{PATH}?result={'waiting' if held == 'held' else 'held'}")) == []
    failed(world, firm, shared)
    assert words in rows(browser.get(PATH))[0]


def _absolute(values: dict[str, Any]) -> dict[str, Any]:
    def moment(value: timedelta) -> datetime:
        return db.now() + value

    return {key: moment(value) if isinstance(value, timedelta) else value for key, value in values.items()}


def test_what_waits_and_what_is_held_back_are_counted_apart(world: World, browser: Browser, firm: Firm) -> None:
    waiting, held = shared_with(world, firm), shared_with(world, firm)
    set_delivery(world, held, held=True)
    page = browser.get(PATH).text
    assert re.search(r"1 waiting<span", page)
    assert re.search(r"1 held back<span", page)
    for place in (f"/org/apps/{firm.client_id}", f"/org/apps/{firm.client_id}/endpoint"):
        assert '<dd class="amount">1, and 1 held back</dd>' in browser.get(place).text
    assert waiting.sub in rows(browser.get(f"{PATH}?result=waiting"))[0]


def test_what_a_newer_message_replaces_is_not_said_to_be_tried_again(
    world: World, browser: Browser, firm: Firm
) -> None:
    shared = shared_with(world, firm)
    failed(world, firm, shared, jti="one")
    assert "Next try: now" in rows(browser.get(PATH))[0]
    set_delivery(world, shared, generation=2)
    assert "Next try: by a newer message, now" in rows(browser.get(PATH))[0]
    assert (
        "<dt>Next try</dt><dd>By a newer message, now</dd>" in browser.get(f"{PATH}/messages/{firm.client_id}/one").text
    )


def test_what_waits_is_paged_too(world: World, browser: Browser, firm: Firm) -> None:
    person = world.person()
    shared = world.share(person, firm)
    grants = [db.new_id() for _ in range(60)]
    copies = [Delivery(person_id=person, grant_id=grant, client_id=firm.client_id, due_at=db.now()) for grant in grants]
    world.transact(lambda session: session.add_all(copies))
    first = browser.get(f"{PATH}?result=waiting")
    older = re.search(r'href="([^"]+before=[^"]+)"', first.text)
    assert older
    second = browser.get(older.group(1).replace("&amp;", "&"))
    assert (len(rows(first)), len(rows(second))) == (50, 11)
    assert shared.sub in first.text


def test_one_message_shows_every_try_and_what_was_sent(world: World, browser: Browser, firm: Firm) -> None:
    shared = shared_with(world, firm)
    claims = {"sub_id": {"sub": shared.sub}, "events": {PROFILE: {"attributes": {"name.full": {"value": 320}}}}}
    failed(world, firm, shared, jti="one", payload=json.dumps(claims))
    attempt(world, firm, shared, jti="one", payload=json.dumps(claims | {"txn": "<b>"}))
    world.transact(
        lambda session: session.add(
            Receipt(person_id=shared.person_id, grant_id=shared.grant_id, jti="one", client_id=firm.client_id,
                    status="rejected", reason="unknown-person", words="Nobody <i>here</i>", generation=1,
                    applied_at=db.now(), received_at=db.now())
        )
    )  # fmt: skip
    page = browser.get(f"{PATH}/messages/{firm.client_id}/one").text
    tries = rows(browser.get(f"{PATH}/messages/{firm.client_id}/one"))
    assert ["503 Failed" in tries[0], "202 Delivered" in tries[1]] == [True, True]
    for words in (shared.sub, "Rejected", "unknown-person", "&#34;value&#34;: 320", "Send again", "&lt;b&gt;"):
        assert words in page
    assert "<q>Nobody &lt;i&gt;here&lt;/i&gt;</q>" in page
    assert str(shared.person_id) not in page
    assert "<b>" not in page


def test_the_type_of_several_in_one_request_is_named_as_it_is_sent(world: World, browser: Browser, firm: Firm) -> None:
    attempt(world, firm, shared_with(world, firm), jti="one")
    world.set_stream(firm, batch=20)
    assert f"{MANY}, several in one request" in browser.get(f"{PATH}/messages/{firm.client_id}/one").text


def test_a_message_about_the_stream_is_about_nobody(world: World, browser: Browser, firm: Firm) -> None:
    attempt(world, firm, jti="stream", payload="")
    page = browser.get(f"{PATH}/messages/{firm.client_id}/stream").text
    assert "it is about the stream" in page
    assert "Send again" not in page


@pytest.mark.parametrize("place", ["messages/{other}/theirs", "messages/{mine}/theirs", "messages/{mine}/none",
                                   "endpoints/{other}", "endpoints/{other}/replay", "endpoints/none"])  # fmt: skip
def test_nothing_of_another_company_is_found(world: World, browser: Browser, firm: Firm, place: str) -> None:
    other = world.firm()
    attempt(world, other, shared_with(world, other), jti="theirs")
    address = place.format(other=other.client_id, mine=firm.client_id)
    assert browser.get(f"{PATH}/{address}").status_code == 404
    assert "theirs" not in browser.get(PATH).text
    assert "theirs" not in browser.get(f"{PATH}?app={other.client_id}").text


def test_strangers_are_sent_to_sign_in(app: Flask, firm: Firm) -> None:
    for place in ("", "/messages/a/b", f"/endpoints/{firm.client_id}", f"/endpoints/{firm.client_id}/replay"):
        answer = app.test_client().get(PATH + place)
        assert answer.headers["Location"].startswith("/account/sign-in")


def again(browser: Browser, shared: Shared, **changed: str) -> TestResponse:
    return browser.send(f"{PATH}/again", **({"sub": shared.sub, "sharing": str(shared.grant_id)} | changed))


@pytest.mark.parametrize("outcome", ["completed", "failed"])
def test_what_arrived_and_what_failed_can_be_sent_again(
    world: World, browser: Browser, firm: Firm, outcome: str
) -> None:
    shared = shared_with(world, firm)
    attempt(world, firm, shared, outcome=outcome)
    set_delivery(world, shared, acked_generation=1, held=True, due_at=db.now() + timedelta(days=1))
    assert f'name="sharing" value="{shared.grant_id}"' in browser.get(PATH).text
    answer = again(browser, shared)
    assert (answer.status_code, answer.location) == (303, PATH)
    assert f"Sending again to {firm.name}: the newest state." in browser.get(PATH).text
    owed = world.delivery(shared)
    assert owed.generation > owed.acked_generation
    assert owed.due_at <= db.now()
    assert not owed.held


def action(page: str) -> str:
    found = re.search(r'<form method="post" action="([^"]*/again[^"]*)"', page)
    assert found
    return html.unescape(found.group(1))


def test_sending_again_leaves_staff_where_they_were(world: World, browser: Browser, firm: Firm) -> None:
    shared = shared_with(world, firm)
    made = [failed(world, firm, shared).jti for _ in range(60)]
    page = browser.get(f"{PATH}?app={firm.client_id}&result=failed&kind=profile").text
    older = re.search(r'href="([^"]+before=[^"]+)"', page)
    assert older
    here = html.unescape(older.group(1))
    second = browser.get(here).text
    about = {"sub": shared.sub, "sharing": str(shared.grant_id)}
    answer = browser.send(action(second), **about)
    assert (answer.status_code, query(answer.location)) == (303, query(here))
    one = re.search(rf'href="([^"]*/messages/[^"]*{made[0]}[^"]*)"', second)
    assert one
    message = html.unescape(one.group(1))
    found = browser.get(message).text
    back = re.search(r'href="([^"]*)">Back to deliveries', found)
    assert back
    assert query(html.unescape(back.group(1))) == query(here)
    assert browser.send(action(found), **about).location == message


def query(address: str) -> dict[str, list[str]]:
    assert urlsplit(address).path == PATH
    return parse_qs(urlsplit(address).query)


def test_the_chart_and_the_endpoints_follow_the_app(world: World, browser: Browser, firm: Firm) -> None:
    other = world.firm()
    theirs = update(Client).where(Client.client_id == other.client_id).values(company_id=firm.company_id)
    world.transact(lambda session: session.execute(theirs))
    attempt(world, firm)
    for _ in range(2):
        attempt(world, other)
    everything = browser.get(PATH).text
    assert "<strong>Last 14 days:</strong> 3 delivered" in everything
    page = browser.get(f"{PATH}?app={other.client_id}").text
    assert f"<strong>Last 14 days, {other.name}:</strong> 2 delivered" in page
    assert (page.count("See how it does"), everything.count("See how it does")) == (1, 2)


def test_a_rare_event_is_looked_for_a_part_at_a_time(
    world: World, browser: Browser, firm: Firm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "LOOKED_AT", 4)
    verification = "https://schemas.openid.net/secevent/ssf/event-type/verification"
    rare = attempt(world, firm, kinds=[verification]).jti
    for _ in range(9):
        attempt(world, firm)
    address, pages = f"{PATH}?kind=verification", 0
    while rare not in (page := browser.get(address).text):
        assert "Nothing that matches since today at" in page
        older = re.search(r'href="([^"]+before=[^"]+)">Look at older', page)
        assert older
        address, pages = html.unescape(older.group(1)), pages + 1
    assert pages == 2
    assert "Show older" not in page


def test_without_an_endpoint_that_is_on_sending_again_waits_and_says_so(
    world: World, browser: Browser, firm: Firm
) -> None:
    shared = shared_with(world, firm)
    world.set_stream(firm, state="disabled")
    again(browser, shared)
    assert "Nothing is sent yet" in browser.get(PATH).text


def test_only_staff_of_the_company_itself_can_have_it_sent_again(
    world: World, browser: Browser, app: Flask, settings: Settings, keys: Keyring
) -> None:
    firm, other = world.firm(), world.firm()
    shared, theirs = shared_with(world, firm), shared_with(world, other)
    assert again(Browser(app, settings, keys), shared).location == "/org"
    world.employ(browser.person_id, firm)
    before = world.delivery(theirs).generation
    wrong = [{"sub": theirs.sub}, {"sharing": str(theirs.grant_id)}, {"sharing": "x"}, {"sub": ""}, {"sub": "\0"}]
    for changed in [*wrong, {"sub": theirs.sub, "sharing": str(theirs.grant_id)}]:
        assert again(browser, shared, **changed).status_code == 404
    assert world.delivery(theirs).generation == before
    unguarded = {"sub": shared.sub, "sharing": str(shared.grant_id)}
    assert browser.client.post(f"{PATH}/again", data=unguarded).status_code == 400


def test_a_longer_table_costs_no_more_queries(world: World, browser: Browser, firm: Firm) -> None:
    failed(world, firm, shared_with(world, firm))
    with statements(world.settings) as few:
        browser.get(PATH)
    for _ in range(3):
        failed(world, firm, shared_with(world, firm))
    with statements(world.settings) as many:
        page = browser.get(PATH).text
    assert page.count("Send again<") == 4
    assert len(many) == len(few)


def test_the_list_says_what_was_reported_and_how_many_copies_are_right(
    world: World, browser: Browser, firm: Firm
) -> None:
    shared = shared_with(world, firm)
    jobs.drain()
    [message] = firm.receiver.journal
    assert "1 of 1 copies are as people have their details now (100.00%)." in browser.get(PATH).text
    said = Receipt(
        person_id=shared.person_id, grant_id=shared.grant_id, jti=message.jti, client_id=firm.client_id,
        status="superseded", generation=1, applied_at=db.now(), received_at=db.now(),
    )  # fmt: skip
    world.transact(lambda session: session.add(said))
    [row] = rows(browser.get(PATH))
    assert "202 Delivered Superseded" in row
    world.save(shared.person_id, name__full="Ada King")
    page = browser.get(PATH).text
    assert "0 of 1 copies are as people have their details now (0.00%), 100.00% without" in page


def test_the_table_refreshes_alone(world: World, browser: Browser, firm: Firm) -> None:
    attempt(world, firm)
    part = browser.get(f"{PATH}?result=delivered", headers={"HX-Request": "true"}).text
    assert part.strip().startswith('<div id="deliveries"')
    assert (
        'hx-get="/org/deliveries?result=delivered" hx-trigger="every 5s, click"'
        in browser.get(f"{PATH}?result=delivered").text
    )
    assert browser.get(f"{PATH}?before=nonsense").status_code == 422


def test_an_endpoint_that_is_away_is_named_first(world: World, browser: Browser, firm: Firm) -> None:
    assert "the endpoint takes updates" in browser.get(PATH).text
    world.set_stream(firm, failing_since=db.now() - timedelta(days=2), last_problem="It answered 503.")
    page = browser.get(PATH).text
    assert "takes no updates since" in page
    assert "It answered 503." in page
    # Where nothing waits nothing is tried.
    assert "We keep trying" not in page
    shared_with(world, firm)
    assert "We keep trying. It answered 503." in browser.get(PATH).text
    world.set_stream(firm, state="disabled", reason="The endpoint answered 410: it is gone for good.")
    assert "turned off. The endpoint answered 410" in browser.get(PATH).text


def test_bars_stand_on_the_days_they_count() -> None:
    counts = [(date(2026, 11, 2), "completed", 3), (date(2026, 11, 2), "failed", 1), (date(2026, 11, 3), "unknown", 2)]
    made = chart.of_days([*counts, (date(2026, 11, 3), "suppressed", 9)], first=date(2026, 11, 1), days=3)
    assert (made.delivered, made.failed, made.failed_percent) == (3, 3, "50.0")
    assert [(bar.x, bar.delivered, bar.failed) for bar in made.bars] == [(0, 0, 0), (24, 60, 20), (48, 0, 40)]


def test_no_deliveries_are_no_failures() -> None:
    assert chart.of_days([], first=date(2026, 11, 1), days=14).failed_percent == "0.0"

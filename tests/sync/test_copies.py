"""How copies stand beside the master: one change as its person watches it, and the share of all that are equal."""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import update

from portal import cli, db
from portal.companies.models import Purpose
from portal.sync import copies, jobs
from portal.sync.copies import Share
from portal.sync.models import Delivery, Stream
from tests.companies.browser import Browser
from tests.counting import statements
from tests.sync.outbox_steps import claim
from tests.sync.test_receipts import receipt, results, send

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask

    from portal.config import Settings
    from portal.sync.copies import Told
    from portal.vault.keyring import Keyring
    from tests.sync.caller import Caller
    from tests.sync.cast import Firm, Shared, World


@pytest.fixture
def browser(app: Flask, settings: Settings, keys: Keyring) -> Browser:
    return Browser(app, settings, keys)


def share(world: World, firm: Firm, *, later: timedelta = timedelta()) -> Share:
    asked: Callable[..., Any] = copies.share
    found: Share = world.transact(partial(asked, now=db.now() + later, client_id=firm.client_id))
    return found


def told(world: World, person_id: Any, sequence: int) -> Told:  # noqa: ANN401 - an id
    asked = partial(copies.status_of_change, person_id=person_id, sequence=sequence, now=db.now())
    [one] = world.transact(asked)
    found: Told = one
    return found


def say(caller: Caller, firm: Firm, status: str = "applied", **more: Any) -> None:  # noqa: ANN401 - members of JSON
    """Send a receipt for the message that arrived last."""
    assert results(send(caller, receipt(firm.receiver.journal[-1].jti, status, **more))) == ["recorded"]


def settle(world: World, browser: Browser, firm: Firm, caller: Caller | None = None) -> None:
    world.save(browser.person_id, name__full="Ada Byrne", email__main="ada@example.org")
    world.share(browser.person_id, firm)
    jobs.drain()
    if caller:
        say(caller, firm)


def words(page: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", page).split())


def look(browser: Browser, sequence: int) -> str:
    return browser.get(f"/updates/{sequence}", headers={"HX-Request": "true"}).text


def test_a_person_sees_a_change_received_and_then_used(
    world: World, browser: Browser, firm: Firm, caller: Caller
) -> None:
    settle(world, browser, firm, caller)
    sequence = world.save(browser.person_id, email__main="new@example.org")
    jobs.drain()
    before = look(browser, sequence)
    assert re.search(
        rf"{firm.name} has your new email address: received \d\.\d s after you saved, not updated there yet",
        words(before),
    )
    assert 'hx-trigger="load delay:300ms, click"' in before
    say(caller, firm)
    after = look(browser, sequence)
    assert re.search(rf"{firm.name} has your new email address: updated \d\.\d s after you saved", words(after))
    assert "hx-get" not in after
    assert 'data-announce="1 organisation has your change."' in after
    assert "updated" in words(browser.get(f"/updates/{sequence}").text)


def test_a_person_sees_why_a_change_was_rejected_and_what_to_do(
    world: World, browser: Browser, firm: Firm, caller: Caller
) -> None:
    settle(world, browser, firm, caller)
    sequence = world.save(browser.person_id, email__main="new@example.org", name__full="Ada Lovelace")
    jobs.drain()
    say(caller, firm, "rejected", reason="invalid", words="Not our format")
    page = look(browser, sequence)
    assert f"{firm.name} did not take your change: a detail did not pass their checks." in words(page)
    assert "correct it, or ask them what is wrong" in words(page)
    assert 'href="/sharing/' in page
    assert "Not our format" not in page
    assert 'data-announce="0 of 1 organisations have your change."' in page
    say(caller, firm)
    assert "updated" in words(look(browser, sequence))


def test_the_time_is_of_the_message_that_brought_the_change_and_counts_from_saving(
    world: World, browser: Browser, firm: Firm
) -> None:
    settle(world, browser, firm)
    first = world.save(browser.person_id, email__main="new@example.org")
    jobs.drain()
    was = told(world, browser.person_id, first)
    world.save(browser.person_id, email__main="newer@example.org")
    jobs.drain()
    assert was.took is not None
    assert timedelta() <= was.took < timedelta(seconds=10)
    assert told(world, browser.person_id, first)[3:5] == was[3:5]


def test_whoever_shared_only_afterwards_did_not_wait_since_then(
    world: World, browser: Browser, firm: Firm, caller: Caller
) -> None:
    sequence = world.save(browser.person_id, email__main="ada@example.org")
    world.share(browser.person_id, firm)
    jobs.drain()
    assert "received today at" in words(look(browser, sequence))
    say(caller, firm)
    assert "updated today at" in words(look(browser, sequence))


def test_a_receipt_says_it_before_our_own_acknowledgement(
    world: World, browser: Browser, firm: Firm, caller: Caller
) -> None:
    settle(world, browser, firm, caller)
    sequence = world.save(browser.person_id, email__main="new@example.org")
    [parcel] = claim(world)
    assert told(world, browser.person_id, sequence).state == "waiting"
    assert results(send(caller, receipt(parcel.jti))) == ["recorded"]
    assert told(world, browser.person_id, sequence).state == "applied"


def test_what_was_pulled_and_used_counts(world: World, browser: Browser, firm: Firm, caller: Caller) -> None:
    settle(world, browser, firm, caller)
    sequence = world.save(browser.person_id, email__main="new@example.org")
    sub = firm.receiver.journal[-1].claims["sub_id"]["sub"]
    message = caller.get(f"/api/v1/people/{sub}").text
    payload = message.split(".")[1]
    claims = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    assert results(send(caller, receipt(claims["jti"]))) == ["recorded"]
    assert told(world, browser.person_id, sequence).state == "applied"


def test_the_share_follows_acknowledgements(world: World, firm: Firm) -> None:
    people = [world.share(world.person(), firm) for _ in range(4)]
    assert share(world, firm) == Share(4, 0, 4)
    jobs.drain()
    assert share(world, firm) == Share(4, 4, 0)
    world.save(people[0].person_id, email__main="new@example.org")
    found = share(world, firm)
    assert (found, found.now, found.settled) == (Share(4, 3, 1), 0.75, 1.0)
    late = share(world, firm, later=timedelta(seconds=61))
    assert (late, late.now, late.settled) == (Share(4, 3, 0), 0.75, 0.75)


def test_a_thin_copy_equals_the_master_when_it_was_fetched(world: World, firm: Firm, caller: Caller) -> None:
    thin = update(Purpose).where(Purpose.purpose_id == firm.purpose_id).values(thin=True)
    world.transact(lambda session: session.execute(thin))
    shared = world.share(world.person(), firm)
    for name in ("Ada King", "Ada Lovelace"):
        world.save(shared.person_id, name__full=name)
        jobs.drain()
        delivery = world.delivery(shared)
        assert delivery.acked_generation == delivery.generation
        assert (share(world, firm).equal, share(world, firm).fresh) == (0, 1)
        assert share(world, firm, later=timedelta(minutes=2)).settled == 0
        assert caller.get(f"/api/v1/people/{shared.sub}").status_code == 200
        assert share(world, firm) == Share(total=1, equal=1, fresh=0)


def test_what_is_not_shared_makes_no_copy_stale(world: World, firm: Firm) -> None:
    shared = world.share(world.person(), firm, attributes=("name.full", "email.main"))
    jobs.drain()
    world.save(shared.person_id, phone__mobile="+353850123456")
    assert share(world, firm) == Share(1, 1, 0)
    # Nor where the company is owed something else, as news of the consent.
    owed = update(Delivery).where(Delivery.grant_id == shared.grant_id).values(generation=Delivery.generation + 1)
    world.transact(lambda session: session.execute(owed))
    assert share(world, firm) == Share(1, 1, 0)


def test_the_share_follows_receipts_where_they_are_sent(world: World, firm: Firm, caller: Caller) -> None:
    first, second = (world.share(world.person(), firm) for _ in range(2))
    jobs.drain()
    said = [message.jti for message in firm.receiver.journal]
    assert results(send(caller, *map(receipt, said))) == ["recorded"] * 2
    assert share(world, firm) == Share(2, 2, 0)
    for shared in (first, second):
        world.save(shared.person_id, email__main="new@example.org")
    jobs.drain()
    assert share(world, firm) == Share(2, 0, 2)
    say(caller, firm)
    assert share(world, firm) == Share(2, 1, 1)
    other = next(m.jti for m in firm.receiver.journal[2:] if m.jti != firm.receiver.journal[-1].jti)
    assert results(send(caller, receipt(other, "rejected"))) == ["recorded"]
    assert share(world, firm) == Share(2, 1, 1)


def test_what_was_rejected_is_no_equal_copy_until_it_is_used(
    world: World, firm: Firm, caller: Caller, shared_once: Shared
) -> None:
    say(caller, firm, "rejected")
    assert share(world, firm) == Share(1, 0, 1)
    assert share(world, firm, later=timedelta(seconds=61)).settled == 0.0
    world.save(shared_once.person_id, name__full="Ada Lovelace")
    jobs.drain()
    say(caller, firm)
    assert share(world, firm) == Share(1, 1, 0)


def test_what_was_acknowledged_before_the_first_receipt_counts_by_that(
    world: World, firm: Firm, caller: Caller
) -> None:
    old = [world.share(world.person(), firm) for _ in range(3)]
    jobs.drain()
    world.save(old[0].person_id, email__main="new@example.org")
    jobs.drain()
    say(caller, firm)
    assert share(world, firm) == Share(3, 3, 0)


def test_a_client_that_stopped_sending_receipts_counts_by_acknowledgement_again(
    world: World, firm: Firm, caller: Caller, shared_once: Shared
) -> None:
    say(caller, firm)
    world.save(shared_once.person_id, email__main="new@example.org")
    jobs.drain()
    assert share(world, firm) == Share(1, 0, 1)
    long_ago = update(Stream).where(Stream.client_id == firm.client_id)
    over = long_ago.values(receipts_at=db.now() - timedelta(days=31))
    world.transact(lambda session: session.execute(over))
    assert share(world, firm) == Share(1, 1, 0)


@pytest.fixture
def shared_once(world: World, firm: Firm) -> Shared:
    shared = world.share(world.person(), firm)
    jobs.drain()
    return shared


@pytest.mark.parametrize(
    ("values", "total"),
    [
        ({"state": "paused"}, 0),
        ({"state": "disabled"}, 0),
        ({"state": "disabled", "disabled_at": db.now()}, 1),
        ({"state": "enabled"}, 1),
    ],
)
def test_streams_the_company_paused_are_left_out_and_those_that_failed_are_not(
    *, world: World, firm: Firm, shared_once: Shared, values: dict[str, Any], total: int
) -> None:
    assert shared_once.sub
    world.set_stream(firm, **values)
    assert share(world, firm).total == total


@pytest.mark.parametrize("step", ["pause", "withdraw"])
def test_whoever_is_not_to_be_kept_up_to_date_is_left_out(
    *, world: World, firm: Firm, shared_once: Shared, step: str
) -> None:
    world.step(step, shared_once)
    assert share(world, firm).total == 0


def test_the_figure_is_a_line() -> None:
    assert Share(3000, 2998, 2).words == (
        "copies equal to the master: 99.93% (2,998 of 3,000); older than 60 s: 100.00%; goal 99.8%"
    )
    assert Share(0, 0, 0).now == Share(0, 0, 0).settled == 1.0


def test_the_operator_can_ask_for_it(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert settings
    with pytest.raises(SystemExit) as end:
        cli.portal(["figures"])
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith("copies equal to the master: ")


def test_the_log_shows_beside_a_row_what_became_of_its_message(
    world: World, browser: Browser, firm: Firm, caller: Caller
) -> None:
    settle(world, browser, firm, caller)
    assert "Received Updated there today at" in words(browser.get("/activity").text)
    world.save(browser.person_id, email__main="new@example.org")
    jobs.drain()
    say(caller, firm, "rejected", reason="not-kept")
    page = browser.get("/activity").text
    assert "Received Not taken: they do not keep this detail" in words(page)
    newest = re.search(r'href="(/activity/[\w-]+)"', page)
    assert newest is not None
    assert "Not taken: they do not keep this detail" in words(browser.get(newest[1]).text)


def test_what_held_no_details_was_noted_there_and_not_updated(
    world: World, browser: Browser, firm: Firm, caller: Caller
) -> None:
    world.save(browser.person_id, name__full="Ada Byrne", email__main="ada@example.org")
    shared = world.share(browser.person_id, firm)
    jobs.drain()
    world.step("pause", shared)
    jobs.drain()
    say(caller, firm)
    page = words(browser.get("/activity?own=1").text)
    assert "We told them what you decided Received Noted there today at" in page


def test_a_longer_log_costs_no_more_queries(world: World, browser: Browser, firm: Firm, caller: Caller) -> None:
    settle(world, browser, firm, caller)
    with statements(world.settings) as short:
        browser.get("/activity")
    for number in range(4):
        world.save(browser.person_id, email__main=f"new{number}@example.org")
        jobs.drain()
        say(caller, firm)
    with statements(world.settings) as longer:
        browser.get("/activity")
    assert len(longer) == len(short)

"""What a company's server, or whoever has got hold of a part of it, tries with its stream, and what comes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from sqlalchemy import func, select, text, update

from portal import db
from portal.companies import services as companies
from portal.companies.models import Company, CompanyLetter
from portal.sync import health, jobs, proving, push_header, streams
from portal.sync.models import Attempt, Stream
from portal.web import limits
from tests import counting
from tests.sync.caller import Caller

if TYPE_CHECKING:
    from uuid import UUID

    from flask import Flask

    from portal.vault.keyring import Keyring
    from tests.companies.browser import Browser
    from tests.sync.cast import Firm, Shared, World

SECRET = "Bearer secret-of-theirs"
NOW: dict[str, Any] = {"returnImmediately": True}


def manager(app: Flask, world: World, firm: Firm) -> Caller:
    return Caller(app.test_client(), world, firm, scope=streams.SCOPE)


def told(world: World, shared: Shared) -> int:
    """How many times this person's details were logged as having left."""
    count = select(func.count()).select_from(Attempt).where(Attempt.grant_id == shared.grant_id)
    found: int = world.transact(lambda session: session.scalar(count))
    return found


def test_an_identifier_that_is_no_text_is_nobodys(browser: Browser) -> None:
    assert browser.get("/org/deliveries?person=%00").status_code == 200


def test_a_header_stays_behind_when_staff_move_the_endpoint(
    world: World, browser: Browser, firm: Firm, keys: Keyring
) -> None:
    """Whoever has a colleague's session would else read, at their own address, what no page shows."""
    version, wrapped = push_header.wrap(keys, client_id=firm.client_id, header=SECRET)
    world.set_stream(firm, authorization_version=version, wrapped_authorization=wrapped)
    elsewhere = firm.receiver.url + "/mine"
    assert browser.send(f"/org/apps/{firm.client_id}/endpoint", url=elsewhere).status_code == 303
    stream = world.endpoint(firm)
    assert (stream.url, stream.wrapped_authorization, stream.authorization_version) == (elsewhere, None, None)


@pytest.mark.parametrize("words", ["ada@example.org lives at 1 High St", "invalid_key\x7f", "a" * 41, "<b>", 7])
def test_what_a_receiver_says_of_a_message_is_kept_only_where_it_is_a_code(
    world: World, firm: Firm, words: object
) -> None:
    """Else a company could write somebody's details down here, in plain, and have staff read its letters."""
    world.set_stream(firm, batch=20)
    firm.receiver.says = lambda jtis: {"ack": [], "setErrs": {jti: {"err": words} for jti in jtis}}
    shared = world.share(world.person(), firm)
    jobs.drain()
    assert world.delivery(shared).last_problem == "It refused this message."
    details = select(Attempt.detail).where(Attempt.grant_id == shared.grant_id)
    assert set(world.transact(lambda session: session.scalars(details).all())) == {world.delivery(shared).last_problem}


def test_who_polls_what_it_is_pushed_too_cannot_have_it_refused_into_the_log_again_and_again(
    app: Flask, world: World, firm: Firm
) -> None:
    caller = Caller(app.test_client(), world, firm)
    shared = world.share(world.person(), firm)
    for _ in range(4):
        sets = caller.post(streams.EVENTS, json=NOW).get_json()["sets"]
        errors = {jti: {"err": "invalid_request"} for jti in sets}
        caller.post(streams.EVENTS, json=NOW | {"maxEvents": 0, "setErrs": errors})
    assert told(world, shared) == 1
    assert world.delivery(shared).held


@pytest.mark.parametrize("way", ["pull", "batch"])
def test_refusals_have_an_end_in_the_log_and_none_outside(app: Flask, world: World, firm: Firm, way: str) -> None:
    """Whoever is refused could hide under thousands of rows what did leave."""
    shared = world.share(world.person(), firm)
    jobs.drain()
    world.step("withdraw", shared)
    fill(world, shared, 98)
    caller = Caller(app.test_client(), world, firm)
    for _ in range(4):
        if way == "pull":
            answer = caller.get(f"/api/v1/people/{shared.sub}")
            assert (answer.status_code, answer.get_json()["type"].rpartition("/")[2]) == (403, "consent-withdrawn")
        else:
            begun = caller.post("/api/v1/pulls", json={"subjects": [shared.sub]}).get_json()
            jobs.run_pull(begun["id"])
            result = caller.get(begun["links"]["self"] + "/result").get_json()["results"]
            assert result == [{"sub": shared.sub, "problem": "consent-withdrawn"}]
    assert refusals(world, shared) == 100


def fill(world: World, shared: Shared, count: int) -> None:
    """Log so many refusals of the same sharing."""
    made = text("""
        INSERT INTO disclosure (person_id, at, disclosure_id, context_id, grant_id, grant_version, channel, outcome,
                                reason, asked, given)
        SELECT person_id, clock_timestamp(), gen_random_uuid(), context_id, grant_id, version, 'pull', 'denied',
               'withdrawn', '[]', '{}' FROM "grant", generate_series(1, :count) WHERE grant_id = :grant_id""")
    world.transact(lambda session: session.execute(made, {"count": count, "grant_id": shared.grant_id}))


def refusals(world: World, shared: Shared) -> int:
    mine = text("SELECT count(*) FROM disclosure WHERE person_id = :person_id AND outcome = 'denied'")
    found: int = world.transact(lambda session: session.scalar(mine, {"person_id": shared.person_id}))
    return found


def test_what_the_endpoint_refused_may_be_polled(app: Flask, world: World, firm: Firm) -> None:
    firm.receiver.behave = lambda _number: (400, {}, b"")
    world.share(world.person(), firm)
    jobs.drain()
    caller = Caller(app.test_client(), world, firm)
    assert len(caller.post(streams.EVENTS, json=NOW).get_json()["sets"]) == 1


def test_asking_for_everything_again_has_an_end(app: Flask, world: World, firm: Firm) -> None:
    """Each makes every subscription due anew, and a row in somebody's log of each."""
    caller = manager(app, world, firm)
    stream_id = str(world.endpoint(firm).stream_id)
    statuses = []
    for number in range(60):
        wanted = [streams.delivered([])[0]] if number % 2 else None
        body = {"stream_id": stream_id, "events_requested": wanted}
        answer = caller.send("PATCH", streams.CONFIGURATION, json=body)
        statuses.append(answer.status_code)
    assert statuses[0] == 200
    assert statuses[-1] == 429
    assert "Retry-After" in answer.headers


def test_an_endpoint_that_is_gone_and_back_again_and_again_makes_few_letters(world: World, firm: Firm) -> None:
    """Letters go to an address that its company named: nobody's mailbox is to be filled by toggling a stream."""
    shared = world.share(world.person(), firm)
    firm.receiver.behave = lambda _number: (410, {}, b"")
    for number in range(6):
        world.save(shared.person_id, email__main=f"a{number}@example.org")
        world.due_now()
        jobs.drain()
        assert world.endpoint(firm).state == "disabled"
        stream = select(Stream).where(Stream.client_id == firm.client_id)
        world.transact(lambda session: health.returned(session, session.scalars(stream).one()))  # noqa: B023 - at once
    assert len(letters(world, firm)) == 3


def test_what_an_unchecked_company_calls_its_address_gets_no_letter(world: World, firm: Firm) -> None:
    """It may be a stranger's: one of the owners gets it, where there is one."""
    unchecked = update(Company).where(Company.company_id == firm.company_id).values(state="draft")
    world.transact(lambda session: session.execute(unchecked))
    firm.receiver.behave = lambda _number: (410, {}, b"")
    world.share(world.person(), firm)
    jobs.drain()
    assert world.endpoint(firm).state == "disabled"
    assert letters(world, firm) == []
    owner = world.person()
    world.transact(
        lambda session: companies.add_staff(session, company_id=firm.company_id, person_id=owner, role="owner")
    )
    world.set_stream(firm, state="enabled", disabled_at=None)
    world.due_now()
    jobs.drain()
    assert letters(world, firm) == [owner]


def letters(world: World, firm: Firm) -> list[UUID | None]:
    """Who was written to, None for the contact address."""
    mine = select(CompanyLetter.person_id).where(CompanyLetter.client_id == firm.client_id)
    found: list[UUID | None] = world.transact(lambda session: session.scalars(mine).all())
    return found


def test_who_names_servers_that_hang_does_not_take_all_the_time_there_is(
    browser: Browser, firm: Firm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One at a time is proven in a process: others would find it busy for ever."""
    monkeypatch.setattr(proving, "_SECONDS", limits.Rate("stream-proof-few-seconds", 3, 60))
    firm.receiver.behave = lambda _number: 2.2
    here = f"/org/apps/{firm.client_id}/endpoint"
    assert browser.send(here, url=firm.receiver.url + "/1").status_code == 303
    asked = firm.receiver.requests
    refused = browser.send(here, url=firm.receiver.url + "/2").text
    assert "Wait a minute." in browser.send(here, url=firm.receiver.url + "/3").text + refused
    assert firm.receiver.requests <= asked + 1


def test_a_poll_that_names_a_thousand_messages_costs_as_many_statements_as_one_that_names_one(
    app: Flask, world: World, firm: Firm
) -> None:
    caller = Caller(app.test_client(), world, firm)

    def cost(many: int) -> int:
        errors = {uuid4().hex: {"err": "invalid_key"} for _ in range(many)}
        acks = [uuid4().hex for _ in range(many)]
        with counting.statements(world.settings) as counted:
            caller.post(streams.EVENTS, json=NOW | {"maxEvents": 0, "ack": acks, "setErrs": errors})
        return len(counted)

    cost(1)
    assert cost(1000) == cost(1)


def test_a_rest_does_not_make_up_for_the_proof_of_one_that_failed(app: Flask, world: World, firm: Firm) -> None:
    caller = manager(app, world, firm)
    stream_id = str(world.endpoint(firm).stream_id)
    world.set_stream(firm, state="disabled", disabled_at=db.now())
    firm.receiver.behave = lambda _number: (404, {}, b"")
    statuses = [
        caller.post(streams.STATUS, json={"stream_id": stream_id, "status": status}).status_code
        for status in ("paused", "enabled")
    ]
    assert statuses == [200, 422]
    assert world.endpoint(firm).state == "paused"

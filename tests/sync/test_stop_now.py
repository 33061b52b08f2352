"""Stopping acts on the next call, over real HTTP: the time is printed, the refusal is what is asserted."""

from __future__ import annotations

import re
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import requests
from werkzeug.serving import make_server

from portal import db
from portal.identity import services as identity
from portal.ledger import queries as ledger
from portal.sync import jobs
from tests.sync.caller import Caller

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from flask import Flask
    from flask.testing import FlaskClient

    from tests.sync.cast import World

TURNS = 5


@pytest.fixture
def address(app: Flask) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, app, threaded=True)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    serving.join()
    server.server_close()


@pytest.fixture
def browser(world: World) -> Iterator[tuple[requests.Session, UUID]]:
    """Somebody signed in, and what their browser sends."""

    def sign_in(session: Any) -> tuple[UUID, str]:  # noqa: ANN401 - a session
        now, keys = db.now(), world.keyring
        made = identity.register(session, keyring=keys, email=f"{db.new_id().hex}@example.org", now=now)
        identity.confirm(session, keyring=keys, person_id=made.person_id)
        return made.person_id, identity.open_session(
            session, person_id=made.person_id, method="code", browser="a test", now=now
        )

    person_id, token = world.transact(sign_in)
    world.save(person_id, name__full="Ada Byrne", email__main="ada@example.org")
    with requests.Session() as session:
        session.headers["Host"] = world.settings.url.partition("//")[2]
        session.cookies.set("session", token)
        yield session, person_id


def test_the_call_after_a_stop_is_refused_and_nothing_is_pushed(
    world: World, address: str, browser: tuple[requests.Session, UUID], http: FlaskClient
) -> None:
    (person, person_id), firm = browser, world.firm()
    company, took = Caller(http, world, firm), []
    for turn in range(TURNS):
        shared = world.share(person_id, firm)
        world.due_now()
        jobs.drain()
        assert any(message.profile for message in firm.receiver.journal)
        assert _pull(company, address, shared.sub).status_code == 200
        # Something is owed when they stop: what has not left by then never leaves.
        world.save(person_id, name__full=f"Ada {turn}")
        firm.receiver.journal.clear()
        page = person.get(f"{address}/sharing/{shared.grant_id}/stop", timeout=10).text
        token = re.search(r'<main.*name="csrf_token" value="([^"]+)"', page, re.DOTALL)
        assert token
        pressed = time.monotonic()
        stopped = person.post(
            f"{address}/sharing/{shared.grant_id}/stop", data={"csrf_token": token[1]}, timeout=10,
            allow_redirects=False,
        )  # fmt: skip
        refused = _pull(company, address, shared.sub)
        took.append(time.monotonic() - pressed)
        assert stopped.status_code == 303
        assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (403, "consent-withdrawn")
        world.due_now()
        jobs.drain()
        assert [message for message in firm.receiver.journal if message.profile] == []
        assert [message.consent["state"] for message in firm.receiver.journal if message.consent] == ["withdrawn"]
    rows = world.transact(lambda session: ledger.of_person(session, person_id=person_id))
    assert sum(row.channel == "pull" and row.outcome == "denied" for row in rows) == TURNS
    print(f"from the press to the refusal of the next call: {max(took) * 1000:.0f} ms at most, {TURNS} times")  # noqa: T201 - the figure is wanted


def _pull(company: Caller, address: str, sub: str) -> requests.Response:
    path = f"/api/v1/people/{sub}"
    return requests.get(address + path, headers=company.headers("GET", path), timeout=10)

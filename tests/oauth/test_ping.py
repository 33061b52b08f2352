"""Pings (CIBA Core 1.0 section 10.2) to a real server: what is sent, how often, and what is kept of it."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field, replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import update

from portal import config, db, queue
from portal.companies.models import Client
from portal.oauth import jobs, ping
from portal.sync import jobs as sync_jobs
from tests.oauth import afar as cast_
from tests.oauth.afar import NOTIFICATION

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flask.testing import FlaskClient

    from portal.config import Settings
    from portal.oauth.models import BackchannelRequest
    from portal.vault.keyring import Keyring
    from tests.oauth.afar import Afar
    from tests.oauth.conftest import Person

LOCATION = "Location"


@dataclass
class Endpoint:
    """A client's notification endpoint: what came, and what to answer after how long; the last answer repeats."""

    answers: list[int] = field(default_factory=lambda: [204])
    came: list[tuple[dict[str, str], Any]] = field(default_factory=list)
    port: int = 0
    takes: float = 0.0

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}/ping"


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    kept = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            kept.came.append((dict(self.headers), json.loads(body)))
            # It takes its time, as the test told it.
            time.sleep(kept.takes)
            if kept.answers == [0]:
                # As if the server died: the connection ends without an answer.
                self.close_connection = True
                return
            self.send_response(kept.answers.pop(0) if len(kept.answers) > 1 else kept.answers[0])
            self.send_header(LOCATION, kept.url + "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Stay quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    kept.port = server.server_port
    yield kept
    server.shutdown()
    server.server_close()


@pytest.fixture
def allowed(settings: Settings, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings under which the portal may call the endpoint on loopback, as the demo's may."""
    opened = replace(settings, egress_allow=frozenset({f"localhost:{endpoint.port}"}))
    monkeypatch.setattr(config, "current", lambda: opened)
    return opened


@pytest.fixture
def pinged(http: FlaskClient, settings: Settings, person: Person, endpoint: Endpoint) -> Afar:
    return cast_.make(http, settings, person, "ping", backchannel_client_notification_endpoint=endpoint.url)


def ask(pinged: Afar) -> str:
    return pinged.asked(client_notification_token=NOTIFICATION)


def run(pinged: Afar, asked: str) -> None:
    """Run the job as a worker would, as if it were time."""
    row = pinged.row(asked)
    if row.ping_due_at is not None:
        pinged.set(asked, ping_due_at=db.now() - timedelta(seconds=1))
    jobs.ping(str(row.request_id))


def nothing_is_kept(row: BackchannelRequest) -> bool:
    kept = (row.keyring_version, row.wrapped_notification_token, row.sealed_auth_req_id, row.ping_due_at)
    return kept == (None, None, None, None)


@pytest.mark.usefixtures("allowed")
@pytest.mark.parametrize("answer", ["share", "decline"])
def test_whatever_the_answer_the_client_is_told_that_there_is_one(
    pinged: Afar, endpoint: Endpoint, answer: str
) -> None:
    asked = ask(pinged)
    pinged.answer(asked, answer)
    run(pinged, asked)
    [(headers, body)] = endpoint.came
    assert body == {"auth_req_id": asked}
    assert headers["Authorization"] == f"Bearer {NOTIFICATION}"
    assert headers["Content-Type"] == "application/json"
    assert nothing_is_kept(pinged.row(asked))
    assert pinged.rp.poll(asked).status_code == (200 if answer == "share" else 400)
    run(pinged, asked)
    assert len(endpoint.came) == 1


@pytest.mark.usefixtures("allowed")
def test_nobody_is_pinged_before_there_is_an_answer(pinged: Afar, endpoint: Endpoint) -> None:
    run(pinged, ask(pinged))
    assert endpoint.came == []


@pytest.mark.usefixtures("allowed")
def test_a_pinged_client_may_poll_all_the_same(pinged: Afar) -> None:
    asked = ask(pinged)
    assert pinged.rp.poll(asked).json["error"] == "authorization_pending"
    pinged.answer(asked)
    assert pinged.rp.poll(asked).status_code == 200


@pytest.mark.usefixtures("allowed")
@pytest.mark.parametrize("status", [301, 307, 401, 404, 429, 500, 503])
def test_a_refusal_is_tried_again_a_few_times_and_then_given_up(pinged: Afar, endpoint: Endpoint, status: int) -> None:
    endpoint.answers = [status]
    asked = ask(pinged)
    pinged.answer(asked)
    for attempt in range(1, 5):
        run(pinged, asked)
        assert len(endpoint.came) == attempt
    assert nothing_is_kept(pinged.row(asked))
    run(pinged, asked)
    assert len(endpoint.came) == 4
    assert pinged.rp.poll(asked).status_code == 200


@pytest.mark.usefixtures("allowed")
def test_a_server_that_is_away_is_tried_again_a_few_times(pinged: Afar, endpoint: Endpoint) -> None:
    endpoint.answers = [0]
    asked = ask(pinged)
    pinged.answer(asked)
    for attempt in range(1, 5):
        assert not nothing_is_kept(pinged.row(asked)), attempt
        run(pinged, asked)
    assert nothing_is_kept(pinged.row(asked))
    assert len(endpoint.came) == 4


@pytest.mark.usefixtures("allowed")
def test_the_first_try_is_a_short_one(pinged: Afar, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """Letters to people are in the same queue; the next try may take its time."""
    monkeypatch.setattr(ping, "_FIRST_SECONDS", 0.2)
    endpoint.takes = 0.6
    asked = ask(pinged)
    pinged.answer(asked)
    run(pinged, asked)
    # It had not waited for what the next one waits for.
    assert pinged.row(asked).ping_due_at
    run(pinged, asked)
    assert nothing_is_kept(pinged.row(asked))


@pytest.mark.usefixtures("allowed")
def test_what_is_to_be_tried_again_waits_longer_each_time(pinged: Afar, endpoint: Endpoint) -> None:
    endpoint.answers = [503]
    asked = ask(pinged)
    pinged.answer(asked)
    pauses = []
    for _ in range(3):
        run(pinged, asked)
        due = pinged.row(asked).ping_due_at
        assert due
        pauses.append(round((due - db.now()).total_seconds() / 5) * 5)
        jobs.ping(str(pinged.row(asked).request_id))
    assert pauses == [15, 30, 60]
    assert len(endpoint.came) == 3


@pytest.mark.usefixtures("allowed")
def test_a_second_worker_finds_nothing_to_send(
    pinged: Afar, endpoint: Endpoint, settings: Settings, keys: Keyring
) -> None:
    asked = ask(pinged)
    pinged.answer(asked)
    row = pinged.row(asked)
    with db.transaction(settings.database_url) as session:
        assert row.ping_due_at
        first = ping.take(session, keyring=keys, request_id=row.request_id, now=row.ping_due_at)
        assert first
        assert NOTIFICATION not in repr(first)
        assert asked not in repr(first)
        jobs.ping(str(row.request_id))
    jobs.ping(str(row.request_id))
    assert endpoint.came == []


@pytest.mark.usefixtures("allowed")
def test_a_lost_ring_is_found_by_the_reconciler(pinged: Afar, endpoint: Endpoint, settings: Settings) -> None:
    asked = ask(pinged)
    pinged.answer(asked)
    bell = queue.queue(settings.redis_url, queue.CALLS)
    bell.connection.delete(bell.key)
    request_id = str(pinged.row(asked).request_id)
    sync_jobs.reconcile()
    rung = [job for job in bell.jobs if job.func_name == ping.PING and list(job.args) == [request_id]]
    assert len(rung) == 1
    assert endpoint.came == []


def test_a_private_address_is_never_called(pinged: Afar, endpoint: Endpoint) -> None:
    """Without an exemption the guard refuses loopback; the poll still works."""
    asked = ask(pinged)
    pinged.answer(asked)
    for _ in range(4):
        run(pinged, asked)
    assert endpoint.came == []
    assert nothing_is_kept(pinged.row(asked))
    assert pinged.rp.poll(asked).status_code == 200


@pytest.mark.usefixtures("allowed")
@pytest.mark.parametrize("change", [{"state": "suspended"}, {"settings": {}}])
def test_a_client_that_lost_its_place_is_not_pinged(
    pinged: Afar, endpoint: Endpoint, settings: Settings, change: dict[str, Any]
) -> None:
    asked = ask(pinged)
    pinged.answer(asked)
    with db.transaction(settings.database_url) as session:
        session.execute(update(Client).where(Client.client_id == pinged.rp.client_id).values(**change))
    run(pinged, asked)
    assert endpoint.came == []
    assert nothing_is_kept(pinged.row(asked))


@pytest.mark.usefixtures("allowed")
def test_nothing_is_kept_for_a_ping_that_will_never_be_sent(pinged: Afar, settings: Settings) -> None:
    over, waiting, answered = (ask(pinged) for _ in range(3))
    pinged.answer(answered)
    for asked in (over, answered):
        pinged.set(asked, expires_at=db.now() - timedelta(seconds=1))
    sync_jobs.tidy(settings, now=db.now())
    assert nothing_is_kept(pinged.row(over))
    assert not nothing_is_kept(pinged.row(waiting))
    assert not nothing_is_kept(pinged.row(answered))
    assert pinged.question(over).state == "expired"


@pytest.mark.usefixtures("allowed")
def test_what_no_longer_opens_is_given_up(pinged: Afar, endpoint: Endpoint) -> None:
    asked = ask(pinged)
    pinged.answer(asked)
    pinged.set(asked, wrapped_notification_token=b"x" * 60)
    run(pinged, asked)
    assert endpoint.came == []
    assert nothing_is_kept(pinged.row(asked))

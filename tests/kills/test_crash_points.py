"""Every named place where the program can die: it dies there, goes on, and nothing is lost, late or unlogged."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import delete, text, update

from portal import config, db, faults, queue, wiring
from portal.app import create_app
from portal.ledger import jobs as log
from portal.ledger import queries as ledger
from portal.ledger.checkpoints import Checkpoint
from portal.sync import jobs, replays
from portal.sync.models import Replay, Stream, StreamEvent
from portal.vault import log_key, notes
from portal.worker import worker_of
from tests.ledger.log_place import ORIGIN, Place, check
from tests.ledger.second_verifier import root_of
from tests.sync.caller import Caller
from tests.sync.cast import World
from tests.timing import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portal.config import Settings
    from portal.embedded.postgres import Postgres
    from portal.vault.keyring import Keyring
    from tests.sync.cast import Firm, Shared

pytestmark = pytest.mark.kills

_ACT = Path(__file__).with_name("act.py")
_ROOT = Path(__file__).parents[2]
_NEW = "new@example.org"
_LOGGED = text("SELECT message_id FROM disclosure WHERE message_id = ANY(:ids)")
_OPEN = text("""
    SELECT count(*) FROM disclosure d WHERE d.person_id = :person_id AND d.outcome = 'sending'
       AND NOT EXISTS (SELECT 1 FROM disclosure_outcome o WHERE o.disclosure_id = d.disclosure_id)
""")
_AN_HOUR_PASSES = tuple(
    text(f"UPDATE {table} SET leased_until = NULL, {asked} = {asked} - interval '1 hour'")  # noqa: S608 - constants
    for table, asked in (("batch_pull", "requested_at"), ("replay", "asked_at"))
)
_POINT = re.compile(r'faults\.reach\("([a-z.]+)"\)')


@dataclass
class Scene:
    """A person who shares with a firm that has everything so far, and a way to call the API as that firm."""

    world: World
    firm: Firm
    shared: Shared
    caller: Caller

    @property
    def received(self) -> list[str]:
        """What came about somebody; of what is about the stream alone there is no disclosure."""
        return [message.jti for message in self.firm.receiver.journal if "sub" in message.claims["sub_id"]]

    def save(self) -> None:
        self.world.save(self.shared.person_id, email__main=_NEW)

    def holds_the_news(self) -> bool:
        held = self.firm.receiver.newest(self.shared.sub).get("email.main")
        return held is not None and held[1] == _NEW

    def recover(self) -> None:
        """Let time pass, and let those who look after the program do what they do."""
        self.world.due_now()
        self.world.transact(lambda session: [session.execute(passes) for passes in _AN_HOUR_PASSES])
        url = self.world.settings.redis_url
        queue.connection(url).flushall()
        for _ in range(2):
            jobs.reconcile()
            for name in (queue.WORK, queue.PUSH):
                # A worker that ends waits for its listener, most of a second.
                if queue.queue(url, name).job_ids:
                    worker_of(url, name).work(burst=True, logging_level=None)
            self.world.due_now()

    def settle(self) -> None:
        self.world.transact(lambda session: jobs.settle_stale(session, db.now() + timedelta(hours=1)))

    def assert_all_is_logged(self) -> None:
        logged = self.world.transact(lambda session: set(session.scalars(_LOGGED, {"ids": self.received})))
        assert set(self.received) <= logged
        self.settle()
        person = {"person_id": self.shared.person_id}
        assert self.world.transact(lambda session: session.scalar(_OPEN, person)) == 0


@pytest.fixture
def scene(settings: Settings, keys: Keyring) -> Iterator[Scene]:
    wiring.wire()
    world = World(settings, keys)
    # What another test left to be told, to somebody who is gone, would be noted by itself and before ours.
    untold = delete(StreamEvent).where(StreamEvent.delivered_at.is_(None))
    world.transact(lambda session: session.execute(untold))
    firm = world.firm()
    shared = world.share(world.person(), firm)
    jobs.drain()
    firm.receiver.journal.clear()
    scopes = "people:read"
    yield Scene(world, firm, shared, Caller(create_app(settings).test_client(), world, firm, scopes))
    world.close()


def die(point: str, verb: str, *arguments: str) -> None:
    """Do one step in a process of its own, which must die at `point`."""
    done = subprocess.run(
        [sys.executable, str(_ACT), verb, *arguments],
        cwd=_ROOT,
        env=os.environ | {"CRASH_AT": point},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, f"{point} was not reached: {done.stderr[-2000:]}"


def request(scene: Scene, method: str, path: str, body: object = None) -> tuple[str, str, str, str]:
    headers = scene.caller.headers(method, path) | {"Content-Type": "application/json"}
    return method, path, json.dumps(headers), json.dumps(body) if body is not None else ""


def test_each_point_is_in_the_program_once() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (_ROOT / "portal").rglob("*.py")]
    placed = sorted(point for source in sources for point in _POINT.findall(source))
    assert placed == sorted(faults.POINTS)


def test_each_point_is_died_at_here() -> None:
    here = Path(__file__).read_text(encoding="utf-8")
    assert not [point for point in faults.POINTS if f'"{point}"' not in here]


@pytest.mark.parametrize("point", ["save.owed", "save.committed", "ring.noted"])
def test_an_edit(scene: Scene, point: str) -> None:
    die(point, "save", str(scene.shared.person_id), _NEW)
    owed = scene.world.delivery(scene.shared)
    assert (owed.generation > owed.acked_generation) == (point != "save.owed")
    if point == "save.owed":
        scene.save()
    scene.recover()
    assert scene.holds_the_news()
    assert len(scene.received) == 1
    scene.assert_all_is_logged()


@pytest.mark.parametrize(
    ("point", "had_left"),
    [
        ("drain.answered", False),
        ("claim.leased", False),
        ("claim.logged", False),
        ("claim.committed", False),
        ("send.connected", False),
        ("send.sealed", False),
        ("send.checked", False),
        ("send.written", True),
        ("send.answered", True),
        ("finish.reported", True),
        ("finish.noted", True),
        ("finish.committed", True),
    ],
)
def test_a_push(scene: Scene, point: str, *, had_left: bool) -> None:
    scene.save()
    die(point, "job", "portal.sync.jobs.drain")
    until(lambda: bool(scene.received) == had_left)
    scene.recover()
    assert scene.holds_the_news()
    # What had left may come once more, and then under the same id.
    again = had_left and point != "finish.committed"
    assert len(scene.received) == 1 + again
    assert len(set(scene.received)) == 1
    scene.assert_all_is_logged()


@pytest.mark.parametrize("point", ["send.written", "finish.reported"])
def test_a_push_of_what_is_over_before_anybody_noted_it(scene: Scene, point: str) -> None:
    """The company believes what the dead worker told it, and what it had acknowledged is true again."""
    scene.world.step("pause", scene.shared)
    die(point, "job", "portal.sync.jobs.drain")
    until(lambda: len(scene.received) == 1)
    scene.world.step("resume", scene.shared)
    scene.recover()
    scene.settle()
    scene.recover()
    told = [message.consent["state"] for message in scene.firm.receiver.journal if message.consent]
    assert told == ["paused", "active"]
    scene.assert_all_is_logged()


def test_an_endpoint_that_is_turned_off(scene: Scene) -> None:
    scene.firm.receiver.behave = lambda _number: (410, {}, b"")
    scene.save()
    die("health.disabled", "job", "portal.sync.jobs.drain")
    assert scene.world.endpoint(scene.firm).state == "enabled"
    scene.recover()
    assert scene.world.endpoint(scene.firm).state == "disabled"
    scene.firm.receiver.behave = None
    enabled = update(Stream).where(Stream.client_id == scene.firm.client_id).values(state="enabled")
    scene.world.transact(lambda session: session.execute(enabled))
    scene.recover()
    assert scene.holds_the_news()
    scene.assert_all_is_logged()


def test_a_pull(scene: Scene) -> None:
    path = f"/api/v1/people/{scene.shared.sub}"
    die("pull.logged", "request", *request(scene, "GET", path))
    rows = _rows(scene)
    assert [(row.channel, row.outcome) for row in rows] == [("pull", "completed")]
    assert scene.caller.get(path).status_code == 200


@pytest.mark.parametrize("point", ["poll.leased", "poll.committed", "poll.acked"])
def test_a_poll(scene: Scene, point: str) -> None:
    polls = update(Stream).where(Stream.client_id == scene.firm.client_id).values(method="poll", url=None)
    scene.world.transact(lambda session: session.execute(polls))
    scene.save()
    acked = list(_poll(scene)) if point == "poll.acked" else []
    die(point, "request", *request(scene, "POST", "/api/v1/events", {"returnImmediately": True, "ack": acked}))
    owed = scene.world.delivery(scene.shared)
    assert owed.generation > owed.acked_generation
    scene.world.due_now()
    again = _poll(scene)
    assert len(again) == 1
    assert set(acked) <= set(again)
    assert _poll(scene, ack=list(again)) == {}
    assert scene.world.delivery(scene.shared).acked_generation == owed.generation
    logged = [row.message_id for row in _rows(scene)]
    assert set(logged) == set(again)
    scene.assert_all_is_logged()


@pytest.mark.parametrize("point", ["batch.leased", "batch.answered", "batch.released"])
def test_a_pull_of_many(scene: Scene, point: str) -> None:
    started = scene.caller.post("/api/v1/pulls", json={"subjects": [scene.shared.sub]}).get_json()
    die(point, "job", "portal.sync.jobs.run_pull", started["id"])
    scene.recover()
    result = scene.caller.get(f"/api/v1/pulls/{started['id']}/result")
    assert [set(each) for each in result.get_json()["results"]] == [{"sub", "message"}]
    assert [row.channel for row in _rows(scene)] == ["batch"]
    scene.assert_all_is_logged()


def test_a_receipt(scene: Scene) -> None:
    scene.save()
    jobs.drain()
    used = {"jti": scene.received[0], "status": "applied", "applied_at": db.now().isoformat()}
    body = {"receipts": [used]}
    die("receipt.noted", "request", *request(scene, "POST", "/api/v1/receipts", body))
    assert scene.world.delivery(scene.shared).applied_state == ""
    assert scene.caller.post("/api/v1/receipts", json=body).status_code == 200
    assert scene.world.delivery(scene.shared).applied_state == "applied"


def test_a_replay(scene: Scene) -> None:
    scene.firm.receiver.behave = lambda _number: (400, {}, b"")
    scene.save()
    jobs.drain()
    scene.firm.receiver.behave = None
    since = {"client_id": scene.firm.client_id, "scope": "failed", "since": db.now() - jobs.STALE}
    replay: Replay = scene.world.transact(lambda session: _begin(session, since))
    die("replay.stepped", "job", "portal.sync.jobs.run_replay", str(replay.replay_id))
    scene.recover()
    assert scene.holds_the_news()
    done = scene.world.transact(lambda session: session.get(Replay, replay.replay_id))
    assert (done.state, done.done) == ("done", 1)


def test_the_reconciler(scene: Scene) -> None:
    scene.save()
    queue.connection(config.current().redis_url).flushall()
    die("reconcile.found", "job", "portal.sync.jobs.reconcile")
    assert not queue.queue(config.current().redis_url, queue.PUSH).job_ids
    scene.recover()
    assert scene.holds_the_news()


def test_a_stop(scene: Scene) -> None:
    die("stop.stepped", "withdraw", str(scene.shared.person_id), str(scene.shared.grant_id))
    scene.save()
    scene.recover()
    # It was not said that it had stopped, and it had not.
    assert scene.holds_the_news()
    scene.world.step("withdraw", scene.shared)
    scene.recover()
    assert scene.firm.receiver.journal[-1].claims["events"]["urn:ucm:event:consent"]["state"] == "withdrawn"


def _poll(scene: Scene, ack: list[str] | None = None) -> dict[str, str]:
    answer = scene.caller.post("/api/v1/events", json={"returnImmediately": True, "ack": ack or []})
    assert answer.status_code == 200, answer.text
    sets: dict[str, str] = answer.get_json()["sets"]
    return sets


def _begin(session: Any, wanted: dict[str, Any]) -> Replay:  # noqa: ANN401 - a session
    return replays.begin(session, now=db.now(), **wanted)


def _rows(scene: Scene) -> list[Any]:
    """Return what the person's log says of the firm, beside what was pushed before."""
    entries: list[Any] = scene.world.transact(
        lambda session: ledger.of_person(session, person_id=scene.shared.person_id, limit=50)
    )
    return [entry for entry in entries if entry.channel in {"pull", "batch", "poll"}]


@pytest.mark.parametrize("point", ["log.grown", "log.committed", "log.kept", "log.signed"])
def test_a_turn_of_the_log(postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str) -> None:
    """What was signed before stays true, and what was logged is in the log, once, when the next turn is over."""
    place, files = Place(postgres), {"LOG_KEY_FILE": str(tmp_path / "log.key")}
    signer = log_key.create(tmp_path / "log.key", name=ORIGIN)
    for name, value in {**files, "DATABASE_URL": place.url}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(config, "current", config.load)
    place.log(*(place.new() for _ in range(5)))
    before = log.sequence()
    place.log(*(place.new() for _ in range(40)))
    die(point, "job", "portal.ledger.jobs.sequence")
    found = log.sequence()
    assert before is not None
    assert found is not None
    assert (before.size, found.size) == (5, 45)
    leaves = [each.hash for each in check(place)]
    assert [before.root, found.root] == [root_of(leaves[:5]), root_of(leaves)]
    assert Checkpoint.read(notes.opened(_note(place), signer.verifier()).text) == found
    place.close()


def _note(place: Place) -> str:
    with db.transaction(place.url) as session:
        return str(session.scalar(text("SELECT note FROM log")))

"""What is killed on purpose: afterwards every live subscriber is current, and nothing arrived without its row."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from portal import config, events, queue
from portal.sync import services
from tests.sync.cast import World
from tests.timing import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portal.config import Settings
    from portal.vault.keyring import Keyring
    from tests.sync.cast import Firm, Shared

pytestmark = pytest.mark.kills

ROOT = Path(__file__).parents[2]
PEOPLE, WAITING = 40, 200
_SECONDS = 90
_LOGGED = text("SELECT message_id FROM disclosure WHERE message_id = ANY(:ids)")


class Program:
    """The program's own processes, started as its supervisor does."""

    def __init__(self) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        made = subprocess.Popen(
            [sys.executable, "-m", "portal", *arguments],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stderr=subprocess.DEVNULL,
        )
        self.processes.append(made)
        return made

    def worker(self, name: str = queue.PUSH) -> subprocess.Popen[bytes]:
        return self.start("worker", "--queue", name)

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture
def program() -> Iterator[Program]:
    made = Program()
    yield made
    made.close()


@pytest.fixture
def world(settings: Settings, keys: Keyring) -> Iterator[World]:
    events.listen(events.RecordChanged, services.on_record_changed)
    events.listen(events.GrantChanged, services.on_grant_changed)
    made = World(settings, keys)
    yield made
    made.close()


def current(firm: Firm, everyone: list[Shared], newest: str) -> bool:
    held = (firm.receiver.newest(shared.sub).get("email.main") for shared in everyone)
    return all(value is not None and value[1] == newest for value in held)


def assert_all_logged(world: World, firm: Firm) -> None:
    received = {message.jti for message in firm.receiver.journal}
    logged = world.transact(lambda session: set(session.scalars(_LOGGED, {"ids": list(received)})))
    assert received <= logged


def subscribe(world: World, firm: Firm, people: int) -> list[Shared]:
    return [world.share(world.person(), firm) for _ in range(people)]


def _has_more_than(firm: Firm, requests: int) -> bool:
    return bool(firm.receiver.requests > requests)


def test_worker_killed_while_pushing(world: World, program: Program) -> None:
    firm = world.firm()
    everyone = subscribe(world, firm, PEOPLE)
    firm.receiver.behave = lambda _number: 0.05
    program.start("reconciler")
    program.worker(queue.CALLS)
    for round_number in range(3):
        seen = firm.receiver.requests
        worker = program.worker()
        for shared in everyone:
            world.save(shared.person_id, email__main=f"round{round_number}@example.org")
        until(partial(_has_more_than, firm, seen + 3), _SECONDS)
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        if round_number < 2:
            world.end_leases()
    # What the last one held is waited for, as long as it takes.
    program.worker()
    until(lambda: current(firm, everyone, "round2@example.org"), _SECONDS)
    assert_all_logged(world, firm)


def test_valkey_emptied_while_pushes_wait(world: World, program: Program) -> None:
    firm = world.firm()
    everyone = subscribe(world, firm, WAITING)
    for shared in everyone:
        world.save(shared.person_id, email__main="newest@example.org")
    assert firm.receiver.requests == 0
    queue.connection(config.current().redis_url).flushall()
    program.worker()
    program.worker(queue.CALLS)
    program.start("reconciler")
    until(lambda: current(firm, everyone, "newest@example.org"), _SECONDS)
    assert_all_logged(world, firm)
    assert len(firm.receiver.journal) == WAITING

"""A witness signs what only grows, whatever it is shown, by however many at once, and however often it is killed."""

from __future__ import annotations

import http.client
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from examples.witness import witness as program
from examples.witness.witness import Key, follows
from portal.ledger import tree
from portal.ledger.checkpoints import Checkpoint
from portal.vault import notes
from portal.vault.notes import Signer, Verifier
from tests.examples.histories import History, body

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = Path(__file__).parents[2] / "examples" / "witness" / "witness.py"
SIGNER = Signer("example.org/log", bytes(range(32)))
OTHER = Signer("example.org/other", bytes(range(1, 33)))
STRANGER = Signer("example.org/log", bytes(range(2, 34)))
TRUE, FORKED = History(SIGNER, leaves=200), History(SIGNER, leaves=200, name="fork", fork=50)


class Said(NamedTuple):
    status: int
    kind: str
    body: str


class Witness:
    """A witness in a process of its own, which may be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        key = Key.make("ngo.example/witness", folder / "key")
        self.verifier = Verifier.read(str(key.verifier))
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> int:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = int(listener.getsockname()[1])
        known = ["--key", str(self.folder / "key"), "--state", str(self.folder / "state"), "--port", str(port)]
        command = [sys.executable, str(PROGRAM), "serve", *known, "--log", str(SIGNER.verifier())]
        self.processes.append(subprocess.Popen(command, stderr=subprocess.DEVNULL))
        for _ in range(200):
            with suppress(OSError), closing(socket.create_connection(("127.0.0.1", port), 1)):
                return port
            time.sleep(0.05)
        raise TimeoutError

    def kill(self) -> None:
        self.processes[-1].send_signal(signal.SIGKILL)
        self.processes[-1].wait()

    def stop(self) -> None:
        for each in self.processes:
            each.terminate()
            each.wait(10)


@pytest.fixture
def witness(tmp_path: Path) -> Iterator[Witness]:
    made = Witness(tmp_path)
    yield made
    made.stop()


@pytest.fixture
def here(tmp_path: Path) -> program.Witness:
    """A witness without its process."""
    key = Key.make("ngo.example/witness", tmp_path / "key")
    known = [program.Verifier.read(str(SIGNER.verifier()))]
    return program.Witness(key, program.State(tmp_path / "state"), known)


def show(port: int, asked: bytes, *, path: str = "/add-checkpoint") -> Said:
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        line.request("POST", path, asked)
        answer = line.getresponse()
        return Said(answer.status, answer.getheader("Content-Type", ""), answer.read().decode())
    finally:
        line.close()


def signed(witness: Witness, note: str, said: Said) -> bool:
    text = notes.opened(note, SIGNER.verifier()).text
    return said.status == 200 and bool(notes.opened(notes.signed(text, said.body), witness.verifier).signed_by)


def test_a_log_that_grows_is_signed_at_every_step(witness: Witness) -> None:
    port, before = witness.start(), 0
    for size in (1, 1, 2, 3, 31, 32, 33, 64, 100, 100, 200):
        assert signed(witness, TRUE.note(size), show(port, TRUE.body(before, size)))
        before = size


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (TRUE.body(100, 150), 200),
        (TRUE.body(100, 100), 200),
        (TRUE.body(0, 150), 409),
        (TRUE.body(99, 150), 409),
        (TRUE.body(100, 99), 400),
        (TRUE.body(101, 150), 409),
        (FORKED.body(100, 150), 422),
        (body(100, [], FORKED.note(100)), 409),
        (body(100, TRUE.proof(100, 150), FORKED.note(150)), 422),
        (body(100, TRUE.proof(100, 150)[:-1], TRUE.note(150)), 422),
        (body(100, [*TRUE.proof(100, 150), bytes(32)], TRUE.note(150)), 422),
        (body(100, TRUE.proof(100, 150)[::-1], TRUE.note(150)), 422),
        (body(100, [], TRUE.note(150)), 422),
        (body(100, [bytes(32)], TRUE.note(100)), 422),
        (body(100, TRUE.proof(100, 150), TRUE.note(150, signer=STRANGER)), 403),
        (body(100, TRUE.proof(100, 150), TRUE.note(150, signer=OTHER)), 403),
        (body(0, [], History(OTHER, leaves=3).note(3)), 404),
        (body("0100", TRUE.proof(100, 150), TRUE.note(150)), 400),
        (body(-1, [], TRUE.note(150)), 400),
        (body(100, [bytes(32)] * 64, TRUE.note(150)), 400),
        (body(100, [bytes(31)], TRUE.note(150)), 400),
        (TRUE.body(100, 150)[:-1], 400),
        (TRUE.body(100, 150).replace(b"\n150\n", b"\n99999999999999999999\n"), 400),
        (TRUE.body(100, 150).replace(b"\n150\n", b"\n151\n"), 403),
        (TRUE.body(100, 150).replace(b"old", b"new"), 400),
        (b"", 400),
        (b"\xff\xfe", 400),
        (b"old 0\n\n\n", 400),
    ],
)
def test_what_it_is_shown_is_signed_or_refused_as_the_protocol_says(
    here: program.Witness, asked: bytes, status: int
) -> None:
    assert here.add_checkpoint(TRUE.body(0, 100)).status == 200
    said = here.add_checkpoint(asked)
    assert said.status == status
    if status == 409:
        assert said == program.Answer(409, "100\n", "text/x.tlog.size")
    stands = 150 if status == 200 and b"\n150\n" in asked else 100
    assert here.add_checkpoint(TRUE.body(0, 200)).body == f"{stands}\n", "what is refused changes nothing"


def test_a_log_without_entries_has_one_root(here: program.Witness) -> None:
    def shown(root: bytes) -> int:
        text = Checkpoint(SIGNER.name, 0, root).text
        return here.add_checkpoint(body(0, [], notes.signed(text, SIGNER.sign(text)))).status

    assert [shown(bytes(32)), shown(tree.EMPTY), shown(bytes(32)), shown(tree.EMPTY)] == [409, 200, 409, 200]


def test_by_http_it_says_the_same(witness: Witness) -> None:
    port = witness.start()
    assert signed(witness, TRUE.note(100), show(port, TRUE.body(0, 100)))
    assert show(port, TRUE.body(99, 150)) == Said(409, "text/x.tlog.size", "100\n")
    assert show(port, b"x" * 40_000).status == 413
    assert show(port, TRUE.body(100, 150), path="/elsewhere").status == 404


def test_two_histories_that_the_log_has_signed_are_kept_as_evidence(witness: Witness) -> None:
    port = witness.start()
    show(port, TRUE.body(0, 100))
    show(port, FORKED.body(100, 100))
    with closing(sqlite3.connect(witness.folder / "state")) as database:
        [(known, shown)] = database.execute("SELECT known, shown FROM conflict").fetchall()
    assert {known, shown} == {TRUE.note(100), FORKED.note(100)}


def test_of_many_at_once_all_that_are_signed_are_one_history(witness: Witness) -> None:
    """Two processes on one file, and two histories: whoever comes first decides which of them goes on."""
    ports = [witness.start(), witness.start()]
    show(ports[0], TRUE.body(0, 60))
    chance = random.Random(1)  # noqa: S311 - what happens is chance
    asked = [(chance.choice(ports), chance.choice((TRUE, FORKED)), chance.randint(61, 200)) for _ in range(120)]

    def insist(case: tuple[int, History, int]) -> tuple[History, int] | None:
        port, history, size = case
        said = show(port, history.body(60, size))
        while said.status == 409 and int(said.body) < size:
            said = show(port, history.body(int(said.body), size))
        return (history, size) if said.status == 200 else None

    with ThreadPoolExecutor(12) as pool:
        cosigned = [found for found in pool.map(insist, asked) if found]
    assert cosigned
    assert len({id(history) for history, _size in cosigned}) == 1


def test_whatever_was_signed_is_remembered_by_whoever_starts_after_a_kill(witness: Witness) -> None:
    long, size = History(SIGNER, leaves=3000), 0
    for round_ in range(6):
        port, seen = witness.start(), [size]
        stop = threading.Event()

        def press(port: int = port, seen: list[int] = seen, stop: threading.Event = stop) -> None:
            with suppress(OSError, http.client.HTTPException):
                while not stop.is_set():
                    said = show(port, long.body(seen[-1], seen[-1] + 1))
                    seen.append(seen[-1] + 1 if said.status == 200 else int(said.body))

        thread = threading.Thread(target=press)
        thread.start()
        time.sleep(0.1 + 0.037 * round_)
        witness.kill()
        stop.set()
        thread.join()
        port = witness.start()
        size = int(show(port, long.body(0, 3000)).body) if seen[-1] else 0
        assert size in {seen[-1], seen[-1] + 1}
        witness.kill()
    assert size > 6


def test_nobody_keeps_others_from_being_answered(witness: Witness) -> None:
    port = witness.start()
    idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
    assert show(port, TRUE.body(0, 1)).status == 200
    for each in idle:
        each.close()


def test_a_key_that_others_can_read_is_not_used(tmp_path: Path) -> None:
    Key.make("ngo.example/witness", tmp_path / "key")
    (tmp_path / "key").chmod(0o644)
    with pytest.raises(ValueError, match="can be read"):
        Key.load(tmp_path / "key")


def test_its_own_way_through_a_proof_agrees_with_the_logs() -> None:
    for size in range(1, 40):
        for old in range(1, size):
            roots = [
                Checkpoint.read(notes.opened(TRUE.note(each), SIGNER.verifier()).text).root for each in (old, size)
            ]
            path = TRUE.proof(old, size)
            assert tree.consistent(first=old, first_root=roots[0], second=size, second_root=roots[1], path=path)
            assert follows(old, roots[0], size, roots[1], path)
            for wrong in (path[:-1], [*path, bytes(32)], [bytes(32), *path[1:]], [*path[1:], path[0], bytes(32)]):
                assert not follows(old, roots[0], size, roots[1], wrong)

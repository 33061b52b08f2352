"""Whatever transactions overlap, whoever dies and whatever is restored: all that was ever signed is one history."""

from __future__ import annotations

import os
import signal
import string
import subprocess
import sys
import threading
import time
from base64 import b64decode
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import psycopg
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from sqlalchemy.engine import make_url

from portal import db
from portal.embedded.postgres import APP, OWNER
from portal.errors import PortalError
from portal.ledger import published, publisher, sequencer, services
from portal.ledger.checkpoints import Checkpoint, Proof, ProofUnreadableError
from portal.ledger.publisher import LogForkedError
from portal.vault import log_key, notes
from portal.vault.notes import Signer
from tests.ledger import second_verifier
from tests.ledger.log_place import ORIGIN, Entry, Place, check
from tests.ledger.second_verifier import root_of
from tests.timing import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy.orm import Session

    from portal.embedded.postgres import Postgres

pytestmark = pytest.mark.usefixtures("settings")
SIGNER = Signer(ORIGIN, bytes(range(32)))
SEQUENCE = "from portal.ledger import jobs; jobs.sequence()"
# A line is written by one call: whoever is killed has written all of it or nothing.
FOR_EVER = """
import os
from portal.ledger import jobs
while True:
    try:
        found = jobs.sequence()
    except Exception:
        continue
    if found:
        os.write(1, f"{found.size} {found.root.hex()}\\n".encode())
"""


class Restored(Place):
    """The database as it was when this was made."""

    def __init__(self, postgres: Postgres, of: Place) -> None:
        of.close()
        name = f"restored_{uuid4().hex[:12]}"
        with psycopg.connect(postgres.url(OWNER), autocommit=True) as owner:
            owner.execute(f"CREATE DATABASE {name} TEMPLATE {make_url(of.url).database}")
        self.url, self._owner, self.context_id = postgres.url(APP, name), postgres.url(OWNER, name), of.context_id


@pytest.fixture
def head(tmp_path: Path) -> Path:
    return tmp_path / "head"


def publish(place: Place, head: Path) -> Checkpoint | None:
    with db.transaction(place.url) as session:
        return publisher.publish(session, signer=SIGNER, head=head, now=db.now())


def is_one_history(entries: list[Entry], signed: list[Checkpoint]) -> None:
    """Hold that each of these is what the log was when it had so many entries."""
    leaves = [each.hash for each in entries]
    for each in signed:
        assert each.root == root_of(leaves[: each.size])


def test_a_database_restored_to_an_earlier_state_is_never_signed_again(
    place: Place, postgres: Postgres, head: Path
) -> None:
    place.log(*(place.new() for _ in range(5)))
    place.grow()
    publish(place, head)
    backup = Restored(postgres, place)
    place.log(*(place.new() for _ in range(3)))
    place.grow()
    signed = publish(place, head)
    for rows in (0, 1, 2, 5):
        backup.log(*(backup.new() for _ in range(rows)))
        backup.grow()
        with pytest.raises(LogForkedError):
            publish(backup, head)
    assert publish(place, head) == signed
    backup.close()


def test_a_backup_of_this_moment_goes_on(place: Place, postgres: Postgres, head: Path) -> None:
    place.log(*(place.new() for _ in range(5)))
    place.grow()
    publish(place, head)
    backup = Restored(postgres, place)
    backup.log(backup.new())
    backup.grow()
    assert publish(backup, head) == Checkpoint(ORIGIN, 6, root_of([each.hash for each in check(backup)]))
    backup.close()


@pytest.mark.parametrize(
    "broken",
    [
        "UPDATE log_tile SET hashes = substr(hashes, 1, length(hashes) - 32)",
        "UPDATE log_tile SET hashes = substr(hashes, 1, length(hashes) - 1)",
        "UPDATE log_tile SET hashes = ''",
        "DELETE FROM log_tile",
        "UPDATE log_tile SET number = number + 1",
    ],
)
def test_of_a_tree_with_a_tile_cut_short_nothing_is_made(place: Place, head: Path, broken: str) -> None:
    place.log(*(place.new() for _ in range(31)))
    place.grow()
    publish(place, head)
    place.as_owner(broken)
    with db.transaction(place.url) as session:
        log = published.newest(session)
        assert log
        with pytest.raises(KeyError):
            published.proof(session, log, index=29)
    place.log(place.new())
    with pytest.raises(KeyError):
        place.grow()
    with pytest.raises(KeyError):
        publish(place, head)


# A process of its own, which is killed.


def program(place: Place, tmp_path: Path, source: str) -> subprocess.Popen[bytes]:
    """Start one; what it writes is added to the file `said`."""
    if not (tmp_path / "log.key").exists():
        log_key.create(tmp_path / "log.key", name=ORIGIN)
    own = {"DATABASE_URL": place.url, "LOG_KEY_FILE": str(tmp_path / "log.key")}
    with (tmp_path / "said").open("ab") as said:
        return subprocess.Popen([sys.executable, "-c", source], env=os.environ | own, stdout=said)


def signed_by(tmp_path: Path) -> list[Checkpoint]:
    """Return what the programs say that they signed."""
    said = tmp_path / "said"
    lines = [line.split() for line in said.read_text().splitlines()] if said.exists() else []
    return [Checkpoint(ORIGIN, int(size), bytes.fromhex(root)) for size, root in lines]


@contextmanager
def rows_coming(place: Place) -> Iterator[set[UUID]]:
    """Log something every ten milliseconds or so; the set has all that was logged when this is over."""
    over, person_id = threading.Event(), uuid4()
    logged: set[UUID] = set()

    def write() -> None:
        while not over.is_set():
            rows = [place.new(person_id) for _ in range(3)]
            place.log(*rows)
            logged.update(each.disclosure_id for each in rows)
            time.sleep(0.01)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield logged
    finally:
        over.set()
        writer.join()


@pytest.mark.kills
def test_two_sequencers_at_once_and_killed_at_any_moment_make_one_history(place: Place, tmp_path: Path) -> None:
    with rows_coming(place) as logged:
        for round_ in range(2):
            before = len(signed_by(tmp_path))
            both = [program(place, tmp_path, FOR_EVER) for _ in range(2)]
            until(lambda: len(signed_by(tmp_path)) > before)  # noqa: B023 - asked before the next round
            time.sleep(0.5 + 0.07 * round_)
            for each in both:
                each.send_signal(signal.SIGKILL)
                each.wait(30)
    assert program(place, tmp_path, SEQUENCE).wait(60) == 0
    entries = check(place)
    assert {each.disclosure_id for each in entries} == logged
    signed = sorted(set(signed_by(tmp_path)), key=lambda each: each.size)
    assert signed[-1].size <= len(entries)
    is_one_history(entries, signed[:: max(1, len(signed) // 40)])


class Dying(RuleBasedStateMachine):
    """Rows come and go back in any order; the log grows and is signed, and any of it may end before it is committed."""

    place: Place
    folder: Path

    def __init__(self) -> None:
        super().__init__()
        self.open: list[tuple[Session, set[UUID]]] = []
        self.head = self.folder / uuid4().hex
        self.signed: list[Checkpoint] = []
        self.origin = f"example.org/{uuid4().hex}"
        self.signer = Signer(self.origin, bytes(range(32)))

    @precondition(lambda self: len(self.open) < 3)
    @rule()
    def begin(self) -> None:
        self.open.append((db.sessions(self.place.url)(), set()))

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def write(self, data: st.DataObject) -> None:
        session, written = data.draw(st.sampled_from(self.open))
        row = self.place.new()
        services.record(session, row)
        written.add(row.disclosure_id)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), keeps=st.booleans())
    def end(self, data: st.DataObject, *, keeps: bool) -> None:
        session, _written = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        (session.commit if keeps else session.rollback)()
        session.close()

    @rule(dies=st.booleans())
    def grow(self, *, dies: bool) -> None:
        with db.sessions(self.place.url)() as session:
            assert sequencer.grow(session, origin=self.origin, now=db.now()) is not None
            (session.rollback if dies else session.commit)()

    @rule(dies=st.booleans())
    def sign(self, *, dies: bool) -> None:
        """Whoever dies has given a signature away, perhaps: it counts."""
        with db.sessions(self.place.url)() as session:
            found = publisher.publish(session, signer=self.signer, head=self.head, now=db.now())
            self.signed += [found] if found else []
            (session.rollback if dies else session.commit)()

    def teardown(self) -> None:
        for session, _ in self.open:
            session.rollback()
            session.close()
        self.grow(dies=False)
        self.sign(dies=False)
        assert all(one.size <= other.size for one, other in pairwise(self.signed))
        with db.transaction(self.place.url) as session:
            log = published.newest(session)
            assert log
            for each in self.signed:
                if each.size:
                    path = published.consistency(session, log, first=each.size)
                    whole = log.checkpoint
                    assert second_verifier.proves_consistency(each.size, each.root, whole.size, whole.root, path)


def test_whoever_dies_all_that_was_signed_is_one_history(place: Place, tmp_path: Path) -> None:
    Dying.place, Dying.folder = place, tmp_path
    run_state_machine_as_test(Dying, settings=hypothesis(max_examples=20, stateful_step_count=25, deadline=None))


# What somebody makes of a proof.


@pytest.fixture(scope="module")
def proofs(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[tuple[str, bytes]]]:
    """Proofs of a log's entries as they are written, and what stands in the tree for each."""
    place = Place(postgres)
    place.log(*(place.new() for _ in range(45)))
    place.grow()
    publish(place, tmp_path_factory.mktemp("head") / "head")
    with db.transaction(place.url) as session:
        log = published.newest(session)
        assert log
        yield [(str(published.proof(session, log, index=each.leaf)), each.hash) for each in check(place)]
    place.close()


@hypothesis(max_examples=400, deadline=None)
@given(data=st.data())
def test_no_letter_of_a_proof_can_be_another_one(proofs: list[tuple[str, bytes]], data: st.DataObject) -> None:
    written, leaf = data.draw(st.sampled_from(proofs))
    at = data.draw(st.integers(0, len(written) - 1))
    other = data.draw(st.sampled_from("A9/+= \n—\x00é") | st.just(""))
    forged = written[:at] + other + written[at + 1 :]
    if forged == written:
        return
    try:
        read = Proof.read(forged)
        found = Checkpoint.read(notes.opened(read.note, SIGNER.verifier()).text)
    except (PortalError, ValueError):
        return
    path = list(read.path)
    assert not second_verifier.proves_inclusion(leaf, read.index, found.size, found.root, path)


def test_no_hash_of_a_proof_is_written_in_two_ways(proofs: list[tuple[str, bytes]]) -> None:
    """Base64 has two bits over at the end of 32 bytes (RFC 4648 section 3.5)."""
    letters = string.ascii_uppercase + string.ascii_lowercase + string.digits + "+/"
    written, _ = proofs[7]
    path = [line for line in written.partition("\n\n")[0].splitlines() if len(line) == 44]
    assert len(path) > 3
    for line in path:
        for over in (1, 2, 3):
            other = f"{line[:-2]}{letters[letters.index(line[-2]) + over]}="
            assert b64decode(other) == b64decode(line)
            with pytest.raises(ProofUnreadableError):
                Proof.read(written.replace(line, other))


def test_a_proof_is_of_its_own_entry_alone(proofs: list[tuple[str, bytes]]) -> None:
    for at, (written, _leaf) in enumerate(proofs):
        read = Proof.read(written)
        found = Checkpoint.read(notes.opened(read.note, SIGNER.verifier()).text)
        proved = [
            second_verifier.proves_inclusion(leaf, read.index, found.size, found.root, list(read.path))
            for _written, leaf in proofs
        ]
        assert proved == [number == at for number in range(len(proofs))]

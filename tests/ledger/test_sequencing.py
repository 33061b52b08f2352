"""The process `portal sequencer`: what is logged stands in a signed log a moment later, whoever dies meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from portal import db
from portal.ledger import published
from portal.vault import log_key
from tests.ledger import second_verifier
from tests.ledger.log_place import ORIGIN, Place, check
from tests.timing import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from portal.config import Settings


_CUT = text("""
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
     WHERE pid <> pg_backend_pid() AND datname = current_database()
""")


class Process:
    """A sequencer on `place`, which prints its log to a file."""

    def __init__(self, place: Place, folder: Path, settings: Settings) -> None:
        self.place, self.folder, self.settings = place, folder, settings
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def said(self) -> str:
        return (self.folder / "said").read_text()

    def start(self, **environment: str) -> None:
        settings = {
            "DATABASE_URL": self.place.url,
            "REDIS_URL": self.settings.redis_url,
            "KEYRING_FILE": str(self.settings.keyring_file),
            "LOG_KEY_FILE": str(self.folder / "log.key"),
            **environment,
        }
        with (self.folder / "said").open("ab") as said:
            command = [sys.executable, "-m", "portal", "sequencer"]
            self.process = subprocess.Popen(command, env=os.environ | settings, stderr=said)

    def end(self, number: int) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(timeout=10)

    def size(self) -> int:
        with db.transaction(self.place.url) as session:
            log = published.newest(session)
        return log.checkpoint.size if log else 0

    def has(self, size: int) -> bool:
        return self.size() == size

    def assert_signed_as_it_is(self) -> None:
        with db.transaction(self.place.url) as session:
            log = published.newest(session)
        assert log is not None
        assert log.checkpoint.root == second_verifier.root_of([each.hash for each in check(self.place)])


@contextmanager
def running(place: Place, folder: Path, settings: Settings) -> Iterator[Process]:
    made = Process(place, folder, settings)
    log_key.create(folder / "log.key", name=ORIGIN)
    try:
        made.start()
        yield made
    finally:
        if made.process is not None and made.process.poll() is None:
            made.end(signal.SIGKILL)


def test_what_is_logged_is_signed_a_moment_later(place: Place, tmp_path: Path, settings: Settings) -> None:
    place.log(*(place.new() for _ in range(7)))
    with running(place, tmp_path, settings) as sequencer:
        until(lambda: sequencer.size() == 7)
        place.log(*(place.new() for _ in range(70)))
        until(lambda: sequencer.size() == 77)
        assert sequencer.end(signal.SIGTERM) == 0
        sequencer.assert_signed_as_it_is()
        assert f"sequencer signs as {ORIGIN}" in sequencer.said


def test_one_that_is_killed_is_followed_by_another(place: Place, tmp_path: Path, settings: Settings) -> None:
    with running(place, tmp_path, settings) as sequencer:
        for number in range(1, 4):
            place.log(*(place.new() for _ in range(10)))
            until(partial(sequencer.has, 10 * number))
            sequencer.end(signal.SIGKILL)
            sequencer.start()
        sequencer.assert_signed_as_it_is()


def test_a_database_that_goes_away_is_waited_for(place: Place, tmp_path: Path, settings: Settings) -> None:
    with running(place, tmp_path, settings) as sequencer:
        until(lambda: f"signs as {ORIGIN}" in sequencer.said)
        place.log(place.new())
        until(lambda: sequencer.size() == 1)
        # Every line of the other process is cut; its next turn finds that out, and the one after begins anew.
        with db.transaction(place.url) as session:
            session.execute(_CUT)
        place.log(place.new())
        until(lambda: sequencer.size() == 2)


def test_a_rewritten_log_is_not_signed_and_the_log_says_why(place: Place, tmp_path: Path, settings: Settings) -> None:
    with running(place, tmp_path, settings) as sequencer:
        place.log(*(place.new() for _ in range(3)))
        until(lambda: sequencer.size() == 3)
        place.as_owner(
            "UPDATE log_tile SET hashes = hashes || decode(repeat('00', 32), 'hex') WHERE level = 0",
            "UPDATE log SET size = 4",
        )
        place.as_owner("UPDATE log_tile SET hashes = overlay(hashes PLACING '\\x00' FROM 1)")
        until(lambda: "log-forked" in sequencer.said)
        assert sequencer.size() == 3


@pytest.mark.parametrize("key_file", ["", "nowhere"])
def test_without_its_key_it_does_not_begin(place: Place, tmp_path: Path, settings: Settings, key_file: str) -> None:
    sequencer = Process(place, tmp_path, settings)
    sequencer.start(LOG_KEY_FILE=key_file and str(tmp_path / key_file))
    assert sequencer.process is not None
    assert sequencer.process.wait(timeout=20) == 1
    assert len(sequencer.said.strip().splitlines()) == 1
    assert "portal log-key" in sequencer.said

"""The log is signed as it stands, and never against what was signed before."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from portal import db
from portal.ledger import publisher
from portal.ledger.checkpoints import Checkpoint
from portal.ledger.publisher import HeadDamagedError, HeadMissingError, LogForkedError
from portal.vault import notes
from portal.vault.notes import Signer
from tests.ledger.log_place import ORIGIN, Place, check

if TYPE_CHECKING:
    from pathlib import Path

    from portal.embedded.postgres import Postgres

SIGNER = Signer(ORIGIN, bytes(range(32)))


@pytest.fixture
def head(tmp_path: Path) -> Path:
    return tmp_path / "head"


def publish(place: Place, head: Path) -> Checkpoint | None:
    with db.transaction(place.url) as session:
        return publisher.publish(session, signer=SIGNER, head=head, now=db.now())


def note(place: Place) -> str:
    with db.transaction(place.url) as session:
        return str(session.scalar(text("SELECT note FROM log")))


def grown(place: Place, rows: int) -> None:
    place.log(*(place.new() for _ in range(rows)))
    place.grow()


def test_before_the_log_is_open_there_is_nothing_to_sign(place: Place, head: Path) -> None:
    assert publish(place, head) is None
    assert not head.exists()


@pytest.mark.parametrize("rows", [0, 1, 2, 33, 70])
def test_what_is_signed_is_the_tree_as_it_stands(place: Place, head: Path, rows: int) -> None:
    grown(place, rows)
    published = publish(place, head)
    opened = notes.opened(note(place), SIGNER.verifier())
    assert published == Checkpoint.read(opened.text) == Checkpoint.read(head.read_text())
    assert published.size == len(check(place)) == rows


def test_a_log_that_goes_on_is_signed_at_every_step(place: Place, head: Path) -> None:
    sizes = []
    for rows in (0, 1, 0, 1, 5, 30, 1, 40):
        grown(place, rows)
        published = publish(place, head)
        assert published is not None
        sizes.append(published.size)
    assert sizes == [0, 1, 1, 2, 7, 37, 38, 78]


def test_what_has_not_grown_is_not_written_again(place: Place, head: Path) -> None:
    grown(place, 3)
    publish(place, head)
    before = head.stat().st_ino
    with db.transaction(place.url) as session:
        session.execute(text("UPDATE log SET noted_at = NULL"))
    publish(place, head)
    with db.transaction(place.url) as session:
        assert session.scalar(text("SELECT noted_at FROM log")) is None
    assert head.stat().st_ino == before


def test_whoever_dies_before_the_note_is_kept_signs_the_same_again(place: Place, head: Path) -> None:
    grown(place, 3)
    with db.sessions(place.url)() as session:
        published = publisher.publish(session, signer=SIGNER, head=head, now=db.now())
        session.rollback()
    assert publish(place, head) == published
    assert Checkpoint.read(notes.opened(note(place), SIGNER.verifier()).text) == published


@pytest.mark.parametrize("rows", [0, 2, 3, 4, 40])
def test_another_tree_under_the_same_name_is_never_signed(
    place: Place, postgres: Postgres, head: Path, rows: int
) -> None:
    grown(place, 3)
    publish(place, head)
    before = head.read_text()
    other = Place(postgres)
    grown(other, rows)
    with pytest.raises(LogForkedError):
        publish(other, head)
    other.close()
    assert head.read_text() == before
    assert publish(place, head) is not None


@pytest.mark.parametrize("more", [0, 1, 29])
def test_a_tree_that_was_changed_is_not_signed(place: Place, head: Path, more: int) -> None:
    grown(place, 3)
    publish(place, head)
    place.as_owner("UPDATE log_tile SET hashes = set_byte(hashes, 40, 255 - get_byte(hashes, 40))")
    grown(place, more)
    with pytest.raises(LogForkedError):
        publish(place, head)


def test_a_head_of_another_log_signs_nothing(place: Place, head: Path) -> None:
    grown(place, 1)
    publish(place, head)
    head.write_text(head.read_text().replace(ORIGIN, "example.org/other"))
    with pytest.raises(LogForkedError):
        publish(place, head)


def test_without_what_was_signed_last_nothing_is_signed(place: Place, head: Path) -> None:
    grown(place, 1)
    publish(place, head)
    head.unlink()
    with pytest.raises(HeadMissingError):
        publish(place, head)


@pytest.mark.parametrize("content", [b"", b"example.org/log\n1\n", b"\xff\xfe"])
def test_a_head_that_cannot_be_read_signs_nothing(place: Place, head: Path, content: bytes) -> None:
    grown(place, 1)
    head.write_bytes(content)
    with pytest.raises(HeadDamagedError):
        publish(place, head)


def test_two_at_once_sign_the_same(place: Place, head: Path) -> None:
    grown(place, 5)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: publish(place, head), range(2))
    assert first == second

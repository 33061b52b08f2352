"""Anybody can follow the log: tiles, proofs and checkpoints by HTTP, checked by code that shares nothing with it."""

from __future__ import annotations

from base64 import b64decode
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from portal import db
from portal.app import create_app
from portal.ledger import publisher, sequencer
from portal.ledger.checkpoints import Checkpoint, Proof
from portal.vault import notes
from portal.vault.notes import Signer, Verifier
from tests.ledger import second_verifier
from tests.ledger.log_place import ORIGIN, Place, check

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flask.testing import FlaskClient

    from portal.config import Settings
    from portal.embedded.postgres import Postgres

SIGNER = Signer(ORIGIN, bytes(range(32)))
SIZE = 700
UNSIGNED = 3


class Followed:
    """A log of `SIZE` leaves and its portal; of `UNSIGNED` more nobody hears yet."""

    def __init__(self, postgres: Postgres, settings: Settings, head: Path) -> None:
        self.place, self.head = Place(postgres), head
        self.client: FlaskClient = create_app(replace(settings, database_url=self.place.url)).test_client()

    def grown(self, rows: int) -> None:
        self.place.log(*(self.place.new() for _ in range(rows)))
        self.place.grow()

    def published(self) -> Checkpoint:
        with db.transaction(self.place.url) as session:
            found = publisher.publish(session, signer=SIGNER, head=self.head, now=db.now())
        assert found is not None
        return found

    def text(self, address: str) -> str:
        answer = self.client.get(address)
        assert (answer.status_code, answer.content_type) == (200, "text/plain; charset=utf-8")
        return answer.text


@pytest.fixture(scope="module")
def log(postgres: Postgres, settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Followed]:
    made = Followed(postgres, settings, tmp_path_factory.mktemp("log") / "head")
    made.grown(SIZE)
    made.published()
    made.grown(UNSIGNED)
    yield made
    made.place.close()


@pytest.fixture(scope="module")
def leaves(log: Followed) -> list[bytes]:
    return [each.hash for each in check(log.place)][:SIZE]


@pytest.fixture(scope="module")
def signed(log: Followed) -> Checkpoint:
    verifier = Verifier.read(log.text("/log/verifier"))
    assert verifier == SIGNER.verifier()
    return Checkpoint.read(notes.opened(log.text("/log/checkpoint"), verifier).text)


def test_the_checkpoint_is_what_is_signed(signed: Checkpoint, leaves: list[bytes]) -> None:
    assert signed == Checkpoint(ORIGIN, SIZE, second_verifier.root_of(leaves))


@pytest.mark.parametrize(
    ("address", "first", "width"), [("000", 0, 256), ("001", 256, 256), ("002.p/188", 512, 188), ("002.p/1", 512, 1)]
)
def test_tiles_hold_the_leaves(log: Followed, leaves: list[bytes], address: str, first: int, width: int) -> None:
    answer = log.client.get(f"/log/tile/0/{address}")
    assert answer.data == b"".join(leaves[first : first + width])
    assert answer.content_type == "application/octet-stream"
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"


def test_a_tile_above_holds_the_roots_of_those_below(log: Followed, leaves: list[bytes]) -> None:
    roots = [second_verifier.root_of(leaves[at : at + 256]) for at in (0, 256)]
    assert log.client.get("/log/tile/1/000.p/2").data == b"".join(roots)


@pytest.mark.parametrize(
    "address",
    [
        "0/002", "0/002.p/189", "0/003.p/1", "0/x001/000", "1/000", "1/000.p/3", "1/001.p/1", "2/000.p/1", "9/000.p/1",
        "0/0", "0/0000", "0/001.p/0", "0/000.p/256/1", "0/000.p/01", "0/x000/001", "0/000.p/257", "8/000.p/1",
        "99999999999999999999/000", "0/x999/x999/x999/x999/x999/999", "0/entries/000", "-1/000", "0/000/",
    ],
)  # fmt: skip
def test_what_is_no_tile_is_not_found(log: Followed, address: str) -> None:
    answer = log.client.get(f"/log/tile/{address}")
    assert answer.status_code == 404
    assert answer.content_type == "application/problem+json"


def test_every_entry_is_proved(log: Followed, leaves: list[bytes], signed: Checkpoint) -> None:
    for index in (0, 1, 255, 256, 511, 512, 600, SIZE - 1):
        found = Proof.read(log.text(f"/log/proof/{index}"))
        assert found.index == index
        assert Checkpoint.read(notes.opened(found.note, SIGNER.verifier()).text) == signed
        assert second_verifier.proves_inclusion(leaves[index], index, SIZE, signed.root, list(found.path))


@pytest.mark.parametrize("first", [1, 2, 3, 255, 256, 257, 512, 699, SIZE])
def test_the_log_is_proved_to_begin_as_it_did(
    log: Followed, leaves: list[bytes], signed: Checkpoint, first: int
) -> None:
    answer = log.client.get(f"/log/consistency/{first}").get_json()
    path = [b64decode(each, validate=True) for each in answer["path"]]
    before = second_verifier.root_of(leaves[:first])
    assert answer["first"] == first
    assert Checkpoint.read(notes.opened(answer["checkpoint"], SIGNER.verifier()).text) == signed
    assert second_verifier.proves_consistency(first, before, SIZE, signed.root, path)


@pytest.mark.parametrize("number", [SIZE + 1, SIZE + UNSIGNED - 1, SIZE + UNSIGNED, 2**63, 10**30])
@pytest.mark.parametrize("what", ["proof", "consistency"])
def test_what_is_not_signed_yet_is_not_shown(log: Followed, what: str, number: int) -> None:
    assert log.client.get(f"/log/proof/{SIZE}").status_code == 404
    assert log.client.get(f"/log/{what}/{number}").status_code == 404


def test_an_empty_tree_begins_nothing(log: Followed) -> None:
    assert log.client.get("/log/consistency/0").status_code == 404


@pytest.mark.parametrize("address", ["checkpoint", "verifier", "tile/0/000", "proof/0", "consistency/1"])
def test_without_a_signed_log_there_is_nothing(
    postgres: Postgres, settings: Settings, tmp_path: Path, address: str
) -> None:
    empty = Followed(postgres, settings, tmp_path / "head")
    empty.grown(1)
    answer = empty.client.get(f"/log/{address}")
    assert answer.status_code == 404
    assert answer.get_json()["title"] == "There is no signed log here yet."
    empty.place.close()


def test_a_log_under_another_name_takes_over(postgres: Postgres, settings: Settings, tmp_path: Path) -> None:
    moved = Followed(postgres, settings, tmp_path / "head")
    moved.grown(5)
    moved.published()
    other = Signer("example.org/log-2", bytes(32))
    for _ in range(2):
        with db.sessions(moved.place.url).begin() as session:
            sequencer.grow(session, origin=other.name, now=db.now())
    with db.transaction(moved.place.url) as session:
        publisher.publish(session, signer=other, head=tmp_path / "other", now=db.now())
    assert Verifier.read(moved.text("/log/verifier")) == other.verifier()
    assert Checkpoint.read(notes.opened(moved.text("/log/checkpoint"), other.verifier()).text).size == 5
    moved.place.close()

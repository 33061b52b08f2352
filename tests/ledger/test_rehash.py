"""Hashing the log again finds every hash and every row that is another one, however deep in the tree."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest
from sqlalchemy import make_url, text

from portal import db
from portal.embedded.postgres import OWNER
from portal.ledger import publisher, rehash
from portal.vault.notes import Signer
from tests.ledger.log_place import ORIGIN, Place

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy.orm import Session

    from portal.embedded.postgres import Postgres
    from portal.ledger.rehash import Part, Wrong

pytestmark = pytest.mark.usefixtures("settings")
SIGNER = Signer(ORIGIN, bytes(range(32)))
# Two levels of full tiles, and an edge.
ROWS = 1100
PEOPLE = [uuid4() for _ in range(40)]


@pytest.fixture(scope="module")
def grown(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = Place(postgres)
    fill(place, ROWS, tmp_path_factory.mktemp("head") / "head")
    yield place
    place.close()


@pytest.fixture
def session(grown: Place, postgres: Postgres) -> Iterator[Session]:
    """What the owner of the database does with the triggers out of the way, and takes back."""
    database = make_url(grown.url).database or ""
    with db.sessions(postgres.url(OWNER, database).replace("postgresql://", "postgresql+psycopg://"))() as session:
        session.execute(text("SET LOCAL session_replication_role = replica"))
        yield session
        session.rollback()


def fill(place: Place, rows: int, head: Path) -> None:
    place.log(*(place.new(PEOPLE[number % len(PEOPLE)]) for number in range(rows)))
    place.grow()
    with db.transaction(place.url) as session:
        publisher.publish(session, signer=SIGNER, head=head, now=db.now())


def everything(session: Session) -> tuple[int, set[str]]:
    """Return how many entries were looked at, and what is wrong, by kind."""
    parts = [rehash.some_entries(session, log_id=1)]
    while (after := parts[-1].following) is not None:
        parts.append(rehash.some_entries(session, log_id=1, after=after))
    size = session.execute(text("SELECT size FROM log")).scalar_one()
    tiles, whole = rehash.complete_tiles(session, log_id=1), rehash.whole(session, log_id=1, size=size)
    found: list[Wrong] = [wrong for part in [*parts, tiles] for wrong in part.wrong] + whole
    return sum(part.looked_at for part in parts), {each.what for each in found}


def test_a_log_that_nobody_touched_is_as_it_was(session: Session) -> None:
    assert everything(session) == (ROWS, set())


@pytest.mark.parametrize("entries", [27, 28, 100, 1099, 1100, 1101])
def test_however_it_is_cut_into_parts_all_of_it_is_looked_at(
    session: Session, monkeypatch: pytest.MonkeyPatch, entries: int
) -> None:
    monkeypatch.setattr(rehash, "_ENTRIES", entries)
    assert everything(session) == (ROWS, set())


def test_the_tree_too_is_looked_at_in_parts(grown: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehash, "_TILES", 5)
    seen, after = 0, ""
    with db.transaction(grown.url) as session:
        while True:
            part: Part = rehash.complete_tiles(session, log_id=1, after=after)
            seen += part.looked_at
            if part.following is None:
                break
            after = part.following
        assert seen == session.execute(text("SELECT count(*) FROM log_tile")).scalar_one() == 35 + 2 + 1


FLIP = "UPDATE log_tile SET hashes = set_byte(hashes, {at}, 255 - get_byte(hashes, {at})) WHERE {which}"


@pytest.mark.parametrize(
    ("broken", "found"),
    [
        (FLIP.format(at=0, which="level = 0 AND number = 7"), {"entry-changed", "tile-differs"}),
        (FLIP.format(at=1023, which="level = 0 AND number = 31"), {"entry-changed", "tile-differs"}),
        (FLIP.format(at=31, which="level = 0 AND number = 34"), {"entry-changed", "root-differs"}),
        (FLIP.format(at=33, which="level = 1 AND number = 0"), {"tile-differs"}),
        (FLIP.format(at=33, which="level = 1 AND number = 1"), {"tile-differs", "root-differs"}),
        (FLIP.format(at=5, which="level = 2"), {"tile-differs", "root-differs"}),
        ("DELETE FROM log_tile WHERE level = 0 AND number = 3", {"entry-changed", "tile-differs"}),
        ("DELETE FROM log_tile WHERE level = 1 AND number = 0", {"tile-differs"}),
        ("DELETE FROM log_tile WHERE level = 2", {"tile-differs", "root-differs"}),
        ("UPDATE log_tile SET hashes = substr(hashes, 1, 1000) WHERE level = 0 AND number = 3",
         {"entry-changed", "tile-differs"}),
        ("UPDATE log_tile SET hashes = hashes || hashes WHERE level = 0 AND number = 3", {"tile-differs"}),
        ("INSERT INTO log_tile SELECT log_id, level, 99, hashes FROM log_tile WHERE number = 0 AND level = 0",
         {"tile-differs"}),
        ("INSERT INTO log_tile VALUES (1, 3, 0, sha256('x'))", {"tile-differs"}),
        ("UPDATE log SET note = replace(note, E'\\n1100\\n', E'\\n1099\\n')", {"root-differs"}),
    ],
)  # fmt: skip
def test_a_hash_that_was_changed_is_found(session: Session, broken: str, found: set[str]) -> None:
    session.execute(text(broken))
    assert found <= everything(session)[1]


def test_entries_that_changed_places_are_found(session: Session) -> None:
    session.execute(text("UPDATE log_entry SET leaf = 1099 - leaf"))
    assert {"entry-changed", "entry-misplaced"} <= everything(session)[1]


def test_an_entry_of_somebody_without_a_secret_is_found(session: Session) -> None:
    last = UUID(int=2**128 - 1)
    session.execute(text("UPDATE log_entry SET person_id = :last WHERE leaf = 3"), {"last": last})
    assert {"entry-changed", "head-differs"} <= everything(session)[1]

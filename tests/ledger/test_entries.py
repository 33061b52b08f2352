"""What an entry hides, and from whom."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from portal.ledger import entries
from tests.ledger import log_place

if TYPE_CHECKING:
    from tests.ledger.log_place import Place

SECRET = bytes(range(32))


def test_each_entry_is_hidden_by_blinds_of_its_own() -> None:
    one, other = uuid4(), uuid4()
    made = [
        entries.blinds(secret, disclosure_id=disclosure_id, outcome=outcome)
        for secret in (SECRET, SECRET[::-1])
        for disclosure_id in (one, other)
        for outcome in ("", "completed", "failed")
    ]
    assert len({each for pair in made for each in pair}) == 2 * len(made)


@pytest.mark.parametrize("change", [{"outcome": "failed"}, {"more": None}, {"at": "2026-01-01T00:00:01"}])
def test_what_is_said_decides_its_hash(change: dict[str, Any]) -> None:
    said = {"outcome": "sending", "at": "2026-01-01T00:00:00"}
    made = entries.said_hash(said, blind=SECRET)
    assert made == entries.said_hash(dict(reversed(said.items())), blind=SECRET)
    assert made != entries.said_hash(said | change, blind=SECRET)
    assert made != entries.said_hash(said, blind=SECRET[::-1])


def test_a_place_is_that_of_one_number_behind_one_entry() -> None:
    places = {
        entries.place_hash(n, previous=previous, blind=blind)
        for n in (1, 2, 256)
        for previous in (b"", bytes(32), SECRET)
        for blind in (SECRET, SECRET[::-1])
    }
    assert len(places) == 18


def test_what_a_company_may_be_shown_does_not_say_who_the_person_is(place: Place) -> None:
    person_id = uuid4()
    place.log(*(place.new(person_id) for _ in range(2)))
    place.grow()
    for each in log_place.check(place):
        assert str(person_id) not in json.dumps(each.said)
        assert not {"n", "previous"} & each.said.keys()


def test_a_row_says_the_keys_it_was_sealed_to_and_an_older_one_what_it_said_before(place: Place) -> None:
    """What was said of a row when it came to the log is what is said of it for ever."""
    older, newer = place.new(), place.new(sealed_to=["enc-1", "enc-2"])
    place.log(older, newer)
    place.grow()
    said = {each.disclosure_id: each.said for each in log_place.check(place)}
    assert said[older.disclosure_id]["v"] == 1
    assert "sealed_to" not in said[older.disclosure_id]
    assert said[newer.disclosure_id] == said[older.disclosure_id] | {
        "v": 2, "sealed_to": ["enc-1", "enc-2"], "disclosure_id": str(newer.disclosure_id),
        "at": said[newer.disclosure_id]["at"],
    }  # fmt: skip

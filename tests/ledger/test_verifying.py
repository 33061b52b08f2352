"""An exported log is checked alone; whatever is changed, left out or put elsewhere is found, and which it was."""

from __future__ import annotations

import base64
import json
from copy import deepcopy
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from portal import db
from portal.ledger import exports, publisher, services, verifying
from portal.ledger.services import NewOutcome
from portal.ledger.verifying import ExportUnreadableError
from portal.vault import notes
from portal.vault.notes import NoteRefusedError, Signer
from tests.ledger.log_place import ORIGIN, Place

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

SIGNER = Signer(ORIGIN, bytes(range(32)))
PERSON = uuid4()


def written_otherwise(hashed: str) -> str:
    """Return 32 bytes of base64 with other bits where the last letter has two that say nothing."""
    other = hashed[:-2] + chr(ord(hashed[-2]) + 1) + "="
    assert base64.b64decode(other) == base64.b64decode(hashed)
    return other


def publish(place: Place, folder: Path) -> None:
    place.grow()
    with db.transaction(place.url) as session:
        publisher.publish(session, signer=SIGNER, head=folder / "head", now=db.now())


def exported(place: Place, person_id: UUID = PERSON) -> dict[str, Any]:
    """Return the file, as whoever downloads it reads it."""
    with db.transaction(place.url) as session:
        found = exports.export(session, person_id=person_id, verifier=SIGNER.verifier())
    read: dict[str, Any] = json.loads(json.dumps(found))
    return read


@pytest.fixture
def place_with_rows(place: Place, tmp_path: Path) -> Place:
    """Five rows of one person among others', and what became of the third."""
    rows = [place.new(PERSON, reason=f"№ {number}") for number in range(5)]
    for row in rows:
        place.log(place.new(), row, place.new())
    third = rows[2]
    outcome = NewOutcome(
        person_id=PERSON, at=third.at, disclosure_id=third.disclosure_id, outcome="completed", detail="", milliseconds=3
    )
    with db.transaction(place.url) as session:
        services.report(session, outcome, now=db.now())
    publish(place, tmp_path)
    return place


@pytest.fixture
def file(place_with_rows: Place) -> dict[str, Any]:
    return exported(place_with_rows)


def wrong(file: dict[str, Any]) -> list[str]:
    return [str(each) for each in verifying.verify(file, known=SIGNER.verifier()).wrong]


def test_an_untouched_log_is_right(file: dict[str, Any]) -> None:
    found = verifying.verify(file, known=SIGNER.verifier())
    assert (found.entries, found.checkpoint.size, found.wrong) == (6, 16, [])
    assert [each["said"]["reason"] for each in file["entries"][:5]] == [f"№ {number}" for number in range(5)]


def test_whoever_has_no_entries_has_a_log_without_any(place_with_rows: Place) -> None:
    found = verifying.verify(exported(place_with_rows, uuid4()))
    assert (found.entries, found.wrong) == (0, [])


def test_what_was_logged_after_the_signature_is_in_the_next_file(place_with_rows: Place, tmp_path: Path) -> None:
    place_with_rows.log(place_with_rows.new(PERSON))
    place_with_rows.grow()
    assert len(exported(place_with_rows)["entries"]) == 6
    publish(place_with_rows, tmp_path)
    assert len(exported(place_with_rows)["entries"]) == 7
    assert wrong(exported(place_with_rows)) == []


@pytest.mark.parametrize("n", range(1, 7))
def test_an_entry_that_is_left_out_is_named(file: dict[str, Any], n: int) -> None:
    del file["entries"][n - 1]
    unproved = "The file's proof does not lead to the log that was signed."
    assert wrong(file) == [f"Entry {n} is missing.", unproved]


@pytest.mark.parametrize("n", range(1, 7))
@pytest.mark.parametrize("member", ["at", "outcome", "disclosure_id"])
def test_an_entry_that_was_changed_is_named(file: dict[str, Any], n: int, member: str) -> None:
    file["entries"][n - 1]["said"][member] += " "
    assert wrong(file) == [f"Entry {n} was changed: it is not what the log has."]


@pytest.mark.parametrize("n", range(1, 7))
def test_an_entry_with_more_or_less_in_it_was_changed(file: dict[str, Any], n: int) -> None:
    more, less = deepcopy(file), file
    more["entries"][n - 1]["said"]["more"] = None
    less["entries"][n - 1]["said"].pop("at")
    assert wrong(more) == wrong(less) == [f"Entry {n} was changed: it is not what the log has."]


@pytest.mark.parametrize("n", range(1, 7))
def test_an_entry_whose_words_are_gone_is_named(file: dict[str, Any], n: int) -> None:
    file["entries"][n - 1]["said"] = None
    assert wrong(file) == [f"Entry {n} is gone: the log has it, and nobody says any more what it was."]


@pytest.mark.parametrize("n", range(1, 6))
def test_entries_in_each_others_place_are_found(file: dict[str, Any], n: int) -> None:
    listed = file["entries"]
    listed[n - 1], listed[n] = listed[n], listed[n - 1]
    assert wrong(file) in ([f"Entry {each} is not where the log has it."] for each in (n, n + 1))


@pytest.mark.parametrize("to", [0, 2, 5])
def test_only_what_was_put_elsewhere_is_named(file: dict[str, Any], to: int) -> None:
    fourth = file["entries"].pop(3)
    file["entries"].insert(to, fourth)
    named = {"Entry 4 is not where the log has it."} | ({"Entry 3 is not where the log has it."} if to == 2 else set())
    [found] = wrong(file)
    assert found in named


def test_an_entry_that_stands_there_twice_is_named(file: dict[str, Any]) -> None:
    file["entries"].append(file["entries"][2])
    assert wrong(file) == ["Entry 3 is not where the log has it."]


def test_many_that_are_missing_are_named_together(file: dict[str, Any]) -> None:
    file["count"] = 2**52
    assert wrong(file) == [f"Entries 7 to {2**52} are missing."]


def test_what_the_log_could_not_have_written_was_changed(file: dict[str, Any]) -> None:
    file["entries"][1]["said"]["n"] = 10**30
    assert wrong(file) == ["Entry 2 was changed: it is not what the log has."]


def test_what_is_wrong_says_which_row_it_is(file: dict[str, Any]) -> None:
    file["entries"][0]["said"]["purpose"] = "sell"
    [found] = verifying.verify(file).wrong
    assert found.about.startswith("Zoë & Söhne, sending, 20")


@pytest.mark.parametrize("n", range(1, 6))
def test_entries_that_took_each_others_words_were_changed(file: dict[str, Any], n: int) -> None:
    one, other = file["entries"][n - 1], file["entries"][n]
    one["said"], other["said"] = other["said"], one["said"]
    assert wrong(file) == [f"Entry {each} was changed: it is not what the log has." for each in (n, n + 1)]


def test_what_an_older_file_has_must_be_in_the_newer_one(place_with_rows: Place, tmp_path: Path) -> None:
    older = exported(place_with_rows)
    place_with_rows.log(place_with_rows.new(PERSON))
    publish(place_with_rows, tmp_path)
    newer = exported(place_with_rows)
    assert verifying.verify(newer, older=older).wrong == []
    # With the newest one left out all that is there is right.
    assert verifying.verify(older).wrong == []
    [found] = verifying.verify(older, older=newer).wrong
    assert str(found) == "Entry 7 of the older file is not in this one, or not as it was."
    assert found.about.startswith("Zoë & Söhne, sending, 20")


def test_a_hash_made_to_fit_does_not_lead_to_what_was_signed(file: dict[str, Any]) -> None:
    file["entries"][1]["hash"] = base64.b64encode(bytes(32)).decode()
    assert wrong(file)[-1] == "The file's proof does not lead to the log that was signed."


def test_a_proof_of_something_else_is_refused(file: dict[str, Any]) -> None:
    assert file["path"]
    for path in ([], file["path"][1:], file["path"][::-1], [*file["path"], file["path"][0]]):
        assert wrong(file | {"path": path}) == ["The file's proof does not lead to the log that was signed."]


def test_a_log_that_somebody_else_signed_is_not_believed(file: dict[str, Any]) -> None:
    with pytest.raises(NoteRefusedError):
        verifying.verify(file, known=Signer(ORIGIN, bytes(32)).verifier())


def test_a_key_signs_for_the_log_of_its_own_name_alone(file: dict[str, Any]) -> None:
    # Two histories under two names would contradict each other before nobody, if one key could sign for both.
    text = notes.opened(file["checkpoint"], SIGNER.verifier()).text.replace(ORIGIN, f"{ORIGIN}2", 1)
    with pytest.raises(NoteRefusedError):
        verifying.verify(file | {"checkpoint": notes.signed(text, SIGNER.sign(text))}, known=SIGNER.verifier())


def test_a_hash_is_written_in_one_way_alone(file: dict[str, Any]) -> None:
    for name in ("hash", "path"):
        changed = json.loads(json.dumps(file))
        place, key = (changed["entries"][0], "hash") if name == "hash" else (changed["path"], 0)
        place[key] = written_otherwise(place[key])
        with pytest.raises(verifying.ExportUnreadableError):
            verifying.verify(changed, known=SIGNER.verifier())


def test_a_row_that_was_changed_in_the_database_is_named(place_with_rows: Place) -> None:
    place_with_rows.as_owner(
        "UPDATE disclosure SET given = '{}' WHERE reason = '№ 1'", "DELETE FROM disclosure WHERE reason = '№ 3'"
    )
    assert wrong(exported(place_with_rows)) == [
        "Entry 2 was changed: it is not what the log has.",
        "Entry 4 is gone: the log has it, and nobody says any more what it was.",
    ]


def test_the_newest_row_that_was_taken_out_of_the_database_is_named(place_with_rows: Place) -> None:
    mine = f"person_id = '{PERSON}'"
    place_with_rows.as_owner(
        f"DELETE FROM log_entry WHERE {mine} AND n = 6",  # noqa: S608 - an id
        f"DELETE FROM disclosure_outcome WHERE {mine}",  # noqa: S608 - an id
    )
    assert wrong(exported(place_with_rows)) == ["Entry 6 is missing."]


def test_a_hash_that_was_taken_out_of_the_tree_is_found(place_with_rows: Place) -> None:
    place_with_rows.as_owner("DELETE FROM log_tile")
    found = wrong(exported(place_with_rows))
    assert len(found) == 7
    assert found[-1] == "The file's proof does not lead to the log that was signed."


def test_a_person_whose_secret_is_forgotten_has_nothing_that_can_be_read(place_with_rows: Place) -> None:
    place_with_rows.as_owner(f"DELETE FROM log_head WHERE person_id = '{PERSON}'")  # noqa: S608
    assert len(wrong(exported(place_with_rows))) == 6


def test_before_anything_is_signed_there_is_no_file(place: Place) -> None:
    with db.transaction(place.url) as session:
        assert exports.export(session, person_id=PERSON, verifier=SIGNER.verifier()) is None


@pytest.mark.parametrize(
    "change",
    [
        {"format": "ucm-log-2"},
        {"entries": None},
        {"entries": [None]},
        {"entries": [{}]},
        {"path": ["!"]},
        {"path": [1]},
        {"verifier": 1},
        {"count": -1},
        {"count": True},
        {"count": "6"},
    ],
)
def test_what_is_no_export_is_said_to_be_none(file: dict[str, Any], change: dict[str, Any]) -> None:
    with pytest.raises(ExportUnreadableError):
        verifying.verify(file | change)


def test_a_file_with_something_left_out_is_none(file: dict[str, Any]) -> None:
    for member in file:
        with pytest.raises(ExportUnreadableError):
            verifying.verify({name: value for name, value in file.items() if name != member})

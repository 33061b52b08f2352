"""`portal verify`: a person's own check, on any computer, of a file that they downloaded."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from portal.config import PACKAGE
from portal.vault.notes import Signer
from tests.ledger import test_verifying
from tests.ledger.test_verifying import SIGNER, exported

if TYPE_CHECKING:
    from pathlib import Path

    from tests.ledger.log_place import Place

place_with_rows = test_verifying.place_with_rows


def verify(file: Path, *options: str) -> tuple[int, str, str]:
    """Run it without a single setting, where there is no database to be found."""
    command = [sys.executable, "-m", "portal", "verify", str(file), *options]
    done = subprocess.run(
        command, cwd=file.parent, env={"PYTHONPATH": str(PACKAGE.parent)}, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def file(place_with_rows: Place, tmp_path: Path) -> Path:
    path = tmp_path / "activity-log.json"
    path.write_text(json.dumps(exported(place_with_rows)))
    return path


def test_it_says_what_was_checked(file: Path) -> None:
    status, words, _ = verify(file, "--verifier", str(SIGNER.verifier()))
    assert status == 0
    assert "6 entries were checked" in words
    assert "had 16 entries in all" in words
    assert f"with this key: {SIGNER.verifier()}" in words
    assert "It was signed at 20" in words
    assert "Nothing was changed, left out or put elsewhere." in words
    assert "Compare it" not in words
    assert "Compare it with the one that others see" in verify(file)[1]


def test_it_names_every_entry_that_is_wrong(place_with_rows: Place, file: Path) -> None:
    place_with_rows.as_owner(
        "UPDATE disclosure SET given = '{}' WHERE reason = '№ 1'", "DELETE FROM disclosure WHERE reason = '№ 3'"
    )
    found = exported(place_with_rows)
    found["entries"].append(found["entries"].pop(0))
    del found["entries"][1]
    file.write_text(json.dumps(found))
    status, words, _ = verify(file)
    assert status == 1
    assert "Entry 1 is not where the log has it. It says: Zoë & Söhne, sending, 20" in words
    assert "Entry 2 was changed: it is not what the log has. It says: " in words
    assert "Entry 3 is missing." in words
    assert "Entry 4 is gone: the log has it, and nobody says any more what it was." in words


def test_an_older_file_is_held_against_the_new_one(place_with_rows: Place, file: Path, tmp_path: Path) -> None:
    assert verify(file, "--older", str(file))[0] == 0
    place_with_rows.log(place_with_rows.new(test_verifying.PERSON))
    test_verifying.publish(place_with_rows, tmp_path)
    newer = tmp_path / "newer.json"
    newer.write_text(json.dumps(exported(place_with_rows)))
    status, words, _ = verify(file, "--older", str(newer))
    assert status == 1
    assert "Entry 7 of the older file is not in this one, or not as it was. It says: Zoë" in words


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b"null", b"\xff", b'{"format":"ucm-log-1"}', b"[" * 100_000, b'"\\ud800"']
)
def test_a_file_of_something_else_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    assert verify(path) == (1, "", "This is not a file with a log that this program can check.\n")


def test_another_key_than_the_given_one_is_one_sentence(file: Path) -> None:
    other = str(Signer("example.org/log", bytes(32)).verifier())
    sentence = "The log in this file is not signed by the key that it must be signed by: do not believe it.\n"
    assert verify(file, "--verifier", other) == (1, "", sentence)
    assert verify(file, "--verifier", "x")[0::2] == (
        1,
        "This is not a key for checking a log: it looks like name+8 digits+base64.\n",
    )

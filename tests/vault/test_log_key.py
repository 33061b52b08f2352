"""The key of the log is read as it was written, by its owner alone, and never overwritten."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest

from portal.vault import log_key, notes
from portal.vault.log_key import (
    LogKeyDamagedError,
    LogKeyExposedError,
    LogKeyMissingError,
    LogKeyThereError,
    LogNameError,
)

if TYPE_CHECKING:
    from pathlib import Path

# The example of Go's golang.org/x/mod/sumdb/note.
GO_KEY = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz\n"
GO_VERIFIER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.key"


def written(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_what_is_made_is_what_is_read(path: Path) -> None:
    made = log_key.create(path, name="example.org/log")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    text = "example.org/log\n0\n"
    note = notes.signed(text, log_key.load(path).sign(text))
    assert notes.opened(note, made.verifier()).text == text


def test_a_key_of_gos_note_package_is_read(path: Path) -> None:
    assert str(log_key.load(written(path, GO_KEY)).verifier()) == GO_VERIFIER


def test_a_key_is_not_overwritten(path: Path) -> None:
    log_key.create(path, name="example.org/log")
    kept = path.read_text()
    with pytest.raises(LogKeyThereError):
        log_key.create(path, name="example.org/log")
    assert path.read_text() == kept


@pytest.mark.parametrize("name", ["", "two words", "a+b", "a\nb"])
def test_a_name_that_a_note_cannot_bear_makes_no_file(path: Path, name: str) -> None:
    with pytest.raises(LogNameError):
        log_key.create(path, name=name)
    assert not path.exists()


def test_a_key_that_is_not_there_is_said_to_be_missing(path: Path) -> None:
    with pytest.raises(LogKeyMissingError):
        log_key.load(path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o622])
def test_a_key_that_others_can_read_is_not_used(path: Path, mode: int) -> None:
    with pytest.raises(LogKeyExposedError):
        log_key.load(written(path, GO_KEY, mode))


@pytest.mark.parametrize(
    "text",
    [
        "",
        GO_KEY.replace("PRIVATE+KEY+", ""),
        GO_KEY.replace("c74f20a3", "c74f20a4"),
        GO_KEY.replace("PeterNeumann", "PeterNeuman"),
        GO_KEY.replace("AYEK", "AZEK"),
        GO_KEY.replace("AYEK", "BIEK"),
        GO_KEY + GO_KEY,
        GO_KEY[:-8],
        "\ud800".encode("utf-16", "surrogatepass").decode("latin-1"),
    ],
)
def test_a_damaged_key_is_not_used(path: Path, text: str) -> None:
    with pytest.raises(LogKeyDamagedError):
        log_key.load(written(path, text))

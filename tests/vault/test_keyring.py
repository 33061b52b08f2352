"""The keyring file: refused when others can read it or when it is damaged, and silent about its keys."""

from __future__ import annotations

import json
import os
import stat
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import pytest

from portal.errors import MisconfiguredError
from portal.vault import keyring
from portal.vault.keyring import INDEX, PROFILE, PURPOSES, SIGNING, KeyringExposedError, SealBrokenError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "keyring.json"
    keyring.create(made)
    return made


def rewrite(path: Path, content: Any) -> None:  # noqa: ANN401 - damaged on purpose
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def test_a_new_keyring_is_its_owners_alone(path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert set(json.loads(path.read_text())) == set(PURPOSES)


def test_a_keyring_is_never_overwritten(path: Path) -> None:
    before = path.read_text()
    with pytest.raises(FileExistsError):
        keyring.create(path)
    assert path.read_text() == before


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o610, 0o601])
def test_a_keyring_others_can_read_is_refused(path: Path, mode: int) -> None:
    path.chmod(mode)
    with pytest.raises(KeyringExposedError, match="chmod 600"):
        keyring.load(path)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "not json",
        "[]",
        "null",
        {},
        {purpose: {} for purpose in PURPOSES},
        {purpose: {"current": 1, "keys": {"1": "c2hvcnQ="}} for purpose in PURPOSES},
        {purpose: {"current": 1, "keys": {"1": "not base64"}} for purpose in PURPOSES},
        {purpose: {"current": "x", "keys": {}} for purpose in PURPOSES},
        {PROFILE: {"current": 1, "keys": {"1": b64encode(bytes(32)).decode()}}},
    ],
    ids=range(10),
)
def test_a_damaged_keyring_is_refused(path: Path, content: object) -> None:
    rewrite(path, content)
    with pytest.raises(MisconfiguredError, match="damaged"):
        keyring.load(path)


def test_a_current_version_without_its_key_is_damage(path: Path) -> None:
    content = json.loads(path.read_text())
    content[PROFILE]["current"] = 2
    rewrite(path, content)
    with pytest.raises(MisconfiguredError, match="damaged"):
        keyring.load(path)


def test_a_missing_keyring_is_named(tmp_path: Path) -> None:
    with pytest.raises(MisconfiguredError, match="does not exist"):
        keyring.load(tmp_path / "nowhere.json")


def test_wrapping_binds_purpose_and_context(path: Path) -> None:
    keys = keyring.load(path)
    version, wrapped = keys.wrap(PROFILE, b"k" * 32, context=b"one")
    assert keys.unwrap(PROFILE, version, wrapped, context=b"one") == b"k" * 32
    for purpose, context in [(PROFILE, b"two"), (SIGNING, b"one")]:
        with pytest.raises(SealBrokenError):
            keys.unwrap(purpose, version, wrapped, context=context)


@pytest.mark.parametrize("length", [0, 5, 12, 13, 27])
def test_a_truncated_key_does_not_unwrap(path: Path, length: int) -> None:
    keys = keyring.load(path)
    version, wrapped = keys.wrap(PROFILE, b"k" * 32, context=b"")
    with pytest.raises(SealBrokenError):
        keys.unwrap(PROFILE, version, wrapped[:length], context=b"")


def test_an_older_version_still_opens_after_rotation(path: Path) -> None:
    old = keyring.load(path)
    version, wrapped = old.wrap(PROFILE, b"k" * 32, context=b"")
    content = json.loads(path.read_text())
    content[PROFILE] = {
        "current": 2,
        "keys": content[PROFILE]["keys"] | {"2": b64encode(os.urandom(32)).decode()},
    }
    rewrite(path, content)
    keyring.load.cache_clear()
    new = keyring.load(path)
    assert new.unwrap(PROFILE, version, wrapped, context=b"") == b"k" * 32
    assert new.wrap(PROFILE, b"k" * 32, context=b"")[0] == 2
    assert new.derive(INDEX, b"email") == old.derive(INDEX, b"email")


def test_a_keyring_does_not_show_its_keys(path: Path) -> None:
    keys = keyring.load(path)
    assert repr(keys.keys[PROFILE][1]) not in repr(keys)

"""Finding a person by e-mail: the same address whatever its case, another keyring, another index."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.vault import blind_index, keyring

if TYPE_CHECKING:
    from pathlib import Path

    from portal.vault.keyring import Keyring


@pytest.mark.parametrize(
    "same", ["ME@example.org", " me@EXAMPLE.org ", "\uff4d\uff45@example.org", "me@example.org\n"], ids=range(4)
)
def test_case_space_and_width_do_not_matter(keys: Keyring, same: str) -> None:
    assert blind_index.of_email(keys, same) == blind_index.of_email(keys, "me@example.org")


@pytest.mark.parametrize("other", ["me2@example.org", "m.e@example.org", "me+x@example.org", "me@example.com"])
def test_another_address_is_another_index(keys: Keyring, other: str) -> None:
    assert blind_index.of_email(keys, other) != blind_index.of_email(keys, "me@example.org")


def test_it_is_full_length_and_keyed(keys: Keyring, tmp_path: Path) -> None:
    keyring.create(tmp_path / "other.json")
    elsewhere = keyring.load(tmp_path / "other.json")
    index = blind_index.of_email(keys, "me@example.org")
    assert len(index) == 32
    assert blind_index.of_email(elsewhere, "me@example.org") != index


@given(st.emails(), st.emails())
def test_only_the_same_address_has_the_same_index(keys: Keyring, one: str, other: str) -> None:
    same = blind_index.of_email(keys, one) == blind_index.of_email(keys, other)
    assert same == (one.casefold() == other.casefold())

"""A person's vault: what is sealed opens only where it belongs, and says nothing to anybody else."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import settings as trying
from hypothesis import strategies as st

from portal import db
from portal.vault import persons
from portal.vault.keyring import PROFILE, SealBrokenError
from portal.vault.models import PersonKey

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from portal.config import Settings
    from portal.vault.keyring import Keyring
    from portal.vault.persons import PersonVault

VALUE = "14 Bramble Row, Cork"
UNICODE = st.text(st.characters(exclude_categories=["Cs"]))


@pytest.fixture
def vault(session: Session, keys: Keyring) -> PersonVault:
    return persons.create(session, keyring=keys, person_id=db.new_id())


@pytest.fixture(scope="module")
def kept(settings: Settings, keys: Keyring) -> PersonVault:
    with db.transaction(settings.database_url) as session:
        return persons.create(session, keyring=keys, person_id=db.new_id())


@pytest.fixture
def other(session: Session, keys: Keyring) -> PersonVault:
    return persons.create(session, keyring=keys, person_id=db.new_id())


def test_a_value_comes_back_after_unlocking(session: Session, keys: Keyring, vault: PersonVault) -> None:
    sealed = vault.seal("address.home", 3, VALUE)
    session.flush()
    again = persons.unlock(session, keyring=keys, person_id=vault.person_id)
    assert again.open("address.home", 3, sealed) == VALUE


@trying(max_examples=200)
@given(value=UNICODE, attribute=st.sampled_from(["name.full", "address.home"]), version=st.integers(1, 2**31))
def test_every_text_comes_back(value: str, attribute: str, version: int, kept: PersonVault) -> None:
    assert kept.open(attribute, version, kept.seal(attribute, version, value)) == value


@pytest.mark.parametrize(("attribute", "version"), [("address.post", 3), ("address.home", 2), ("address.home", 4)])
def test_a_swapped_attribute_or_version_does_not_open(vault: PersonVault, attribute: str, version: int) -> None:
    with pytest.raises(SealBrokenError):
        vault.open(attribute, version, vault.seal("address.home", 3, VALUE))


def test_another_persons_value_does_not_open(vault: PersonVault, other: PersonVault) -> None:
    with pytest.raises(SealBrokenError):
        other.open("address.home", 3, vault.seal("address.home", 3, VALUE))


def test_the_person_is_bound_even_under_one_key(vault: PersonVault) -> None:
    moved = dataclasses.replace(vault, person_id=db.new_id())
    with pytest.raises(SealBrokenError):
        moved.open("address.home", 3, vault.seal("address.home", 3, VALUE))


def test_every_single_flipped_bit_is_noticed(vault: PersonVault) -> None:
    sealed = vault.seal("name.full", 1, "Prince")
    for place in range(len(sealed) * 8):
        broken = bytearray(sealed)
        broken[place // 8] ^= 1 << place % 8
        with pytest.raises(SealBrokenError):
            vault.open("name.full", 1, bytes(broken))


def test_every_truncation_is_noticed(vault: PersonVault) -> None:
    sealed = vault.seal("name.full", 1, "Prince")
    for length in range(len(sealed)):
        with pytest.raises(SealBrokenError):
            vault.open("name.full", 1, sealed[:length])


def test_the_length_is_hidden_to_a_block(vault: PersonVault) -> None:
    lengths = {len(vault.seal("name.full", 1, "x" * count)) for count in range(31)}
    assert len(lengths) == 1
    assert len(vault.seal("name.full", 1, "x" * 32)) == lengths.pop() + 32


def test_sealing_twice_never_looks_the_same(vault: PersonVault) -> None:
    assert len({vault.seal("name.full", 1, VALUE) for _ in range(50)}) == 50


def test_a_root_key_that_was_not_committed_to_is_refused(session: Session, keys: Keyring, vault: PersonVault) -> None:
    session.flush()
    row = session.get_one(PersonKey, vault.person_id)
    version, wrapped = keys.wrap(PROFILE, bytes(32), context=vault.person_id.bytes)
    with pytest.raises(SealBrokenError) as refused:
        persons.unlock_row(keys, vault.person_id, version, wrapped, row.commitment)
    assert "committed" in refused.value.private


def test_another_persons_wrapped_key_does_not_unlock(
    session: Session, keys: Keyring, vault: PersonVault, other: PersonVault
) -> None:
    session.flush()
    row = session.get_one(PersonKey, other.person_id)
    with pytest.raises(SealBrokenError):
        persons.unlock_row(keys, vault.person_id, row.keyring_version, row.wrapped_root, row.commitment)


def test_a_wrapping_key_that_is_gone_does_not_unlock(session: Session, keys: Keyring, vault: PersonVault) -> None:
    session.flush()
    row = session.get_one(PersonKey, vault.person_id)
    with pytest.raises(SealBrokenError):
        persons.unlock_row(keys, vault.person_id, 99, row.wrapped_root, row.commitment)


def test_an_erased_person_stays_closed(session: Session, keys: Keyring, vault: PersonVault) -> None:
    session.flush()
    session.delete(session.get_one(PersonKey, vault.person_id))
    session.flush()
    with pytest.raises(SealBrokenError):
        persons.unlock(session, keyring=keys, person_id=vault.person_id)


def test_nothing_shown_or_raised_holds_a_value_or_a_key(vault: PersonVault) -> None:
    assert "AESGCM" not in repr(vault)
    with pytest.raises(SealBrokenError) as refused:
        vault.open("name.full", 2, vault.seal("name.full", 1, VALUE))
    assert VALUE not in f"{refused.value!r} {refused.value.private} {refused.value.public}"

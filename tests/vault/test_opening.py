"""A reader's key opens what was sealed to it, of one department or several, and nothing else."""

from __future__ import annotations

import pytest
from joserfc.errors import JoseError

from portal.vault import envelope
from portal.vault.envelope import Field
from portal.vault.opening import Reader


def sealed(reader: Reader, **fields: str) -> envelope.Envelope:
    return envelope.seal({name: Field(2, value) for name, value in fields.items()}, **reader.public)


def test_what_was_sealed_for_several_departments_is_opened() -> None:
    reader = Reader()
    bills, post = sealed(reader, name='"Ada"'), sealed(reader, address='{"city": "Cork"}', phone="null")
    values = {f"{name}#2": each for one in (bills, post) for name, each in one.values.items()}
    opened = reader.open(values, [bills.keys, post.keys])
    assert opened == {"name#2": "Ada", "address#2": {"city": "Cork"}, "phone#2": None}


def test_another_reader_opens_nothing() -> None:
    one = sealed(Reader(), name='"Ada"')
    with pytest.raises((JoseError, ValueError)):
        Reader().open({"name#2": one.values["name"]}, [one.keys])


def test_the_key_is_public_only() -> None:
    assert "d" not in Reader().public["jwk"]

"""A world of companies and people, wired as the program wires itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from portal import events
from portal.sync import services
from tests.sync.cast import World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portal.config import Settings
    from portal.vault.keyring import Keyring


@pytest.fixture
def world(settings: Settings, keys: Keyring) -> Iterator[World]:
    events.listen(events.RecordChanged, services.on_record_changed)
    events.listen(events.RecordConfirmed, services.on_record_changed)
    events.listen(events.GrantChanged, services.on_grant_changed)
    events.listen(events.ToldInFull, services.on_told_in_full)
    made = World(settings, keys)
    yield made
    made.close()

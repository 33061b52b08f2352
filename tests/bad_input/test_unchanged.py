"""That a write is seen: everything here that says nothing was written rests on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.bad_input.cast import Cast
    from tests.bad_input.unchanged import State
    from tests.sync.cast import World


def test_a_write_is_seen_and_a_look_is_none(cast: Cast, state: State) -> None:
    world: World = cast.world
    person_id = world.person()
    with state.kept():
        world.transact(lambda session: session.connection().exec_driver_sql("SELECT count(*) FROM value").scalar())
    with pytest.raises(AssertionError), state.kept(but={"delivery"}):
        world.save(person_id, email__main="x@example.org")
    with state.kept(but={"value", "current_record", "person_key"}):
        world.save(person_id, email__main="y@example.org")


def test_what_was_written_and_taken_back_is_none(cast: Cast, state: State) -> None:
    person_id = cast.world.person()
    with state.kept(), pytest.raises(ZeroDivisionError):
        cast.world.transact(lambda session: session.connection().exec_driver_sql(_RENAME, {"id": person_id}) and 1 / 0)


_RENAME = "UPDATE current_record SET sequence = sequence + 1 WHERE person_id = %(id)s"

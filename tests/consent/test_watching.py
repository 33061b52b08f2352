"""When a consent is looked at again, and what its person is reminded of: a table, and any story that time can tell."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.consent import watching
from portal.consent.watching import Facts, Memory

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
OPEN = Facts(state="active", mode="kept-up-to-date", answered_at=START, term_from=START, expires_at=None, used_at=None)
HUNDRED = replace(OPEN, expires_at=START + 100 * DAY)


@pytest.mark.parametrize(
    ("facts", "memory", "day", "noted"),
    [
        (HUNDRED, Memory(), 47, ""),
        (HUNDRED, Memory(), 50, "half"),
        (HUNDRED, Memory(), 48.5, "half"),  # it comes along with another one's letter
        (HUNDRED, Memory(term_to=HUNDRED.expires_at, told=50), 60, ""),
        (HUNDRED, Memory(term_to=HUNDRED.expires_at, told=50), 80, "most"),
        (HUNDRED, Memory(term_to=HUNDRED.expires_at, told=80), 95, "last"),
        (HUNDRED, Memory(), 96, "last"),  # not three letters at once
        (HUNDRED, Memory(term_to=START + 200 * DAY, told=95), 50, "half"),  # another end, another time
        (replace(HUNDRED, state="paused"), Memory(), 50, "half"),
        (replace(HUNDRED, mode="once"), Memory(), 96, ""),
        (replace(OPEN, used_at=START + 300 * DAY), Memory(), 360, ""),
        (replace(OPEN, used_at=START + 300 * DAY), Memory(), 365, "year"),
        (replace(OPEN, used_at=START + 300 * DAY), Memory(asked_at=START + 365 * DAY), 400, ""),
        (replace(OPEN, used_at=START + 700 * DAY), Memory(asked_at=START + 365 * DAY), 730, "year"),
        (OPEN, Memory(), 330, ""),
        (OPEN, Memory(), 335, "unused"),
        (OPEN, Memory(warned_at=START + 335 * DAY), 340, ""),
        (OPEN, Memory(warned_at=START + 335 * DAY), 365, "paused"),
        (OPEN, Memory(warned_at=START + 350 * DAY), 379, "year"),  # a month lies between the letter and the pause
        (OPEN, Memory(warned_at=START + 350 * DAY), 380, "paused"),
        (OPEN, Memory(), 500, "unused"),  # nobody is paused who was not warned
        (replace(OPEN, used_at=START + 340 * DAY), Memory(warned_at=START + 335 * DAY), 364, "year"),
        (replace(OPEN, answered_at=START + 340 * DAY), Memory(warned_at=START + 335 * DAY), 400, ""),
        (replace(OPEN, state="paused"), Memory(warned_at=START + 335 * DAY), 400, ""),
    ],
)
def test_what_is_noted(facts: Facts, memory: Memory, day: float, noted: str) -> None:
    seen = watching.look(facts, memory, now=START + day * DAY)
    assert (seen.noted, seen.pause) == (noted, noted == "paused")


@given(
    days=st.integers(1, 1500) | st.none(),
    steps=st.lists(st.integers(1, 120), min_size=1, max_size=40),
    uses=st.lists(st.integers(0, 2000), max_size=5),
)
def test_any_story(days: int | None, steps: list[int], uses: list[int]) -> None:
    """Looked at however late: each stage is told once, none after a later one, and a pause follows a warning only."""
    expires = START + days * DAY if days else None
    memory, state, now = Memory(), "active", START
    told: list[str] = []
    due = watching.first_look(mode=OPEN.mode, at=START, expires_at=expires)
    for step in steps:
        now = max(now + step * DAY, due)
        if expires and now >= expires:
            return
        used = max((START + use * DAY for use in uses if START + use * DAY <= now), default=None)
        facts = replace(OPEN, state=state, expires_at=expires, used_at=used)
        seen = watching.look(facts, memory, now=now)
        assert seen.due_at > now
        if seen.noted in watching.STAGES.values():
            assert seen.noted not in told
            assert not set(told) & set(
                list(watching.STAGES.values())[list(watching.STAGES.values()).index(seen.noted) :]
            )
            told.append(seen.noted)
        if seen.pause:
            assert memory.warned_at is not None
            assert now - memory.warned_at >= watching.WARNED
            assert used is None or now - used >= watching.YEAR
            state = "paused"
        memory, due = seen.memory, seen.due_at
        if seen.noted == "unused":
            memory = replace(memory, warned_at=now)


def test_the_first_look_is_never_late() -> None:
    """It comes before anything is due, so that nothing is noted of what has just begun."""
    for days in (1, 7, 30, 365, 700, None):
        expires = START + days * DAY if days else None
        due = watching.first_look(mode="asked", at=START, expires_at=expires)
        facts = replace(OPEN, expires_at=expires, mode="asked")
        assert not watching.look(facts, Memory(), now=due - watching.TOGETHER - timedelta(seconds=1)).noted

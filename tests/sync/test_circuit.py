"""When an endpoint is left alone, for how long, and when for good."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from portal.sync import circuit
from portal.sync.circuit import Health, Says
from portal.sync.rules import Outcome, Result, judge

NOW = datetime(2026, 3, 3, 12, tzinfo=UTC)
WORKS, FAILS = judge(202, milliseconds=4), judge(500, milliseconds=4)
SILENT = Result(outcome=Outcome.UNKNOWN, detail="It did not answer in time.")


def failing(age: timedelta, **more: Any) -> Health:  # noqa: ANN401 - fields of Health
    known: dict[str, Any] = {"failures": 7, "recent": 0b1111111, "tries": 20, "failing_since": NOW - age}
    return Health(**(known | more))


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (WORKS, Says.WORKS),
        (judge(200, milliseconds=1), Says.WORKS),
        (SILENT, Says.FAILS),
        (Result(outcome=Outcome.FAILED, detail="no connection"), Says.FAILS),
        *[(judge(status, milliseconds=1), Says.FAILS) for status in (302, 401, 403, 404, 410, 500, 502, 503, 504)],
        *[(judge(status, milliseconds=1), Says.REFUSES) for status in (400, 413, 422)],
        (judge(429, milliseconds=1), Says.SLOWS),
        (Result(outcome=Outcome.SUPPRESSED), Says.NOTHING),
        (replace(SILENT, ours=True), Says.NOTHING),
    ],
)
def test_what_counts_as_the_endpoints_failure(result: Result, said: Says) -> None:
    assert circuit.says(result) is said


@pytest.mark.parametrize(
    ("results", "step"),
    [
        ([FAILS] * 4, 0),
        ([FAILS] * 5, 1),
        ([FAILS] * 4 + [WORKS] + [FAILS] * 4, 0),
        ([WORKS, FAILS, FAILS] * 3, 0),  # nine are too few to say
        ([WORKS, FAILS, FAILS] * 4, 1),
        ([WORKS, FAILS] * 20, 0),  # half is not more than half
        ([SILENT] * 5, 1),
        ([judge(422, milliseconds=1)] * 50, 0),
        ([judge(401, milliseconds=1)] * 5, 1),
        ([judge(429, milliseconds=1)] * 50, 0),
        ([replace(FAILS, ours=True)] * 50, 0),
        ([Result(outcome=Outcome.SUPPRESSED)] * 50, 0),
    ],
)
def test_the_circuit_opens_after_five_in_a_row_or_most_of_the_last_twenty(results: list[Result], step: int) -> None:
    health = circuit.after_all(Health(), results, now=NOW)
    assert health.circuit_step == step
    assert bool(step) == (health.circuit_until is not None and health.circuit_until > NOW + timedelta(seconds=20))


def test_only_the_last_twenty_are_remembered() -> None:
    old = circuit.after_all(Health(), [FAILS, FAILS, FAILS, WORKS] * 2 + [WORKS] * 20, now=NOW)
    assert (old.recent, old.tries) == (0, 20)


@pytest.mark.parametrize(
    ("step", "seconds"), [(1, 30), (2, 60), (3, 120), (4, 240), (5, 480), (6, 900), (7, 900), (5000, 900)]
)
def test_pauses_double_to_fifteen_minutes(step: int, seconds: int) -> None:
    for _ in range(50):
        assert 0.8 * seconds <= circuit.pause(step).total_seconds() <= 1.2 * seconds


def test_what_was_on_its_way_when_the_circuit_opened_opens_it_no_longer() -> None:
    opened = circuit.after_all(Health(), [FAILS] * 5, now=NOW)
    assert opened.circuit_until
    later = circuit.after_all(opened, [FAILS, SILENT], now=NOW + timedelta(seconds=10))
    assert (later.circuit_step, later.circuit_until) == (1, opened.circuit_until)
    probed = circuit.after(later, FAILS, now=opened.circuit_until)
    assert probed.circuit_step == 2


def test_one_message_that_arrives_closes_the_circuit_and_its_past_does_not_open_it_again() -> None:
    opened = circuit.after_all(Health(), [FAILS] * 12, now=NOW)
    closed = circuit.after(opened, WORKS, now=NOW + timedelta(minutes=1))
    assert (closed.circuit_step, closed.circuit_until, closed.failing_since) == (0, None, None)
    assert circuit.after_all(closed, [FAILS] * 4, now=NOW + timedelta(minutes=2)).circuit_step == 0


def test_a_refused_message_closes_the_circuit_but_is_no_success() -> None:
    opened = circuit.after_all(Health(), [FAILS] * 5, now=NOW)
    answered = circuit.after(opened, judge(422, milliseconds=1), now=NOW + timedelta(minutes=1))
    assert (answered.circuit_step, answered.circuit_until, answered.failing_since) == (0, None, NOW)


@pytest.mark.parametrize(
    ("status", "asked", "held"),
    [
        (429, timedelta(minutes=7), timedelta(minutes=7)),
        (503, timedelta(minutes=7), timedelta(minutes=7)),
        (429, None, circuit.BREATHER),
        (429, timedelta(), circuit.BREATHER),
        (429, timedelta(days=30), timedelta(hours=24)),
        (503, None, None),
        (500, timedelta(minutes=7), None),
    ],
)
def test_retry_after_holds_the_whole_stream_back(status: int, asked: timedelta | None, held: timedelta | None) -> None:
    """RFC 9110 section 10.2.3; never beyond a day."""
    health = circuit.after(Health(), judge(status, milliseconds=1, retry_after=asked), now=NOW)
    assert health.circuit_until == (held and NOW + held)
    assert health.circuit_step == 0
    assert circuit.after(health, WORKS, now=NOW).circuit_until == (held and NOW + held)


@pytest.mark.parametrize(
    ("before", "result", "state"),
    [
        (Health(), judge(410, milliseconds=1), "disabled"),
        (failing(timedelta(hours=121)), FAILS, "disabled"),
        (failing(timedelta(hours=119)), FAILS, "enabled"),
        (failing(timedelta(hours=121)), WORKS, "enabled"),
        (failing(timedelta(hours=121)), judge(429, milliseconds=1), "enabled"),
        (failing(timedelta(hours=121), failures=1), FAILS, "enabled"),
        (failing(timedelta(hours=121), state="paused"), FAILS, "disabled"),
    ],
)
def test_who_is_turned_off(before: Health, result: Result, state: str) -> None:
    after = circuit.after(before, result, now=NOW)
    assert after.state == state
    assert (after.disabled_at == NOW) == (state == "disabled")


def test_what_has_been_turned_off_by_someone_else_keeps_their_reason() -> None:
    off = failing(timedelta(hours=300), state="disabled", reason="The app was ended.")
    assert circuit.after(off, judge(410, milliseconds=1), now=NOW).reason == "The app was ended."


@pytest.mark.parametrize(("hours", "letters"), [(0.9, 0), (1, 1), (23, 1), (24, 2), (95, 2), (96, 3), (500, 3)])
def test_when_a_letter_is_due(hours: float, letters: int) -> None:
    assert circuit.warnings_due(failing(timedelta(hours=hours)), now=NOW) == letters
    assert circuit.warnings_due(Health(), now=NOW) == 0


RESULTS = st.one_of(
    st.builds(judge, st.integers(200, 599), milliseconds=st.just(1), retry_after=st.one_of(
        st.none(), st.timedeltas(timedelta(0), timedelta(days=900)))),
    st.sampled_from([SILENT, Result(outcome=Outcome.SUPPRESSED), replace(FAILS, ours=True)]),
)  # fmt: skip


@given(st.lists(RESULTS, max_size=60))
@settings(max_examples=200, deadline=None)
def test_whatever_comes_the_state_is_one_that_can_be_kept(results: list[Result]) -> None:
    health = circuit.after_all(Health(), results, now=NOW)
    assert 0 <= health.recent < 2**circuit.WINDOW
    assert 0 <= health.tries <= circuit.WINDOW
    assert health.recent.bit_count() <= health.tries
    # Nobody is held back beyond a day, and an open circuit always says when it is tried.
    assert health.circuit_until is None or health.circuit_until <= NOW + circuit.LONGEST_WAIT
    assert not health.circuit_step or health.circuit_until is not None


class Breaker(RuleBasedStateMachine):
    """A sender that goes by the state alone, as the claim does: four at once, one when half-open, none when open."""

    @initialize()
    def begin(self) -> None:
        self.health, self.now, self.flying = Health(), NOW, 0

    @property
    def room(self) -> int:
        held = self.health.circuit_until is not None and self.health.circuit_until > self.now
        return 0 if held or self.health.state != "enabled" else 1 if self.health.circuit_step else 4

    @precondition(lambda self: self.flying < self.room)
    @rule()
    def send(self) -> None:
        self.flying += 1

    @precondition(lambda self: self.flying)
    @rule(result=RESULTS)
    def answer(self, result: Result) -> None:
        self.flying -= 1
        self.health = circuit.after(self.health, result, now=self.now)

    @rule(passed=st.timedeltas(timedelta(0), timedelta(hours=3)))
    def wait(self, passed: timedelta) -> None:
        self.now += passed

    @invariant()
    def never_stuck(self) -> None:
        """A day of patience always brings another try, and its success closes the circuit."""
        if not hasattr(self, "health") or self.health.state != "enabled":
            return
        later = self.now + circuit.LONGEST_WAIT
        assert self.health.circuit_until is None or self.health.circuit_until <= later
        mended = circuit.after(self.health, WORKS, now=later)
        assert (mended.circuit_step, mended.failures, mended.failing_since) == (0, 0, None)

    @invariant()
    def open_means_tripped(self) -> None:
        if hasattr(self, "health") and self.health.circuit_step:
            assert self.health.trips


TestBreaker = Breaker.TestCase
TestBreaker.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)

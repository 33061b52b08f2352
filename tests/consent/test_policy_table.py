"""The one policy function over every state, channel, actor, mode and time, against an answer written by hand.

Nothing here is worked out by rules like those under test: each line of the table below says what must come out, and
the lines together cover every combination once, which is counted.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product
from typing import NamedTuple

import pytest

from portal.consent.rules import Channel, Proved, Standing, decide

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
STATES = (
    "requested", "countered", "refused", "deferred", "active", "paused", "frozen", "expired", "withdrawn", "ended",
    "invalidated",
)  # fmt: skip
CHANNELS = ("push", "pull", "batch", "userinfo", "drift")
# Who asks: the company by itself; a person's own token, of somebody who proved in two ways just now, or in one; a token
# of another app of the same company; staff and the operator, who are no client at all.
ACTORS = ("company", "person, two proofs", "person, one proof", "another app", "staff", "operator")
MODES = ("kept-up-to-date", "asked", "once", "once, used")
TIMES = ("open", "in time", "over")

ALL, ORDINARY = "all", "ordinary"  # both details; only the one that is not sensitive, where that alone was asked for
EVERY = "*"

# state | channels | actors | modes | times | what comes out: everything, or a refusal `consent-…`.
# The first line that fits counts, and every line is needed.
TABLE = """
*           | *        | another app         | *                            | *        | absent
*           | *        | staff, operator     | *                            | *        | absent
requested   | *        | *                   | *                            | *        | absent
countered   | *        | *                   | *                            | *        | absent
deferred    | *        | *                   | *                            | *        | absent
refused     | *        | *                   | *                            | *        | refused
paused      | *        | *                   | *                            | *        | paused
frozen      | *        | *                   | *                            | *        | frozen
expired     | *        | *                   | *                            | *        | expired
withdrawn   | *        | *                   | *                            | *        | withdrawn
ended       | *        | *                   | *                            | *        | ended
invalidated | *        | *                   | *                            | *        | invalidated
active      | *        | *                   | *                            | over     | expired
active      | push     | *                   | asked                        | *        | not-for-updates
active      | push     | *                   | once                         | *        | not-for-updates
active      | push     | *                   | once-used                    | *        | not-for-updates
active      | *        | *                   | once-used                    | *        | used-up
active      | *        | person-one          | *                            | *        | not-proved
active      | push     | company, person-two | kept-up-to-date              | open, in | all
active      | not push | company, person-two | kept-up-to-date, asked, once | open, in | all
"""
_SHORT = {
    "person-two": "person, two proofs", "person-one": "person, one proof", "once-used": "once, used", "in": "in time",
    "not-proved": "insufficient-user-authentication", "all": ALL,
}  # fmt: skip
DETAILS = ("birth.date", "name.full")


class Line(NamedTuple):
    """One line of the table, its cells as sets."""

    states: frozenset[str]
    channels: frozenset[str]
    actors: frozenset[str]
    modes: frozenset[str]
    times: frozenset[str]
    answer: str

    def fits(self, case: tuple[str, ...]) -> bool:
        return all(value in cell for value, cell in zip(case, self[:5], strict=True))


def _lines() -> list[Line]:
    domains = (STATES, CHANNELS, ACTORS, MODES, TIMES)
    lines = []
    for row in TABLE.strip().splitlines():
        *cells, answer = [cell.strip() for cell in row.split("|")]
        cells[1] = cells[1].replace("not push", "pull, batch, userinfo, drift")
        named = [[_SHORT.get(word.strip(), word.strip()) for word in cell.split(",")] for cell in cells]
        sets = [frozenset(domain if words == [EVERY] else words) for words, domain in zip(named, domains, strict=True)]
        assert all(words <= set(domain) for words, domain in zip(sets, domains, strict=True)), row
        states, channels, actors, modes, times = sets
        said = _SHORT.get(answer, f"consent-{answer}")
        lines.append(Line(states, channels, actors, modes, times, said))
    return lines


LINES = _lines()
CASES = list(product(STATES, CHANNELS, ACTORS, MODES, TIMES))


def expected(case: tuple[str, ...]) -> str:
    return next(line.answer for line in LINES if line.fits(case))


def answered(case: tuple[str, ...], requested: tuple[str, ...] | None = None) -> str:
    """Ask the policy, and say in the words of the table what it answered."""
    state, channel, actor, mode, time = case
    ends = {"open": None, "in time": NOW + timedelta(microseconds=1), "over": NOW}[time]
    facts = Standing(
        client_id="app",
        state="paused" if state == "frozen" else state,
        mode=mode.partition(",")[0],
        attributes=DETAILS,
        expires_at=ends,
        purpose_attributes=DETAILS,
        purpose_withdrawn=False,
        client_active=True,
        used=mode == "once, used",
        frozen=state == "frozen",
    )
    proofs = {"person, two proofs": Proved(2, NOW), "person, one proof": Proved(1, NOW)}
    # Staff and operators are no client: whatever they call themselves, no grant is theirs.
    caller = {"another app": "another app", "staff": "staff", "operator": ""}.get(actor, "app")
    decision = decide(
        facts, client_id=caller, channel=Channel(channel), requested=requested, now=NOW, proved=proofs.get(actor)
    )
    if decision.refusal is not None:
        assert decision.attributes == ()
        return str(decision.refusal)
    return ALL if decision.attributes == DETAILS else ORDINARY if decision.attributes == ("name.full",) else "?"


@pytest.mark.parametrize("state", STATES)
def test_every_state_channel_actor_mode_and_time(state: str) -> None:
    mine = [case for case in CASES if case[0] == state]
    assert len(mine) == 5 * 6 * 4 * 3
    wrong = {case: answered(case) for case in mine if answered(case) != expected(case)}
    assert wrong == {}


def test_the_table_says_something_of_every_case_and_has_no_idle_line() -> None:
    first = [next(number for number, line in enumerate(LINES) if line.fits(case)) for case in CASES]
    assert len(CASES) == 11 * 5 * 6 * 4 * 3 == 3960
    assert set(first) == set(range(len(LINES)))


def test_something_leaves_only_where_the_table_says_so() -> None:
    """By hand: kept up to date on five channels, asked and once on four; by two actors; open or in time."""
    assert sum(expected(case) == ALL for case in CASES) == (5 + 4 + 4) * 2 * 2


@pytest.mark.parametrize("actor", ["company", "person, two proofs", "person, one proof"])
def test_who_asks_for_what_is_not_sensitive_needs_one_proof(actor: str) -> None:
    assert answered(("active", "pull", actor, "asked", "open"), ("name.full",)) == ORDINARY


@pytest.mark.parametrize(
    ("facts", "answer"),
    [
        ({"client_active": False}, "client-suspended"),
        ({"purpose_withdrawn": True}, "purpose-withdrawn"),
        ({"purpose_attributes": ()}, "field-not-shared"),
        ({"attributes": ()}, "field-not-shared"),
        ({"client_active": False, "state": "withdrawn"}, "client-suspended"),
        ({"purpose_withdrawn": True, "state": "paused"}, "consent-paused"),
    ],
)
def test_client_and_purpose_count_too(facts: dict[str, object], answer: str) -> None:
    standing = Standing("app", "active", "asked", DETAILS, None, DETAILS, purpose_withdrawn=False, client_active=True)
    decision = decide(
        standing._replace(**facts),  # type: ignore[arg-type]
        client_id="app", channel=Channel.PULL, requested=None, now=NOW,
    )  # fmt: skip
    assert decision.refusal == answer


def test_without_any_grant_there_is_no_consent() -> None:
    decision = decide(None, client_id="app", channel=Channel.PULL, requested=None, now=NOW)
    assert (decision.attributes, decision.refusal) == ((), "consent-absent")

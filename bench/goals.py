"""The goals of this program beside what a run has measured: what is reached, what is missed, what nobody measures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Goal:
    """One figure: what it is of, and what it is to be at most, or at least."""

    words: str
    bound: float
    unit: str = ""
    least: bool = False

    def reached(self, value: float) -> bool:
        return value >= self.bound if self.least else value <= self.bound

    def said(self, value: float) -> str:
        sign, verdict = ">=" if self.least else "<=", "reached" if self.reached(value) else "MISSED"
        return f"{self.words:62} {value:9.4g} {self.unit:6} {sign} {self.bound:<7g} {verdict}"


GOALS: Final = {
    "one": Goal("save -> received, 1 subscriber, p95", 250, "ms"),
    "hundred": Goal("save -> received, 100 subscribers, p95", 250, "ms"),
    "crowd": Goal("one edit, 10 000 endpoints, 2 workers: all attempted within", 60, "s"),
    "fan-out": Goal("the save itself, 10 000 rows owed in one statement", 500, "ms"),
    "F1 p50": Goal("F1 commit -> received at 500 pushes/s, p50", 20, "ms"),
    "F1 p99": Goal("F1 the same, p99", 100, "ms"),
    "F2 p50": Goal("F2 commit -> received at 5 000 pushes/s, 2 workers, p50", 60, "ms"),
    "F2 p99": Goal("F2 the same, p99", 200, "ms"),
    "F3": Goal("F3 p50 of F1 / an RQ job that does nothing", 5),
    "F5": Goal("F5 one receiver of 20 hangs: the others' p99", 250, "ms"),
    "T single": Goal("T deliveries a core, one event a request", 1000, "/s", least=True),
    "T batched": Goal("T deliveries a core, up to 50 events a request", 5000, "/s", least=True),
    "T2": Goal("T2 deliveries seen / an RQ job for each delivery", 30, least=True),
    "T3": Goal("T3 CPU of a batched delivery, all of it", 150, "us"),
    "G1": Goal("G1 pull at 200 000 people / at 200", 1.3),
    "G2": Goal("G2 log bytes of a disclosure, 2 000 000 behind / few", 1.2),
    "G3 buffers": Goal("G3 buffers of a pull", 18),
    "G3 trips": Goal("G3 round trips of a pull", 1),
    "G4 row": Goal("G4 a disclosure with its indexes", 300, "B"),
    "G4 person": Goal("G4 a person's record and key", 1000, "B"),
    "L1 row": Goal("L1 CPU by which the log grows a row, with 1 000 000 / 10 000", 1.3),
    "L1 second": Goal("L1 time for a second's rows, signed, the same", 1.3),
    "L2": Goal("L2 rows that the log takes in, one process", 10_000, "/s", least=True),
    "L3 made": Goal("L3 a proof made, of 1 000 000 entries", 1, "ms"),
    "L3 size": Goal("L3 its size", 2048, "B"),
    "L4": Goal("L4 10 000 entries of a person checked, in Python", 2, "s"),
    "L5": Goal("L5 disclosed -> in a signed log, under load, p99", 10, "s"),
    "M1 web": Goal("M1 server and two workers, shared pages divided", 220, "MB"),
    "M1 worker": Goal("M1 push worker, resident", 80, "MB"),
    "M1 growth": Goal("M1 growth of what grew most, PostgreSQL's cache apart", 5, "%"),
    "M2": Goal("M2 Valkey for a million undelivered", 10, "MB"),
    "pull": Goal("pull with DPoP / hello on granian, rates", 0.12, least=True),
}
_ABSENT: Final = "F4, T1, P6: nothing is measured beside the Community Solid Server, which is not installed here."
_seen: dict[str, float] = {}


def saw(name: str, value: float) -> None:
    """Note what was measured for the goal `name`."""
    _seen[name] = value


def value_of(name: str) -> float | None:
    return _seen.get(name)


def report() -> None:
    """Print every goal that this run has measured something for."""
    print("\ngoals (performance.md, section 6, and what was asked of delivery)")
    for name, goal in GOALS.items():
        if name in _seen:
            print(f"  {goal.said(_seen[name])}")
    missing = [name for name in GOALS if name not in _seen]
    if missing:
        print(f"  not measured in this run: {', '.join(missing)}")
    print(f"  {_ABSENT}")

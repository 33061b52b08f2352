"""Turns: servers answer one after the other in short rounds, so that a load of the machine hits each of them."""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from bench import load
from bench.load import percentile

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.ground import Ground

CONNECTIONS = 16


class Turn(NamedTuple):
    """One round, and the CPU that each request of it took, in microseconds."""

    round: load.Round
    server: float
    postgres: float
    client: float

    @property
    def answering(self) -> float:
        """What answering a request costs: server and database."""
        return self.server + self.postgres

    @property
    def everything(self) -> float:
        return self.server + self.postgres + self.client


def take(here: Ground, name: str, port: int, requests: Iterator[bytes], seconds: float) -> Turn:
    """Let the process `name` of `here` answer `requests` at `port` for `seconds`."""
    before = here.cpu(name), here.cpu("postgres"), time.process_time()
    done = load.run(port, requests, connections=CONNECTIONS, seconds=seconds)
    after = here.cpu(name), here.cpu("postgres"), time.process_time()
    count = len(done.milliseconds)
    return Turn(done, *((late - early) / count * 1e6 for early, late in zip(before, after, strict=True)))


def say(name: str, turns: Sequence[Turn]) -> None:
    """Print the medians of `turns` in one line."""
    times = [each for turn in turns for each in turn.round.milliseconds]
    server, postgres, client = (median(part) for part in zip(*(turn[1:] for turn in turns), strict=True))
    wrong = sum(turn.round.wrong for turn in turns)
    print(
        f"  {name:14} {median(turn.round.rate for turn in turns):6.0f}/s   p50 {percentile(times, 50):5.1f} ms"
        f"   p99 {percentile(times, 99):5.1f} ms   CPU us a request: server {server:5.0f}   PostgreSQL {postgres:4.0f}"
        f"   caller {client:3.0f}   not 200: {wrong}"
    )

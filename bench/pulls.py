"""Pulls beside a bare Flask "hello": the same server, workers and threads, in turns, so that a load hits both.

Proofs are made before the clock runs.  The caller takes a part of the same cores; its share is printed, and with it
what a request costs the servers, which says more than a rate on a machine that others use.
"""

from __future__ import annotations

import itertools
import os
import time
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg

from bench import load
from bench.ground import free_port, wait_for_port
from bench.load import percentile
from portal import db
from portal.app import create_app
from tests.sync.caller import Caller

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.ground import Ground
    from tests.sync.cast import Firm, Shared, World

WORKERS, THREADS = 2, 4
CONNECTIONS = 16
ROUNDS, SECONDS = 7, 3.0
GOAL = 0.08
_PEOPLE = 100
_WARMING = 600
# More than any round can use.
_PROOFS = 5000
_HELLO = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Turn(NamedTuple):
    """One round, and the CPU that each request of it took, in microseconds."""

    round: load.Round
    server: float
    postgres: float
    client: float


def measure(here: Ground, world: World, firm: Firm) -> None:
    """Start both servers, let them take turns, and print what came of it."""
    people = [world.share(world.person(), firm) for _ in range(_PEOPLE)]
    # What autovacuum does within a minute: plans are made for tables with rows in them.
    with psycopg.connect(here.postgres.url("portal_owner"), autocommit=True) as owner:
        owner.execute("ANALYZE")
    caller = Caller(create_app(here.settings).test_client(), world, firm)
    statements = _statements(caller, people[0])
    ports = {"hello": free_port(), "portal": here.port}
    threads = (str(WORKERS), str(THREADS))
    here.start("hello", "-m", "bench.hello", str(ports["hello"]), *threads)
    serve = ("serve", "--port", str(here.port), "--workers", threads[0], "--blocking-threads", threads[1])
    here.start("portal", "-m", "portal", *serve)
    for port in ports.values():
        wait_for_port(port)
    floors, pulls = _turns(here, ports, caller, people)
    _print(floors, pulls, statements)


def _turns(
    here: Ground, ports: dict[str, int], caller: Caller, people: Sequence[Shared]
) -> tuple[list[Turn], list[Turn]]:
    _turn(here, "hello", ports["hello"], itertools.repeat(_HELLO, _WARMING))
    _turn(here, "portal", ports["portal"], _requests(caller, people, _WARMING))
    floors, pulls = [], []
    for _ in range(ROUNDS):
        prepared = list(_requests(caller, people, _PROOFS))
        floors.append(_turn(here, "hello", ports["hello"], itertools.repeat(_HELLO)))
        pulls.append(_turn(here, "portal", ports["portal"], iter(prepared)))
    return floors, pulls


def _turn(here: Ground, name: str, port: int, requests: Iterator[bytes]) -> Turn:
    before = here.cpu(name), here.cpu("postgres"), time.process_time()
    done = load.run(port, requests, connections=CONNECTIONS, seconds=SECONDS)
    after = here.cpu(name), here.cpu("postgres"), time.process_time()
    count = len(done.milliseconds)
    return Turn(done, *((late - early) / count * 1e6 for early, late in zip(before, after, strict=True)))


def _print(floors: list[Turn], pulls: list[Turn], statements: int) -> None:
    ratios = [pull.round.rate / floor.round.rate for floor, pull in zip(floors, pulls, strict=True)]
    costs = [_cost(floor) / _cost(pull) for floor, pull in zip(floors, pulls, strict=True)]
    print(
        f"\npull with DPoP beside hello on granian, {WORKERS} workers of {THREADS} threads, {CONNECTIONS} connections,"
        f"\n  median of {len(ratios)} rounds of {SECONDS:.0f} s in turns, {_PEOPLE} people"
        f" (load average {os.getloadavg()[0]:.1f})"
    )
    _say("hello", floors)
    _say("pull", pulls)
    print(
        f"  ratio of rates {median(ratios):.3f} (goal >= {GOAL})   rounds {' '.join(f'{each:.3f}' for each in ratios)}"
    )
    print(f"  ratio of CPU   {median(costs):.3f}   hello's CPU for each pull's: server, PostgreSQL and caller together")
    wrong = sum(pull.round.wrong for pull in pulls)
    print(f"  queries a pull {statements}   round trips a pull {statements}   answers that were not 200: {wrong}")


def _say(name: str, turns: list[Turn]) -> None:
    times = [each for turn in turns for each in turn.round.milliseconds]
    server, postgres, client = (median(part) for part in zip(*(turn[1:] for turn in turns), strict=True))
    print(
        f"  {name:6} {median(turn.round.rate for turn in turns):7.0f}/s   p50 {percentile(times, 50):5.1f} ms"
        f"   p99 {percentile(times, 99):5.1f} ms   CPU us a request: server {server:5.0f}   PostgreSQL {postgres:4.0f}"
        f"   caller {client:3.0f}"
    )


def _cost(turn: Turn) -> float:
    return turn.server + turn.postgres + turn.client


def _statements(caller: Caller, shared: Shared) -> int:
    """Count what one pull sends to the database; each commits by itself, so each is one round trip."""
    counted: list[object] = []
    seams: tuple[tuple[Any, str], ...] = ((psycopg.Cursor, "execute"), (db.Prepared, "one"))
    kept = [getattr(owner, name) for owner, name in seams]

    def counting(sends: Any) -> Any:  # noqa: ANN401 - the signature of either
        def send(*arguments: Any, **more: Any) -> Any:  # noqa: ANN401 - as above
            counted.append(arguments)
            return sends(*arguments, **more)

        return send

    caller.get(f"/api/v1/people/{shared.sub}")
    for (owner, name), sends in zip(seams, kept, strict=True):
        setattr(owner, name, counting(sends))
    caller.get(f"/api/v1/people/{shared.sub}")
    for (owner, name), sends in zip(seams, kept, strict=True):
        setattr(owner, name, sends)
    return len(counted)


def _requests(caller: Caller, people: Sequence[Shared], count: int) -> Iterator[bytes]:
    for shared in itertools.islice(itertools.cycle(people), count):
        path = f"/api/v1/people/{shared.sub}"
        headers = {"Host": "localhost"} | caller.headers("GET", path)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        yield f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode()

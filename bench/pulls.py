"""Pulls beside a bare Flask "hello": the same server, workers and threads, in turns, so that a load hits both.

Proofs are made before the clock runs.  The caller takes a part of the same cores; its share is printed, and with it
what a request costs the servers, which says more than a rate on a machine that others use.
"""

from __future__ import annotations

import itertools
import os
from statistics import median
from typing import TYPE_CHECKING, Any

import psycopg

from bench import goals, turns
from bench.ground import free_port, wait_for_port
from bench.sinks import firm_at
from bench.turns import CONNECTIONS
from portal import db
from portal.app import create_app
from tests.sync.caller import Caller

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.ground import Ground
    from bench.turns import Turn
    from tests.sync.cast import Shared, World

WORKERS, THREADS = 2, 4
ROUNDS, SECONDS = 7, 3.0
_PEOPLE = 100
_NOWHERE = "127.0.0.1:9"
_WARMING = 600
# More than any round can use.
_PROOFS = 5000
_HELLO = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


def measure(here: Ground, world: World) -> None:
    """Start both servers, let them take turns, and print what came of it."""
    # Nobody pushes any more, so nothing is ever sent to this endpoint.
    firm = firm_at(world, _NOWHERE)
    people = [world.share(world.person(), firm) for _ in range(_PEOPLE)]
    here.analyze()
    caller = Caller(create_app(here.settings).test_client(), world, firm)
    statements = _statements(caller, people[0])
    ports = {"hello": free_port(), "portal": here.port}
    here.start("hello", "-m", "bench.hello", str(ports["hello"]), str(WORKERS), str(THREADS))
    wait_for_port(ports["hello"])
    serve(here)
    floors, pulls = _turns(here, ports, caller, people)
    _print(floors, pulls, statements)


def serve(here: Ground) -> None:
    """Start the portal and wait until it answers."""
    shape = ("--workers", str(WORKERS), "--blocking-threads", str(THREADS))
    here.start("portal", "-m", "portal", "serve", "--port", str(here.port), *shape)
    wait_for_port(here.port)


def _turns(
    here: Ground, ports: dict[str, int], caller: Caller, people: Sequence[Shared]
) -> tuple[list[Turn], list[Turn]]:
    turns.take(here, "hello", ports["hello"], itertools.repeat(_HELLO, _WARMING), SECONDS)
    turns.take(here, "portal", ports["portal"], requests(caller, people, _WARMING), SECONDS)
    floors, pulls = [], []
    for _ in range(ROUNDS):
        prepared = list(requests(caller, people, _PROOFS))
        floors.append(turns.take(here, "hello", ports["hello"], itertools.repeat(_HELLO), SECONDS))
        pulls.append(turns.take(here, "portal", ports["portal"], iter(prepared), SECONDS))
    return floors, pulls


def _print(floors: list[Turn], pulls: list[Turn], statements: int) -> None:
    ratios = [pull.round.rate / floor.round.rate for floor, pull in zip(floors, pulls, strict=True)]
    costs = [floor.everything / pull.everything for floor, pull in zip(floors, pulls, strict=True)]
    print(
        f"\npull with DPoP beside hello on granian, {WORKERS} workers of {THREADS} threads, {CONNECTIONS} connections,"
        f"\n  median of {len(ratios)} rounds of {SECONDS:.0f} s in turns, {_PEOPLE} people"
        f" (load average {os.getloadavg()[0]:.1f})"
    )
    turns.say("hello", floors)
    turns.say("pull", pulls)
    print(f"  ratio of rates {median(ratios):.3f}   rounds {' '.join(f'{each:.3f}' for each in ratios)}")
    print(f"  ratio of CPU   {median(costs):.3f}   hello's CPU for each pull's: server, PostgreSQL and caller together")
    print(f"  queries a pull {statements}   round trips a pull {statements}")
    goals.saw("pull", median(ratios))
    goals.saw("G3 trips", statements)


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


def requests(caller: Caller, people: Sequence[Shared], count: int) -> Iterator[bytes]:
    for shared in itertools.islice(itertools.cycle(people), count):
        path = f"/api/v1/people/{shared.sub}"
        headers = {"Host": "localhost"} | caller.headers("GET", path)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        yield f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode()

"""`make bench`: what an edit and a pull cost on this machine, beside the floor, in one run.

Everything is real: PostgreSQL with fsync, Valkey, a worker, granian, HTTP on loopback.  The receivers and the
caller run on the same cores, so these are figures of a machine that does everything at once.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import psycopg
from joserfc.jwk import ECKey

from bench import load
from bench.ground import Arrivals, Ground, free_port, ground, wait_for_port
from bench.load import percentile
from portal import db, queue
from portal.app import create_app
from portal.sync import services
from portal.vault import keyring
from tests.sync import cast
from tests.sync.caller import Caller
from tests.sync.receiver import new_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.sync.cast import Firm, Shared, World

EDITS = {1: 60, 20: 30, 100: 20}
WORKERS, THREADS = 2, 4
CONNECTIONS = 16
ROUNDS, SECONDS = 5, 3.0
PROOFS = 6000


@dataclass
class Port:
    """Stands where a test has a receiver: a port of the sink, and a key whose private part nobody needs."""

    port: int
    key: ECKey

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/events"


def main() -> None:
    with ground() as here:
        world = cast.World(here.settings, keyring.load(here.settings.keyring_file))
        sink = here.start("sink", "-m", "bench.sink", str(max(EDITS)), pipe=True)
        ports = json.loads((sink.stdout or sys.stdin).readline())
        for port in ports:
            cast.allow(f"127.0.0.1:{port}")
        firms = [_firm(world, port) for port in ports]
        here.start("worker push", "-m", "portal", "worker", "--queue", queue.FAST)
        here.start("worker slow", "-m", "portal", "worker", "--queue", queue.SLOW)
        here.start("reconciler", "-m", "portal", "reconciler")
        print("save -> received, milliseconds from before the transaction to the last byte at the receiver")
        arrivals = Arrivals(sink)
        for subscribers, edits in EDITS.items():
            _freshness(here, world, arrivals, firms[:subscribers], edits)
        shared = world.share(world.person(), firms[0])
        _pulls(here, world, firms[0], shared)
        print("\nresident memory, MB (parent, then children)")
        for name, sizes in here.memory().items():
            print(f"  {name:14} {sum(sizes):5}   {sizes}")


def _firm(world: World, port: int) -> Firm:
    def make(session: Any) -> Firm:  # noqa: ANN401 - a session
        signs = ECKey.generate_key("P-256", {"kid": "sig-1", "use": "sig"})
        firm = cast.register(session, signs, Port(port, new_key()), "kept-up-to-date")
        endpoint = services.register_endpoint(session, client_id=firm.client_id, url=firm.receiver.url, now=db.now())
        endpoint.state, endpoint.verified_at = "enabled", db.now()
        return firm

    made: Firm = world.transact(make)
    return made


def _freshness(here: Ground, world: World, arrivals: Arrivals, firms: list[Firm], edits: int) -> None:
    person_id = world.person()
    before = arrivals.count()
    for firm in firms:
        world.share(person_id, firm)
    arrivals.wait(before + len(firms), 60)
    times: list[float] = []
    saves: list[float] = []
    commands = 0
    for number in range(-3, edits):
        seen, asked = arrivals.count(), _commands(here)
        marks = {firm.receiver.port: len(arrivals.at[firm.receiver.port]) for firm in firms}
        started = time.monotonic()
        world.save(person_id, email__main=f"edit{number}@example.org")
        saved = time.monotonic()
        arrivals.wait(seen + len(firms), 30)
        time.sleep(0.15)
        if number >= 0:
            saves.append((saved - started) * 1000)
            commands += _commands(here) - asked
            times += [(arrivals.at[port][mark] - started) * 1000 for port, mark in marks.items()]
    p50, p95, p99 = (percentile(times, percent) for percent in (50, 95, 99))
    print(
        f"  {len(firms):4} subscribers   p50 {p50:7.1f}   p95 {p95:7.1f}   p99 {p99:7.1f}   max {max(times):7.1f}"
        f"   save itself {median(saves):5.1f}   Valkey commands a push {commands / edits / len(firms):6.2f}"
    )


def _commands(here: Ground) -> int:
    info: dict[str, Any] = queue.connection(here.settings.redis_url).info("stats")
    return int(info["total_commands_processed"])


def _pulls(here: Ground, world: World, firm: Firm, shared: Shared) -> None:
    flask = create_app(here.settings).test_client()
    caller = Caller(flask, world, firm)
    statements = _statements(caller, shared)
    hello = free_port()
    here.start("hello", "-m", "bench.hello", str(hello), str(WORKERS), str(THREADS))
    serve = ("serve", "--port", str(here.port), "--workers", str(WORKERS), "--blocking-threads", str(THREADS))
    here.start("portal", "-m", "portal", *serve)
    wait_for_port(hello)
    wait_for_port(here.port)
    asked = itertools.repeat(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    load.run(hello, asked, connections=CONNECTIONS, seconds=1)
    load.run(here.port, _requests(caller, shared, 400), connections=CONNECTIONS, seconds=1)
    floors, pulls = [], []
    for _ in range(ROUNDS):
        floors.append(load.run(hello, asked, connections=CONNECTIONS, seconds=SECONDS))
        prepared = list(_requests(caller, shared, PROOFS))
        pulls.append(load.run(here.port, iter(prepared), connections=CONNECTIONS, seconds=SECONDS))
    print(f"\npulls and hello on granian, {WORKERS} x {THREADS} threads, {CONNECTIONS} connections, interleaved")
    _say("hello", floors)
    _say("pull with DPoP", pulls)
    ratios = [pull.rate / floor.rate for pull, floor in zip(pulls, floors, strict=True)]
    print(f"  ratio          median {median(ratios):.3f}   rounds {', '.join(f'{ratio:.3f}' for ratio in ratios)}")
    print(f"  statements = round trips a pull: {statements}   answers that were not 200: {sum(r.wrong for r in pulls)}")


def _say(name: str, rounds: list[load.Round]) -> None:
    times = [each for one in rounds for each in one.milliseconds]
    rate = median(one.rate for one in rounds)
    print(f"  {name:14} {rate:7.0f}/s   p50 {percentile(times, 50):6.1f} ms   p99 {percentile(times, 99):6.1f} ms")


def _statements(caller: Caller, shared: Shared) -> int:
    counted: list[object] = []
    execute = psycopg.Cursor.execute

    def count(cursor: Any, query: Any, *rest: Any, **more: Any) -> Any:  # noqa: ANN401 - the driver's signature
        counted.append(query)
        return execute(cursor, query, *rest, **more)

    caller.get(f"/api/v1/people/{shared.sub}")
    psycopg.Cursor.execute = count  # type: ignore[assignment, method-assign]
    caller.get(f"/api/v1/people/{shared.sub}")
    psycopg.Cursor.execute = execute  # type: ignore[method-assign]
    return len(counted)


def _requests(caller: Caller, shared: Shared, count: int) -> Iterator[bytes]:
    path = f"/api/v1/people/{shared.sub}"
    for _ in range(count):
        headers = {"Host": "localhost"} | caller.headers("GET", path)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        yield f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode()


if __name__ == "__main__":
    main()

"""One edit and ten thousand subscribers, each with an address, a connection and a consent of its own."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import psycopg

from bench import goals
from bench.delivery import floors
from bench.freshness import spread
from bench.sinks import Sinks, firm_at
from portal.embedded.postgres import OWNER

if TYPE_CHECKING:
    from uuid import UUID

    from bench.ground import Ground
    from tests.sync.cast import Firm, Shared, World

SUBSCRIBERS = 10_000
EDITS = 2
WORKERS = 2
_STARTING_SECONDS = 3.0
_COPY = {
    "company": {"company_id": "id('company', i)", "slug": "'crowd-' || i", "registration_number": "'crowd-' || i"},
    "client": {"client_id": "'crowd-' || i", "company_id": "id('company', i)"},
    "client_key": {"client_id": "'crowd-' || i"},
    "purpose": {"purpose_id": "id('purpose', i)", "client_id": "'crowd-' || i"},
    "purpose_version": {"purpose_id": "id('purpose', i)"},
    "stream": {"stream_id": "id('stream', i)", "client_id": "'crowd-' || i", "url": "places[i]"},
    "subject": {"company_id": "id('company', i)", "sub": "'crowd-' || i"},
    "grant": {
        "grant_id": "id('grant', i)",
        "company_id": "id('company', i)",
        "client_id": "'crowd-' || i",
        "purpose_id": "id('purpose', i)",
    },
}
_FROM = {
    "subject": "person_id = %(person_id)s",
    "company": "company_id = %(company_id)s",
    "purpose_version": "purpose_id = %(purpose_id)s",
}


def measure(here: Ground, world: World) -> None:
    """Print how long one edit takes to reach ten thousand, and what the same requests take without anything else."""
    sinks = Sinks(here, SUBSCRIBERS + 1, processes=2)
    firm = firm_at(world, sinks.places[0], state="paused")
    shared = world.share(world.person(), firm)
    _multiply(here, firm, shared, sinks.places[1:])
    allow = here.folder / "allow"
    allow.write_text("\n".join(sinks.places))
    names = [f"worker {number + 1}" for number in range(WORKERS)]
    for name in names:
        here.start(name, "-m", "bench.worker", str(allow))
    here.start("reconciler", "-m", "portal", "reconciler")
    # Whoever runs the program has long started it when somebody edits.
    time.sleep(_STARTING_SECONDS)
    print(f"\none edit, {SUBSCRIBERS} subscribers with an address each, {WORKERS} workers, TLS 1.3")
    for number in range(EDITS):
        _edit(here, world, sinks, shared.person_id, number)
    for name in [*names, "reconciler"]:
        here.say_memory(name)
        here.stop(name)
    _floor(here, sinks)
    sinks.stop(here)


def _edit(here: Ground, world: World, sinks: Sinks, person_id: UUID, number: int) -> None:
    before = sinks.arrivals.count()
    used = {name: here.cpu(name) for name in here.processes} | {"postgres": here.cpu("postgres")}
    started = time.monotonic()
    world.save(person_id, email__main=f"crowd{number}@example.org")
    saved = time.monotonic() - started
    sinks.arrivals.wait(before + SUBSCRIBERS, 300)
    arrived = sinks.arrivals.all[before : before + SUBSCRIBERS]
    took = [(arrival.at - started) * 1000 for arrival in arrived]
    cpu = {name: (here.cpu(name) - early) / SUBSCRIBERS * 1e6 for name, early in used.items()}
    workers = sum(each for name, each in cpu.items() if name.startswith("worker"))
    print(
        f"  edit {number + 1}: saved with {SUBSCRIBERS} rows owed in one statement after {saved * 1000:.0f} ms;"
        f" received by {len({arrival.place for arrival in arrived})}, ms: {spread(took)}"
        f"\n    all attempted within {max(took) / 1000:.1f} s;"
        f" CPU us each: workers {workers:.0f}, PostgreSQL {cpu['postgres']:.0f};"
        f" load average {os.getloadavg()[0]:.1f}"
    )
    goals.saw("fan-out", saved * 1000)
    goals.saw("crowd", max(took) / 1000)


def _multiply(here: Ground, firm: Firm, shared: Shared, places: list[str]) -> None:
    """Copy a company and what one person shares with it, in SQL: ten thousand by the program take minutes."""
    which = {
        "company_id": firm.company_id, "client_id": firm.client_id, "person_id": shared.person_id,
        "purpose_id": firm.purpose_id, "places": [f"https://{place}/events" for place in places],
    }  # fmt: skip
    with psycopg.connect(here.postgres.url(OWNER), autocommit=True) as owner:
        owner.execute(
            "CREATE FUNCTION pg_temp.id(kind text, i int) RETURNS uuid LANGUAGE sql IMMUTABLE"
            " AS $$ SELECT md5(kind || i)::uuid $$"
        )
        for table, changed in _COPY.items():
            members = ", ".join(f"'{name}', {value.replace('id(', 'pg_temp.id(')}" for name, value in changed.items())
            where = _FROM.get(table, "client_id = %(client_id)s")
            owner.execute(
                f'INSERT INTO "{table}" SELECT (jsonb_populate_record(t, jsonb_build_object({members}))).*'  # noqa: S608 - constants
                f' FROM "{table}" t, generate_series(1, cardinality(%(places)s::text[])) i,'
                f" LATERAL (SELECT %(places)s::text[] AS places) p WHERE t.{where}",
                which,
            )
        owner.execute("UPDATE stream SET state = 'enabled' WHERE client_id LIKE 'crowd-%'")
        owner.execute("ANALYZE")


def _floor(here: Ground, sinks: Sinks) -> None:
    """Let two senders post as much to the same addresses, each half of them, with connections as new."""
    size = sinks.arrivals.all[-1].size
    halves = [sinks.places[1 + half :: WORKERS] for half in range(WORKERS)]
    asked = [
        {
            "urls": [f"https://{place}/events" for place in places], "rounds": 1, "bytes": size,
            "type": "application/secevent+jwt", "in_flight": 128, "allow": places,
        }
        for places in halves
    ]  # fmt: skip
    found = floors(here, asked)
    longest = max(each["seconds"] for each in found)
    cpu = sum(each["cpu"] for each in found) / SUBSCRIBERS * 1e6
    print(
        f"  the floor (same requests, same TLS, no database, no encryption): {longest:.1f} s, {cpu:.0f} us of CPU each;"
        f" {sum(each['failed'] for each in found):.0f} failed"
    )

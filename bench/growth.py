"""What a large portal costs beside a small one: buffers, log bytes and time of a pull, and what everything weighs.

Rows are copied in SQL; the people who are pulled are real, and lie among the copies.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import psycopg

from bench import goals
from bench.load import percentile
from bench.sinks import firm_at
from portal import db, queue
from portal.embedded.postgres import OWNER
from portal.oauth import protection
from portal.sync import pull_statements, pulls
from portal.sync.pulls import Question
from tests.sync.caller import Caller

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flask.testing import FlaskClient

    from bench.ground import Ground
    from tests.sync.cast import Shared, World

PEOPLE, ROWS = 200_000, 2_000_000
UNDELIVERED = 1_000_000
_REAL, _PULLS, _LOGGED = 200, 600, 2000
_COPY_PEOPLE = """
    INSERT INTO {table} SELECT (jsonb_populate_record(t, jsonb_build_object('person_id', md5('copy' || i)::uuid))).*
      FROM {table} t, generate_series(1, %(count)s) i WHERE t.person_id = %(person_id)s
"""
_COPY_GRANTS = """
    INSERT INTO "grant" SELECT (jsonb_populate_record(t, jsonb_build_object(
               'person_id', md5('copy' || i)::uuid, 'grant_id', md5('grant' || i)::uuid))).*
      FROM "grant" t, generate_series(1, %(count)s) i WHERE t.grant_id = %(grant_id)s
"""
_LOG = """
    INSERT INTO disclosure (person_id, at, disclosure_id, context_id, grant_id, grant_version, channel, outcome, asked,
                            given, message_id, sealed_to)
    SELECT md5('copy' || i %% %(people)s)::uuid, %(from)s::timestamptz + make_interval(secs => i * 0.0001),
           gen_random_uuid(), d.context_id, d.grant_id, d.grant_version, d.channel, d.outcome, d.asked, d.given,
           md5(i::text), d.sealed_to
      FROM (SELECT * FROM disclosure WHERE person_id = %(person_id)s LIMIT 1) d, generate_series(1, %(count)s) i
"""
_OWE = """
    INSERT INTO delivery SELECT (jsonb_populate_record(t, jsonb_build_object(
               'person_id', md5('owed' || i)::uuid, 'generation', t.generation + 1))).*
      FROM delivery t, generate_series(1, %(count)s) i WHERE t.person_id = %(person_id)s
"""


class Figures(NamedTuple):
    """Of one size: microseconds and buffers of a pull, log bytes of a disclosure."""

    pull: float
    buffers: int
    wal: float


def measure(here: Ground, world: World) -> None:
    """Print the figures of a small portal and of a large one, and their ratios."""
    firm = firm_at(world, "127.0.0.1:9", state="paused")
    people = [world.share(world.person(), firm) for _ in range(_REAL)]
    caller = Caller(cast("FlaskClient", None), world, firm)  # it only writes headers: nothing goes by HTTP here
    with psycopg.connect(here.postgres.url(OWNER), autocommit=True) as owner:
        owner.execute("ANALYZE")
        small = _figures(here, world, owner, caller, people)
        started = time.monotonic()
        _grow(owner, people[0])
        took = time.monotonic() - started
        large = _figures(here, world, owner, caller, people)
        sizes = _sizes(owner)
    print(
        f"\n{PEOPLE} people with {ROWS} disclosures behind them, beside {_REAL} with few ({took:.0f} s to copy)"
        f"\n  a pull in process, us: {small.pull:.0f} -> {large.pull:.0f}, ratio {large.pull / small.pull:.2f}"
        f"   buffers: {small.buffers} -> {large.buffers}"
        f"\n  log bytes a disclosure: {small.wal:.0f} -> {large.wal:.0f}, ratio {large.wal / small.wal:.2f}"
        f"\n  a disclosure with its indexes {sizes[0]:.0f} B   a person, record and key {sizes[1]:.0f} B"
    )
    goals.saw("G1", large.pull / small.pull)
    goals.saw("G2", large.wal / small.wal)
    goals.saw("G3 buffers", large.buffers)
    goals.saw("G4 row", sizes[0])
    goals.saw("G4 person", sizes[1])
    _backlog(here, world, people[0])


def _figures(here: Ground, world: World, owner: Any, caller: Caller, people: Sequence[Shared]) -> Figures:  # noqa: ANN401
    owner.execute("CHECKPOINT")
    before = _wal(owner)
    times = [_pull(here, world, caller, people[number % len(people)]) for number in range(_PULLS)]
    written = (_wal(owner) - before) / _PULLS
    # Small and large come one after the other, and a load of the machine only ever adds: the quickest tenth.
    return Figures(percentile(times, 10) * 1e6, _buffers(owner, caller, people[0]), written)


def _pull(here: Ground, world: World, caller: Caller, shared: Shared) -> float:
    """Answer one pull as the server does, without HTTP; return the seconds."""
    path = f"/api/v1/people/{shared.sub}"
    headers, now = caller.headers("GET", path), db.now()
    started = time.perf_counter()
    credentials = protection.presented(
        headers["Authorization"], headers["DPoP"], method="GET", url=caller.issuer + path, now=now
    )
    question = Question(credentials=credentials, sub=shared.sub, requested=None, held=None, now=now)
    pulls.pull(here.settings, question, keyring=world.keyring, pace=lambda _client_id: 0)
    return time.perf_counter() - started


def _buffers(owner: Any, caller: Caller, shared: Shared) -> int:  # noqa: ANN401 - a connection
    """Return how many pages the reading statement of a pull touches."""
    credentials = protection.presented(
        *caller.headers("GET", "/x").values(), method="GET", url=caller.issuer + "/x", now=db.now()
    )
    sql = pull_statements.PULL.sql
    for number, name in enumerate(pull_statements.PULL.names, 1):
        sql = sql.replace(f"${number}", f"%({name})s")
    asked = {"token_hash": credentials.token_hash, "sub": shared.sub}
    (plan,) = owner.execute("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + sql, asked).fetchone()
    return int(plan[0]["Plan"]["Shared Hit Blocks"] + plan[0]["Plan"]["Shared Read Blocks"])


def _grow(owner: Any, shared: Shared) -> None:  # noqa: ANN401 - a connection
    person = {"person_id": shared.person_id, "grant_id": shared.grant_id, "count": PEOPLE}
    for table in ("person_key", "current_record"):
        owner.execute(_COPY_PEOPLE.format(table=table), person)
    owner.execute(_COPY_GRANTS, person)
    owner.execute("SELECT open_ledger_month(now() - interval '1 month')")
    last_month = "date_trunc('month', now() - interval '1 month')"
    rows = person | {"people": PEOPLE, "count": ROWS}
    owner.execute(_LOG.replace("%(from)s::timestamptz", last_month), rows)
    owner.execute("ANALYZE")


def _wal(owner: Any) -> int:  # noqa: ANN401 - a connection
    return int(owner.execute("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn").fetchone()[0])


def _sizes(owner: Any) -> tuple[float, float]:  # noqa: ANN401 - a connection
    """Return bytes for each disclosure and for each person, with what indexes take."""
    disclosures = owner.execute("""
        SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits WHERE inhparent = 'disclosure'::regclass
    """).fetchone()[0]
    people = owner.execute(
        "SELECT pg_total_relation_size('person_key') + pg_total_relation_size('current_record')"
    ).fetchone()[0]
    return float(disclosures) / ROWS, float(people) / PEOPLE


def _backlog(here: Ground, world: World, shared: Shared) -> None:
    """Owe a million deliveries to somebody who is paused, ring for each of many edits, and weigh Valkey."""
    connection = queue.connection(here.settings.redis_url)
    before = connection.info("memory")["used_memory"]
    with psycopg.connect(here.postgres.url(OWNER), autocommit=True) as owner:
        owner.execute(_OWE, {"person_id": shared.person_id, "count": UNDELIVERED})
    for number in range(_REAL):
        world.save(shared.person_id, email__main=f"owed{number}@example.org")
    after = connection.info("memory")["used_memory"]
    print(f"  Valkey with {UNDELIVERED} undelivered: {before / 1e6:.1f} -> {after / 1e6:.1f} MB")
    goals.saw("M2", (after - before) / 1e6)

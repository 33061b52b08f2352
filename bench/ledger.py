"""What it costs to let the log grow with ten thousand, a hundred thousand and a million entries in it already.

In a database of its own on the same server.  Disclosures are made in SQL; the tree grows as the sequencer grows it,
and proofs, exports and their verification are those that people get.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

import psycopg
from sqlalchemy import text

from bench import goals, inclusion
from bench.load import percentile
from portal import db, schema
from portal.embedded.postgres import APP, OWNER
from portal.ledger import exports, published, publisher, sequencer, services, verifying
from portal.vault import log_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.ground import Ground
    from bench.inclusion import Delays
    from tests.sync.cast import World

SIZES = (10_000, 100_000, 1_000_000)
HISTORY = 10_000
# Rows of a growth that is measured, and how often: fewer than come in between two checkpoints at 500 rows a second.
_ADDED, _ROUNDS = 10_000, 8
# Rows that come in a second, and how many seconds.
_A_SECOND, _SECONDS = 100, 20
_PEOPLE, _PROOFS = 20_000, 300
_DATABASE = "bench_ledger"
_ONE = UUID("018f0000-0000-7000-8000-000000000001")
_SOMEBODY = f"md5('person' || (random() * {_PEOPLE})::int)::uuid"
_LOG = """
    INSERT INTO disclosure (person_id, at, disclosure_id, context_id, grant_id, grant_version, channel, outcome, asked,
                            given, message_id, sealed_to)
    SELECT {person}, now() + make_interval(secs => 0.0001 * i), gen_random_uuid(), %(context_id)s,
           md5('grant' || i)::uuid, 3, 'push', 'completed', '["email.main", "name.full", "address.home"]',
           '{{"email.main": 4, "name.full": 1, "address.home": 2}}', md5(i::text),
           '["enc-2026-01"]'
      FROM generate_series(1, %(count)s) i
"""
_SOME = text("""
    SELECT person_id, at, disclosure_id FROM log_entry ORDER BY md5(leaf::text) LIMIT :count
""")
_LEAF = text("""
    SELECT leaf FROM log_entry
     WHERE (person_id, at, disclosure_id, outcome, log_id) = (:person_id, :at, :disclosure_id, '', 1)
""")
_COUNTED_AT_ONCE = text("SELECT pg_stat_force_next_flush()")
_HELD = """
    SELECT (SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits WHERE inhparent = 'log_entry'::regclass),
           pg_total_relation_size('log_tile')
"""


class Growth(NamedTuple):
    """Of a row by which the log grows: seconds, those of CPU here and in PostgreSQL, and page images written."""

    took: float
    here: float
    there: float
    images: float

    @property
    def used(self) -> float:
        return self.here + self.there


class Cost(NamedTuple):
    """The first growth after a checkpoint, when a page is written whole as soon as it is touched, and the mean of those
    from there on; and milliseconds of one by the rows of a second, signed, the quickest tenth and the longest of some.
    """

    first: Growth
    mean: Growth
    second: float
    longest: float


class Shown(NamedTuple):
    """Milliseconds to make a proof that an entry is there, its bytes, and milliseconds of one of consistency."""

    made: float
    size: float
    consistent: float


class Place:
    """The log's own database, and who fills it."""

    def __init__(self, here: Ground) -> None:
        self._here, self.key_file = here, here.folder / "bench-log.key"
        self.signer = log_key.create(self.key_file, name="bench.example/log")
        with psycopg.connect(here.postgres.url(OWNER), autocommit=True) as owner:
            owner.execute(f"CREATE DATABASE {_DATABASE}")
        self.url, self._owner = (here.postgres.url(role, _DATABASE) for role in (APP, OWNER))
        schema.migrate(self._owner, app_url=self.url)
        words: dict[str, Any] = {"company_id": _ONE, "client_id": "live_bench", "company_name": "Bench"}
        with db.transaction(self.url) as session:
            self.context_id = services.context(session, **words, purpose="send bills to the right address")

    def fill(self, count: int, *, person: str = _SOMEBODY) -> None:
        """Have `count` disclosures more, by one transaction."""
        with psycopg.connect(self._owner, autocommit=True) as owner:
            owner.execute(_LOG.format(person=person), {"context_id": self.context_id, "count": count})

    def settle(self) -> None:
        """Do what autovacuum does within a minute or so."""
        with psycopg.connect(self._owner, autocommit=True) as owner:
            owner.execute("VACUUM ANALYZE")
            owner.execute("CHECKPOINT")

    def grow(self) -> int:
        """Let the log grow and sign it; return its size."""
        with db.sessions(self.url).begin() as session:
            size = sequencer.grow(session, origin=self.signer.name, now=db.now())
            session.execute(_COUNTED_AT_ONCE)
        with db.transaction(self.url) as session:
            publisher.publish(session, signer=self.signer, head=Path(f"{self.key_file}.head"), now=db.now())
        return size or 0

    def images(self) -> int:
        """Return how many pages PostgreSQL has written whole, because a checkpoint came before."""
        with psycopg.connect(self._owner) as owner:
            (count,) = owner.execute("SELECT wal_fpi FROM pg_stat_wal").fetchone() or (0,)
        return int(count)

    def bytes_a_leaf(self, size: int) -> tuple[float, float]:
        """Return what an entry takes of the table of entries with its index, and of the tiles."""
        with psycopg.connect(self._owner) as owner:
            entries, tree_itself = owner.execute(_HELD).fetchone() or (0, 0)
        return float(entries) / size, float(tree_itself) / size

    def close(self) -> None:
        db.engine(self.url).dispose()
        with psycopg.connect(self._here.postgres.url(OWNER), autocommit=True) as owner:
            owner.execute(f"DROP DATABASE {_DATABASE} WITH (FORCE)")


def measure(here: Ground, world: World) -> None:  # noqa: ARG001 - this part has a database of its own, without people
    """Print the figures of each size side by side, and then what the largest log costs those who check it."""
    place = Place(here)
    try:
        costs = [_grown_to(here, place, size) for size in SIZES]
        _print_growth(costs, place)
        _print_checks(_shown(place), _verified(place))
        _print_delays(inclusion.measure(here, place.url, place.context_id, place.key_file))
    finally:
        place.close()


def _grown_to(here: Ground, place: Place, size: int) -> Cost:
    """Fill the log up to `size`, and return what it costs to go on from there."""
    place.fill(size - place.grow())
    place.grow()
    place.settle()
    rounds = [_growth(here, place, _ADDED) for _ in range(_ROUNDS)]
    # What the machine does besides only ever adds: of those the quickest tenth.
    seconds = [_growth(here, place, _A_SECOND).took * _A_SECOND * 1000 for _ in range(_SECONDS)]
    mean = Growth(*map(statistics.fmean, zip(*rounds, strict=True)))
    return Cost(rounds[0], mean, percentile(seconds, 10), max(seconds))


def _growth(here: Ground, place: Place, count: int) -> Growth:
    place.fill(count)
    before = time.perf_counter(), time.process_time(), here.cpu("postgres"), place.images()
    place.grow()
    after = time.perf_counter(), time.process_time(), here.cpu("postgres"), place.images()
    return Growth(*((late - early) / count for early, late in zip(before, after, strict=True)))


def _shown(place: Place) -> Shown:
    """Make proofs as a page does that is asked for them, and as a witness is shown that the log has only grown."""
    with db.transaction(place.url) as session:
        some = session.execute(_SOME, {"count": _PROOFS}).all()
        made, sizes, between = [], [], []
        for row in some:
            started = time.perf_counter()
            log = published.newest(session)
            assert log  # noqa: S101 - it was signed a moment ago
            proof = published.proof(session, log, index=session.execute(_LEAF, row._asdict()).scalar_one())
            made.append(_milliseconds(started))
            sizes.append(float(len(str(proof).encode())))
            started = time.perf_counter()
            published.consistency(session, log, first=proof.index + 1)
            between.append(_milliseconds(started))
    # What the machine does besides only ever adds: the quickest tenth.
    return Shown(percentile(made, 10), percentile(sizes, 50), percentile(between, 10))


def _verified(place: Place) -> tuple[float, float]:
    """Return the seconds in which a person's whole history is exported, and checked by who has the file alone."""
    place.fill(HISTORY, person=f"'{_ONE}'::uuid")
    place.grow()
    started = time.perf_counter()
    with db.transaction(place.url) as session:
        exported = exports.export(session, person_id=_ONE, verifier=place.signer.verifier()) or {}
    exporting, started = _milliseconds(started), time.perf_counter()
    found = verifying.verify(exported, known=place.signer.verifier())
    checking = _milliseconds(started)
    if found.wrong or found.entries != HISTORY:
        raise RuntimeError(found.wrong[:1])
    return exporting / 1000, checking / 1000


def _milliseconds(started: float) -> float:
    return (time.perf_counter() - started) * 1000


def _print_growth(costs: Sequence[Cost], place: Place) -> None:
    size = place.grow()
    print(
        f"\nthe log, growing by {_ADDED} rows at once ({_ROUNDS} times), and by {_A_SECOND} as in a second ({_SECONDS})"
    )
    for held, cost in zip(SIZES, costs, strict=True):
        print(f"  with {held:9} in it: a second's rows {cost.second:5.1f} ms, at most {cost.longest:5.1f}")
        for words, each in (("right after a checkpoint", cost.first), ("the mean from there on", cost.mean)):
            print(
                f"    {words:24} {1 / each.took:7.0f} rows/s   CPU a row {each.here * 1e6:4.0f} us here,"
                f" {each.there * 1e6:4.0f} us in PostgreSQL   pages written whole {each.images:.2f} a row"
            )
    row, first, second = (
        _beside([each.mean.used for each in costs]),
        _beside([each.first.used for each in costs]),
        _beside([each.second for each in costs]),
    )
    print(
        f"  beside {SIZES[0]}: CPU a row x {_listed(row)}, right after a checkpoint x {_listed(first)}"
        f"   a second's rows x {_listed(second)}"
    )
    entries, tree_itself = place.bytes_a_leaf(size)
    print(f"  an entry takes {entries:.0f} B in the table of entries and {tree_itself:.1f} B in the tree")
    goals.saw("L1 row", row[-1])
    goals.saw("L1 second", second[-1])
    goals.saw("L2", 1 / costs[-1].mean.took)


def _beside(figures: Sequence[float]) -> list[float]:
    return [each / figures[0] for each in figures[1:]]


def _print_checks(shown: Shown, verified: tuple[float, float]) -> None:
    exporting, checking = verified
    print(
        f"  a proof is made in {shown.made:.2f} ms and has {shown.size:.0f} B, one of consistency in"
        f" {shown.consistent:.2f} ms   {HISTORY} entries of a person exported in {exporting:.2f} s,"
        f" checked in {checking:.2f} s"
    )
    goals.saw("L3 made", shown.made)
    goals.saw("L3 size", shown.size)
    goals.saw("L4", checking)


def _print_delays(delays: Delays) -> None:
    print(
        f"  {delays.rows} rows at {inclusion.RATE} a second, from commit to signature: p50 {delays.middle:.2f} s,"
        f" p99 {delays.late:.2f} s, at most {delays.longest:.2f} s"
    )
    goals.saw("L5", delays.late)


def _listed(ratios: Sequence[float]) -> str:
    return ", ".join(f"{each:.2f}" for each in ratios)

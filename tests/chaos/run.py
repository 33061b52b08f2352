"""Chaos: everything that can break is broken while people edit, and then the receivers' journals are read.

`python tests/chaos/run.py --seed 1 --minutes 10` prints what was done, what came of it, and the memory of each
process; it ends with 1 when anything was lost, late, backwards or unlogged.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

sys.path.insert(0, str(Path(__file__).parents[2]))

from joserfc.jwk import ECKey
from sqlalchemy import text, update
from sqlalchemy.exc import SQLAlchemyError

from portal import db
from portal.ledger import published
from portal.sync import jobs, reconciliation, services
from portal.sync.models import Stream
from portal.vault import keyring
from tests.chaos import verdict
from tests.chaos.actors import Actors
from tests.chaos.pollers import Poller
from tests.chaos.site import Site, site
from tests.sync import cast
from tests.sync.receiver import new_key
from tests.timing import until

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.chaos.verdict import Verdict
    from tests.sync.cast import Firm

FIRMS, PEOPLE = 12, 60
POLLING = (0, 3)
SENDERS = ("push 1", "push 2")
_CALM_SECONDS = 90.0
# As many requests as come between two strikes on a machine at rest.
_BETWEEN = 25
_STILL_OWED = text("""
    SELECT count(*) FROM delivery d JOIN stream s ON s.client_id = d.client_id
     WHERE d.generation > d.acked_generation AND s.state = 'enabled'
""")
# What would come by itself in minutes or hours comes now; nothing else is changed.
_TIME_PASSES = text("UPDATE delivery SET due_at = clock_timestamp() WHERE due_at > clock_timestamp()")
_HANDED_OUT_LONG_AGO = text("""
    UPDATE delivery d SET leased_until = clock_timestamp() FROM stream s
     WHERE s.client_id = d.client_id AND s.method = 'poll' AND d.leased_until < clock_timestamp() + interval '110 s'
""")
_CIRCUITS_TOO = text("""
    UPDATE stream SET circuit_until = LEAST(circuit_until, clock_timestamp())
""")
_HELD = text("SELECT person_id, grant_id FROM delivery WHERE held")


@dataclass
class Address:
    """Stands where a test has a receiver: a port of the receivers' process, and the key that opens its messages."""

    port: int
    key: ECKey

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/events"


@dataclass
class Chaos:
    """Breaks things by chance; `hung` are the moments between which a sender stood still."""

    here: Site
    chance: random.Random
    done: Counter[str] = field(default_factory=Counter)
    hung: list[tuple[float, float]] = field(default_factory=list)

    def strike(self) -> None:
        acts = self._acts()
        (act,) = self.chance.choices(list(acts.values()), [share for share, _ in acts.values()])
        act[1]()

    def _acts(self) -> dict[str, tuple[float, Callable[[], None]]]:
        return {
            "sender": (34, lambda: self._kill(self.chance.choice(SENDERS))),
            "both senders": (8, lambda: self._kill(*SENDERS)),
            "work": (3, lambda: self._kill("work")),
            "serve": (5, lambda: self._kill("serve")),
            "reconciler": (10, lambda: self._kill("reconciler")),
            "sequencer": (10, lambda: self._kill("sequencer")),
            "hang": (12, self._hang),
            "postgres": (8, lambda: self._count("postgres killed", self.here.kill_postgres)),
            "valkey": (8, lambda: self._count("valkey killed", self.here.kill_valkey)),
            "flush": (8, lambda: self._count("valkey emptied", self.here.empty_valkey)),
            "freeze": (7, lambda: self._count("valkey read-only", lambda: self.here.freeze_valkey(2))),
        }

    def _kill(self, *names: str) -> None:
        for name in names:
            self._count(f"{name} killed", partial(self.here.kill, name))

    def _hang(self) -> None:
        name, seconds = self.chance.choice(SENDERS), self.chance.uniform(0.5, 5)
        now = time.monotonic()
        self.hung.append((now, now + seconds))
        self._count(f"{name} stopped for a while", lambda: self.here.hang(name, seconds))

    def _count(self, words: str, act: Callable[[], None]) -> None:
        self.done[words] += 1
        act()


@dataclass
class Run:
    """One run: `seconds` of chaos, then calm, then the verdict."""

    here: Site
    seed: int
    seconds: float
    sizes: list[dict[str, tuple[int, float]]] = field(default_factory=list)
    sent_again: set[str] = field(default_factory=set)
    arrived: int = 0

    def __post_init__(self) -> None:
        self.world = cast.World(self.here.settings, keyring.load(self.here.settings.keyring_file))
        self.journal = self.here.folder / "journal"
        self.receivers = self._receivers()
        ports = json.loads((self.receivers.stdout or sys.stdin).readline())
        self.firms = [self._firm(number, port) for number, port in enumerate(ports)]
        self.actors = Actors(self.world, self.firms, self.seed)
        self.pollers = [
            Poller(self.here, self.world, self.firms[number], self.journal, self.seed + number) for number in POLLING
        ]
        self.chaos = Chaos(self.here, random.Random(self.seed))

    def go(self) -> Verdict:
        """Do it all, and return the verdict."""
        self.actors.settle(PEOPLE)
        self.here.start()
        self.actors.start()
        for poller in self.pollers:
            poller.start()
        ends = time.monotonic() + self.seconds
        while time.monotonic() < ends:
            # Chance, not a wait for anything.
            time.sleep(self.chaos.chance.uniform(0.7, 2.5))
            self._let_some_arrive(ends)
            self.chaos.strike()
            self.sizes.append(self.here.memory())
        self.actors.end()
        self._order("calm")
        for poller in self.pollers:
            poller.calm = True
        self.drained_after = self._drain()
        # Before doubts are settled: who may believe what is over is told again then, and rightly under another id.
        seen = verdict.arrivals(self.world, self.journal, self.firms)
        self._settle()
        self._look_at_the_log()
        return verdict.judge(
            self.world, self.actors, seen, self.chaos.hung, sent_again=self.sent_again, minutes=self.seconds / 60
        )  # fmt: skip

    def _let_some_arrive(self, ends: float) -> None:
        """Break things as often for each message on a machine that is busy as on one at rest."""
        while (count := self.journal.read_bytes().count(b"\n")) < self.arrived + _BETWEEN and time.monotonic() < ends:
            time.sleep(0.05)
        self.arrived = count

    def close(self) -> None:
        self.receivers.kill()
        self.receivers.wait()
        for poller in self.pollers:
            poller.end()

    def _receivers(self) -> subprocess.Popen[str]:
        self.journal.touch()
        program = Path(__file__).with_name("receivers.py")
        return subprocess.Popen(
            [sys.executable, str(program), str(self.seed), str(self.journal), str(FIRMS)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def _firm(self, number: int, port: int) -> Firm:
        def make(session: Any) -> Firm:  # noqa: ANN401 - a session
            signs = ECKey.generate_key("P-256", {"kid": "sig-1", "use": "sig"})
            firm = cast.register(session, signs, Address(port, new_key()), "kept-up-to-date")
            services.enable_endpoint(session, client_id=firm.client_id, url=firm.receiver.url, now=db.now())
            # A third take several messages in one request; a third have the consent held until they have answered;
            # some fetch.
            told: dict[str, Any] = {"batch": 20 if number % 3 == 1 else 1}
            if number in POLLING:
                told = {"method": "poll", "url": None}
            session.execute(update(Stream).where(Stream.client_id == firm.client_id).values(**told))
            return firm

        cast.allow(f"127.0.0.1:{port}")
        firm: Firm = self.world.transact(make)
        if number % 3 == 2:
            self.world.make_strict(firm)
        return firm

    def _order(self, order: str) -> None:
        if self.receivers.stdin is not None:
            self.receivers.stdin.write(order + "\n")
            self.receivers.stdin.flush()

    def _drain(self) -> float:
        """Wait until nothing is owed; return how many seconds that took, or infinity."""
        started = time.monotonic()
        while time.monotonic() - started < _CALM_SECONDS:
            try:
                if not self.world.transact(self._still_owed):
                    return time.monotonic() - started
            except SQLAlchemyError:
                self.actors.retried += 1
            # The workers need the processor more than who looks at them.
            time.sleep(0.5)
        return float("inf")

    def _still_owed(self, session: Any) -> int:  # noqa: ANN401 - a session
        for person_id, grant_id in session.execute(_HELD).all():
            # What staff do once they have mended what refused it: the same comes anew, under an id of its own.
            services.send_again(session, person_id=person_id, grant_id=grant_id)
            self.sent_again.add(str(grant_id))
        session.execute(_TIME_PASSES)
        session.execute(_HANDED_OUT_LONG_AGO)
        session.execute(_CIRCUITS_TOO)
        owed: int = session.scalar(_STILL_OWED)
        return owed

    def _settle(self) -> None:
        """Let what a dead worker could not say, and what nobody acknowledged, be settled as it is an hour later."""
        later = db.now() + timedelta(hours=1)
        self.world.transact(lambda session: jobs.settle_stale(session, later))

    def _look_at_the_log(self) -> None:
        """Let the night come once nothing is under way, and all of it is in the log."""
        # What was settled may be owed again, and the night comes an hour early: it would take it for forgotten.
        self._drain()
        began = db.now()
        until(lambda: self._signed_at() > began, _CALM_SECONDS, what="the log did not grow")
        self.world.transact(lambda session: reconciliation.begin(session, now=db.now() + timedelta(hours=1)))
        self.night = reconciliation.run(self.here.settings.database_url)

    def _signed_at(self) -> datetime:
        log = self.world.transact(published.newest)
        return log.grown_at if log and log.grown == log.checkpoint.size else datetime.min.replace(tzinfo=UTC)


def once(seed: int, seconds: float) -> list[str]:
    """Run chaos with `seed`, print the report, and return in words what went wrong."""
    with site() as here:
        run = Run(here, seed, seconds)
        try:
            found = run.go()
        finally:
            run.close()
        _report(run, found)
        wrong = found.wrong
        wrong += reconciliation.said(run.night)
        if run.drained_after == float("inf"):
            wrong.append("the backlog did not drain")
        return wrong


def _report(run: Run, found: Verdict) -> None:
    acts = ", ".join(f"{words} {count}" for words, count in sorted(run.chaos.done.items()))
    print(f"seed {run.seed}, {run.seconds:.0f} s: {acts}")
    print(f"  {run.actors.edits} edits, {run.actors.retried} steps tried again; answers {dict(found.ways)}")
    print(
        f"  received {found.received}: unlogged {found.unlogged}, backwards {found.backwards}, duplicates "
        f"{found.duplicates} ({len(found.under_another_id)} under another id), open rows {found.open_rows}"
    )
    for words in found.under_another_id:
        print(f"  under another id: {words}")
    if found.again:
        print(f"  those had been answered so: {dict(found.again)}; the portal says: {found.said_of_them}")
    print(f"  live subscribers {found.subscribers}: stale {found.stale}; drained {run.drained_after:.1f} s after calm")
    print(f"  pollers refused or cut off {sum(poller.refused for poller in run.pollers)} times")
    print(
        f"  stops {found.stops}: started after one {found.after_a_stop}, had set out {found.in_flight_at_a_stop}"
        f" (the latest {found.latest:.2f} s)"
    )
    print(f"  the night looked at {', '.join(f'{count} {name}' for name, count in run.night.counts.items() if count)}")
    for name in run.sizes[-1] if run.sizes else ():
        longest, lives = _longest_life([each[name] for each in run.sizes if name in each])
        # Warm after a quarter of it.
        warm, middle, last = (longest[(len(longest) - 1) * place // 4] for place in (1, 2, 4)) if longest else (0, 0, 0)
        growth = (last / warm - 1) * 100 if warm else 0
        print(
            f"  memory of {name}, MB, in the longest of {lives} lives ({len(longest)} looks): {warm:.0f}, {middle:.0f},"
            f" {last:.0f}, growth {growth:+.1f} %"
        )


def _longest_life(looks: Sequence[tuple[int, float]]) -> tuple[list[float], int]:
    """Return what the process of a name weighed at each look while it lived longest, and how many there were."""
    lives: dict[int, list[float]] = {}
    for pid, size in looks:
        if size:
            lives.setdefault(pid, []).append(size)
    return max(lives.values(), key=len, default=[]), len(lives)


@click.command()
@click.option("--seed", default=1, show_default=True)
@click.option("--minutes", default=1.0, show_default=True)
def main(seed: int, minutes: float) -> None:
    """Break everything for MINUTES and say what came of it."""
    wrong = once(seed, minutes * 60)
    for words in wrong:
        print(f"WRONG: {words}")
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()

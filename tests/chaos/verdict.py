"""What the receivers' own journals say about a run: nothing unlogged, stale, too late, backwards, or twice."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from tests.sync import receiver

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from joserfc.jwk import ECKey

    from tests.chaos.actors import Actors, Stopped
    from tests.sync.cast import Firm, Shared, World
    from tests.sync.receiver import Message

# A receiver that took a message and answered so has accepted it, whatever became of its answer.
TOOK = frozenset({"202", "pause", "interim", "cut", "half", "silence", "drip", "endless", "poll"})
MOST_DUPLICATES = 0.01
# Messages a minute, at the least, on a machine with nothing else to do.
AT_REST = 1000
# Between the last look at a consent and the first byte there is no time on an idle machine; this one is not idle.
_LATE_SECONDS = 1.0
_LOGGED = text("SELECT message_id FROM disclosure WHERE message_id = ANY(:ids)")
_SENDING = text("""
    SELECT count(*) FROM disclosure d WHERE d.outcome = 'sending'
       AND NOT EXISTS (SELECT 1 FROM disclosure_outcome o WHERE o.disclosure_id = d.disclosure_id)
""")
_SAID = text("""
    SELECT detail, count(*) AS tries FROM attempt WHERE jti = ANY(:ids) AND outcome <> 'completed' GROUP BY detail
""")
_ONLY_COMPLETED = text("""
    SELECT count(*) FROM (SELECT FROM attempt WHERE jti = ANY(:ids) GROUP BY jti HAVING bool_and(outcome = 'completed'))
""")
_UNDER = text("SELECT jti, max(grant_version) AS version FROM attempt WHERE jti = ANY(:ids) GROUP BY jti")
_CURRENT = text("SELECT entries FROM current_record WHERE person_id = :person_id")


@dataclass(frozen=True)
class Arrival:
    """One message in a journal: at which firm, when its first byte came, and how it was answered."""

    firm: Firm
    at: float
    way: str
    message: Message


@dataclass
class Verdict:
    """The numbers of a run; `wrong` says in words what must not be."""

    received: int = 0
    unlogged: int = 0
    subscribers: int = 0
    stale: int = 0
    stops: int = 0
    after_a_stop: int = 0
    in_flight_at_a_stop: int = 0
    latest: float = 0.0
    backwards: int = 0
    again: Counter[str] = field(default_factory=Counter)
    said_of_them: dict[str, int] = field(default_factory=dict)
    acknowledged_before: int = 0
    minutes: float = 0.0
    under_another_id: list[str] = field(default_factory=list)
    open_rows: int = 0
    ways: Counter[str] = field(default_factory=Counter)

    @property
    def duplicates(self) -> int:
        return self.again.total()

    @property
    def _most_duplicates(self) -> float:
        # What a killed sender had under way must come again.  Kills come by the clock and messages by the processor: a
        # busy machine may have as many duplicates as one at rest, not as many fewer as it has messages.
        return MOST_DUPLICATES * max(self.received, AT_REST * self.minutes)

    @property
    def wrong(self) -> list[str]:
        checks = {
            f"{self.unlogged} received but not logged": self.unlogged,
            f"{self.stale} live subscribers are stale": self.stale,
            f"{self.after_a_stop} started after a stop": self.after_a_stop,
            f"{self.backwards} versions went backwards": self.backwards,
            f"{self.duplicates} of {self.received} are duplicates": self.duplicates > self._most_duplicates,
            f"{self.acknowledged_before} came again though nothing was wrong": self.acknowledged_before,
            f"{len(self.under_another_id)} duplicates came under another id": self.under_another_id,
            f"{self.open_rows} disclosures say nothing of their end": self.open_rows,
            "nothing was received": not self.received,
            "nobody shares anything at the end": not self.subscribers,
        }
        return [words for words, bad in checks.items() if bad]


def arrivals(world: World, journal: Path, firms: Iterable[Firm]) -> list[Arrival]:
    """Return every message of a journal, verified and opened by joserfc, in the order of its first byte."""
    by_port = {firm.receiver.port: firm for firm in firms}
    keys, found = world.portal_keys(), []
    for line in journal.read_text(encoding="utf-8").splitlines():
        note = json.loads(line)
        firm = by_port[note["port"]]
        key: ECKey = firm.receiver.key
        found += [
            Arrival(firm, note["at"], note["way"], receiver.read(token, portal_keys=keys, key=key))
            for token in note["tokens"]
        ]
    return sorted(found, key=lambda arrival: arrival.at)


def judge(
    world: World,
    actors: Actors,
    seen: Sequence[Arrival],
    hung: Sequence[tuple[float, float]],
    *,
    sent_again: Collection[str],
    minutes: float,
) -> Verdict:
    """Hold every invariant against what was received.

    `hung` are the moments between which a sender stood still, `sent_again` the consents for which staff asked for
    everything anew, `minutes` how long it went on.
    """
    verdict = Verdict(received=len(seen), stops=len(actors.stopped), minutes=minutes)
    verdict.ways = Counter(each.way for each in seen)
    verdict.unlogged = _unlogged(world, seen)
    verdict.subscribers = len(actors.live)
    verdict.stale = sum(_is_stale(world, shared, firm, seen) for shared, firm in actors.live)
    for stopped in actors.stopped:
        _judge_stop(verdict, stopped, seen, hung)
    verdict.backwards = _backwards(seen)
    again, elsewhere = _twice(seen, sent_again)
    verdict.under_another_id = _under_one_version(world, elsewhere)
    verdict.again = Counter(way for _jti, way in again)
    ids = {jti for jti, _way in again}
    verdict.said_of_them = _said(world, ids)
    values = {"ids": list(ids)}
    verdict.acknowledged_before = world.transact(lambda session: session.scalar(_ONLY_COMPLETED, values))
    verdict.open_rows = world.transact(lambda session: session.scalar(_SENDING))
    return verdict


def _unlogged(world: World, seen: Sequence[Arrival]) -> int:
    received = {each.message.jti for each in seen}
    logged = world.transact(lambda session: set(session.scalars(_LOGGED, {"ids": list(received)})))
    return len(received - logged)


def _is_stale(world: World, shared: Shared, firm: Firm, seen: Sequence[Arrival]) -> bool:
    held: dict[str, int] = {}
    for each in seen:
        if each.firm is firm and each.message.claims["sub_id"].get("sub") == shared.sub:
            held |= {name: max(value[0], held.get(name, 0)) for name, value in each.message.values.items()}
    entries: Mapping[str, Any] = world.transact(
        lambda session: session.scalar(_CURRENT, {"person_id": shared.person_id})
    )
    return any(held.get(name) != entries[name]["version"] for name in ("name.full", "email.main", "phone.mobile"))


def _judge_stop(
    verdict: Verdict, stopped: Stopped, seen: Sequence[Arrival], hung: Sequence[tuple[float, float]]
) -> None:
    """Count what came for a grant after its stop was known: never in strict mode, else only what had set out."""
    grant_id = str(stopped.shared.grant_id)
    for each in seen:
        profile = each.message.profile
        if profile is None or profile["grant_id"] != grant_id or each.at <= stopped.known:
            continue
        late = each.at - stopped.known
        stood_still = any(start <= each.at and end >= stopped.began for start, end in hung)
        if stopped.firm.strict or (late > _LATE_SECONDS and not stood_still):
            verdict.after_a_stop += 1
        else:
            verdict.in_flight_at_a_stop += 1
            verdict.latest = max(verdict.latest, late)


def _backwards(seen: Sequence[Arrival]) -> int:
    newest: dict[tuple[str, str, str], int] = defaultdict(int)
    count = 0
    for each in seen:
        for name, (version, _) in each.message.values.items():
            key = (each.firm.client_id, each.message.claims["sub_id"]["sub"], name)
            count += version < newest[key]
            newest[key] = max(newest[key], version)
    return count


def _twice(
    seen: Sequence[Arrival], sent_again: Collection[str]
) -> tuple[list[tuple[str, str]], list[tuple[Arrival, Arrival]]]:
    """Return what came again after it had been taken, as (jti, how that was answered), and what as another id."""
    taken: dict[str, str] = {}
    told: dict[str, Arrival] = {}
    again: list[tuple[str, str]] = []
    elsewhere: list[tuple[Arrival, Arrival]] = []
    for each in seen:
        jti, state = each.message.jti, _state(each)
        if jti in taken:
            again.append((jti, taken[jti]))
        if _grant(each) not in sent_again:
            first = told.setdefault(state, each)
            if first.message.jti != jti:
                elsewhere.append((first, each))
        if each.way in TOOK:
            taken[jti] = each.way
    return again, elsewhere


def _under_one_version(world: World, pairs: Sequence[tuple[Arrival, Arrival]]) -> list[str]:
    """Name those of `pairs` that were sent under one version of the consent.

    Who paused and went on before it arrived has changed nothing of what is told, and it is told as something newer.
    """
    ids = {"ids": [each.message.jti for pair in pairs for each in pair]}
    under = {row.jti: row.version for row in world.transact(lambda session: session.execute(_UNDER, ids).all())}
    return [
        f"{_named(first)} and {_named(each)}: {_state(each)}"
        for first, each in pairs
        if under.get(first.message.jti) == under.get(each.message.jti)
    ]


def _said(world: World, ids: Collection[str]) -> dict[str, int]:
    """Return what the portal itself says of the tries of these messages that did not arrive, and how often."""
    rows = world.transact(lambda session: session.execute(_SAID, {"ids": list(ids)}).all())
    return {row.detail: row.tries for row in rows}


def _named(arrival: Arrival) -> str:
    return f"{arrival.message.jti} (at {arrival.at:.3f}, answered {arrival.way})"


def _grant(arrival: Arrival) -> str:
    return next(str(event.get("grant_id", "")) for event in arrival.message.claims["events"].values())


def _state(arrival: Arrival) -> str:
    """Return what a message says, without what differs from one sealing to the next."""
    claims = arrival.message.claims
    profile = arrival.message.profile or {}
    versions = {name: value[0] for name, value in arrival.message.values.items()}
    said = [arrival.firm.client_id, claims["sub_id"], profile.get("grant_id"), profile.get("complete"), versions]
    others = {kind: event for kind, event in claims["events"].items() if kind != receiver.PROFILE}
    return json.dumps([*said, others], sort_keys=True)

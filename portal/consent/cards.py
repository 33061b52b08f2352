"""What Sharing says about each organisation: one card per grant, in plain words."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from portal.companies import queries as companies
from portal.consent import queries, terms, time_left
from portal.consumer.catalogue import CATALOGUE
from portal.ledger import queries as ledger

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.orm import Session

    from portal.companies.queries import ClientFacts, PurposeFacts
    from portal.consent.models import Grant
    from portal.consumer.catalogue import Attribute

ENDS_SOON = timedelta(days=30)
UNUSED = timedelta(days=183)
ASK_AGAIN = timedelta(days=365)
HALTED = timedelta(days=1)

# state → (group it is listed under, words of its tag, class of its tag, class of its card)
_LOOKS = {
    "active": ("sharing", "Sharing", "ok", "is-live"),
    "paused": ("paused", "Paused", "hold", "is-paused"),
    "withdrawn": ("stopped", "Stopped", "stop", "is-ended"),
    "ended": ("stopped", "Ended by them", "stop", "is-ended"),
    "expired": ("stopped", "Time is over", "stop", "is-ended"),
    "invalidated": ("stopped", "Declared void", "stop", "is-ended"),
    "countered": ("offered", "You offered less", "hold", "is-paused"),
    "deferred": ("declined", "Not now", "", "is-ended"),
    "refused": ("declined", "Not shared", "", "is-ended"),
}
_PRESSING = ("missing", "ends", "paused")
GROUPS = {
    "sharing": "Sharing now", "paused": "Paused", "offered": "You offered less", "stopped": "Stopped",
    "declined": "Not shared",
}  # fmt: skip
_NO = frozenset({"refused", "deferred"})
_STOPPED = frozenset({"withdrawn", "expired"})


@dataclass(frozen=True, kw_only=True)
class Card:
    """One organisation and use; `state` is as of now, so that time alone makes it `expired`.

    `needs` are those of the details shared that it cannot do without; `just_halted` says that the person paused or
    stopped within a day, so that what was under way then may be of interest.  `asked_still` says that its organisation
    has not withdrawn that use, `shared_anew` that the person shares for it by another consent, `may_not_ask` that they
    do not want to be asked for it again.  `started` is since when the time runs after which it ends, and `gone` how
    much of it has gone by, in per cent; None for what has no end.
    """

    grant: Grant
    state: str
    company_name: str
    legal_name: str
    sentence: str
    needs: Sequence[str]
    last_used: datetime | None
    times: int
    ends_soon: bool
    unused: bool
    ask_again: bool
    asked_still: bool
    shared_anew: bool
    may_not_ask: bool
    ended_by_us: bool
    just_halted: bool
    started: datetime | None
    gone: int | None

    @property
    def id(self) -> UUID:
        return self.grant.grant_id

    @property
    def group(self) -> str:
        return _LOOKS[self.state][0]

    @property
    def may_begin_again(self) -> bool:
        """Whether the person can share it again by themselves; what its organisation ended begins with them."""
        return self.state in _STOPPED and self.asked_still and not self.shared_anew

    @property
    def frozen(self) -> bool:
        """Whether it is paused because the person froze everything."""
        return self.state == "paused" and self.grant.frozen_at is not None

    @property
    def tag(self) -> str:
        if self.frozen:
            return "Frozen"
        if self.ended_by_us:
            return "Ended by us"
        return "Ends soon" if self.ends_soon else _LOOKS[self.state][1]

    @property
    def tone(self) -> str:
        return "hold" if self.ends_soon else _LOOKS[self.state][2]

    @property
    def look(self) -> str:
        return _LOOKS[self.state][3]

    @property
    def live(self) -> bool:
        return self.state in queries.LIVE

    @property
    def ended_at(self) -> datetime:
        """When sharing was over; of what goes on, when it was changed last."""
        held = self.grant
        return min(held.changed_at, held.expires_at or held.changed_at)

    @property
    def delete_by(self) -> datetime:
        """When what they received must be gone, once sharing is over."""
        held = self.grant
        return terms.delete_by(
            changed_at=held.changed_at, expires_at=held.expires_at, retention_days=held.retention_days
        )

    @property
    def updated(self) -> bool:
        return self.grant.mode == terms.UPDATED

    @property
    def once(self) -> bool:
        return self.grant.mode == terms.ONCE


@dataclass(frozen=True, kw_only=True)
class Concern:
    """Something for the person to look at: `why` is `missing`, `ends` or `paused`; `missing` says which details."""

    card: Card
    why: str
    missing: Sequence[Attribute] = ()


def of_person(session: Session, *, person_id: UUID, now: datetime) -> list[Card]:
    """Return a card for each grant, live ones first, then newest first.

    Who shares for a use and declined to share more of it for it still shares: the refusal stands in Activity.
    """
    held_ones = queries.grants_of(session, person_id=person_id)
    living = {held.purpose_id for held in held_ones if held.state in queries.LIVE}
    grants = [held for held in held_ones if held.state not in _NO or held.purpose_id not in living]
    return sorted(of_grants(session, grants=grants, now=now), key=lambda card: not card.live)


def of_grants(session: Session, *, grants: Sequence[Grant], now: datetime) -> list[Card]:
    """Return the cards of some grants of one person, in their order."""
    if not grants:
        return []
    clients = companies.clients(session, {held.client_id for held in grants})
    purposes = companies.purposes_at(session, {(held.purpose_id, held.purpose_version) for held in grants})
    person_id = grants[0].person_id
    stopped, declined = (any(held.state in states for held in grants) for states in (_STOPPED, _NO))
    known = _Known(
        living=queries.live_purposes(session, person_id=person_id) if stopped else (),
        unwanted=queries.unwanted_purposes(session, person_id=person_id) if declined else (),
        uses=ledger.last_uses(session, person_id=person_id),
        starts=time_left.starts(session, person_id=person_id) if any(map(_ends, grants)) else {},
        now=now,
    )
    return [
        _card(held, clients.get(held.client_id), purposes.get((held.purpose_id, held.purpose_version)), known)
        for held in grants
    ]


def of_grant(session: Session, *, held: Grant, now: datetime) -> Card:
    """Return the card of one grant."""
    return of_grants(session, grants=[held], now=now)[0]


def counts(cards: Iterable[Card]) -> dict[str, int]:
    """Return how many cards each group has."""
    found = Counter(card.group for card in cards)
    return {group: found[group] for group in GROUPS}


def concerns(cards: Iterable[Card], *, absent: Collection[str]) -> list[Concern]:
    """Return what needs attention, most pressing first; `absent` are the details the person has not given."""
    return sorted((one for card in cards for one in _concerns(card, absent)), key=lambda one: _PRESSING.index(one.why))


def _concerns(card: Card, absent: Collection[str]) -> Iterator[Concern]:
    missing = [CATALOGUE[name] for name in card.needs if name in absent and name in CATALOGUE]
    if card.state == "active" and missing and not card.once:
        yield Concern(card=card, why="missing", missing=missing)
    if card.ends_soon:
        yield Concern(card=card, why="ends")
    if card.state == "paused" and not card.frozen:
        yield Concern(card=card, why="paused")


def _ends(held: Grant) -> bool:
    return held.state in queries.LIVE and held.expires_at is not None


class _Known(NamedTuple):
    """What is looked up once for all cards: when each was used last and how often, and since when its time runs.

    `living` are the purposes that the person shares for now, where a card has stopped, and `unwanted` those that they
    do not want to be asked for again, where one says no.
    """

    living: Collection[UUID]
    unwanted: Collection[UUID]
    uses: Mapping[UUID, tuple[datetime, int]]
    starts: Mapping[UUID, datetime]
    now: datetime


def _card(held: Grant, client: ClientFacts | None, purpose: PurposeFacts | None, known: _Known) -> Card:
    now, start = known.now, known.starts.get(held.grant_id)
    last, times = known.uses.get(held.grant_id, (None, 0))
    over = held.expires_at is not None and held.expires_at <= now
    state = "expired" if over and held.state in queries.LIVE else held.state
    active = state == "active"
    return Card(
        grant=held,
        state=state,
        company_name=client.company_name if client else "An organisation that has left",
        legal_name=client.legal_name if client else "",
        sentence=purpose.sentence if purpose else "",
        needs=[name for name, _reason in purpose.required if name in held.attributes] if purpose else [],
        last_used=last,
        times=times,
        ends_soon=active and held.expires_at is not None and held.expires_at - now <= ENDS_SOON,
        unused=active and now - (last or held.given_at) > UNUSED,
        just_halted=held.state in {"paused", "withdrawn"} and now - held.changed_at < HALTED,
        started=start,
        gone=time_left.gone(start, held.expires_at, now=now) if start and held.expires_at else None,
        ask_again=active and held.expires_at is None and now - held.changed_at >= ASK_AGAIN,
        asked_still=purpose is not None and not purpose.withdrawn,
        shared_anew=state in _STOPPED and held.state not in queries.LIVE and held.purpose_id in known.living,
        may_not_ask=state in _NO and held.purpose_id in known.unwanted,
        ended_by_us=state == "ended" and _taken_down(held, purpose),
    )


def _taken_down(held: Grant, purpose: PurposeFacts | None) -> bool:
    """Say whether it ended because an operator took its use down; what its organisation ended before is theirs."""
    return bool(purpose and purpose.taken_down_at and purpose.taken_down_at <= held.changed_at)

"""What the consent screen says: built once, shown by whichever page asks, and kept word for word."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from portal.consent import askers, queries, terms
from portal.consent.terms import Effect, Wanted
from portal.consumer import formats
from portal.consumer import queries as consumer
from portal.consumer.catalogue import CATALOGUE, label
from portal.db import now as clock
from portal.web.dates import day

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.orm import Session

    from portal.companies.queries import PurposeFacts
    from portal.consent.askers import Organisation
    from portal.consent.models import Grant
    from portal.consumer.queries import CurrentValue
    from portal.vault.keyring import Keyring

LANGUAGE = "en"
HOW = {
    terms.UPDATED: "Kept up to date: when you change one of these details, they get the new one at once.",
    terms.ASKED: "When they ask: they see these details as they are at that moment. Each time is listed in Activity.",
    terms.ONCE: "Once: they see these details one time, as they are at that moment.",
}


# Other steps show other pages, such as what happens if one stops.
_ANSWERS = frozenset({"given", "changed", "countered"})


@dataclass(frozen=True, kw_only=True)
class Item:
    """One detail as it is asked for.

    `value` is what they will see, None when the person has not provided it.  `held` says that they share it
    now, `new` that the organisation did not ask for it when the person last answered.
    """

    attribute: str
    label: str
    reason: str
    value: str | None = field(repr=False)
    held: bool
    new: bool


@dataclass(frozen=True, kw_only=True)
class Ask:
    """Everything on the consent screen; `shown` gives it without the values.

    `wanted` is what is asked, never more than the purpose; `keeps` are the details that stay shared whatever is
    answered, which only a merge has; `anew` says that an answer begins a new consent, so that every detail is
    newly shared, also one that was shared until then.  `returns_to` is the host that the answer leads to, empty
    where it leads nowhere; `differs` says that they last answered somebody who was known otherwise.
    """

    client_id: str
    purpose_id: UUID
    organisation: Organisation
    sentence: str
    wanted: Wanted
    effect: Effect
    keeps: Sequence[Item]
    needs: Sequence[Item]
    chooses: Sequence[Item]
    removed: Sequence[str]
    durations: Sequence[terms.Duration]
    purpose_version: int
    reviewed: bool
    basis: str
    grant: Grant | None
    anew: bool
    returns_to: str
    differs: bool

    @property
    def mode(self) -> str:
        return self.wanted.mode

    @property
    def retention_days(self) -> int:
        return self.wanted.retention_days

    @property
    def ends(self) -> str:
        """How long they share now, where the answer leaves that as it is; empty where it is asked."""
        return as_now(self.grant) if self.grant and self.effect is Effect.MERGE else ""

    @property
    def replaces(self) -> str:
        """What stands where an answer takes the place of what is shared now, empty elsewhere."""
        if self.grant is None or self.effect is Effect.MERGE or (self.anew and self.effect is Effect.AMEND):
            return ""
        return (
            "If you share, it takes the place of what you share with them for this use now. "
            "If you do not, that stays as it is."
        )

    @property
    def title(self) -> str:
        return f"Share your details with {self.organisation.name}?"

    @property
    def asker(self) -> str:
        """Who asks, at the beginning of a sentence: a name nobody has checked is only what they call themselves."""
        name = self.organisation.legal_name
        return name if self.organisation.checked_on else f"Someone who gives the name {name}"

    @property
    def warning(self) -> str:
        """What stands first where nobody has checked who asks, or what for; else empty (OWASP ASVS 5.0, 10.4.7)."""
        if self.organisation.checked_on:
            return "" if self.reviewed else "This is a test: nobody has looked at this use of your details yet."
        return (
            f"We have not checked who {self.organisation.name} is. Anyone can register a name here. "
            "Share only if you are certain that you know who is asking."
        )

    @property
    def missing(self) -> list[Item]:
        """Details they need that the person has not provided: until then nothing can be shared."""
        return [item for item in self.needs if item.value is None]

    @property
    def mark(self) -> str:
        """The SHA-256 of every word on the screen: an answer that carries another one was given to another question."""
        return sha256(json.dumps(shown(self), sort_keys=True).encode()).hexdigest()

    def covered(self, now: datetime) -> bool:
        """Say whether everything that is asked is shared already, so that there is nothing to answer."""
        held = self.grant
        if held is None or held.state != "active" or held.mode == terms.ONCE or self.differs:
            return False
        if held.expires_at is not None and held.expires_at <= now:
            return False
        if self.effect in {Effect.CREATE, Effect.REPLACE} or held.purpose_version != self.purpose_version:
            return False
        wanted = terms.less(self.wanted, terms.concession(held.concession))
        enough = terms.covers(held.mode, wanted.mode) and held.retention_days >= self.retention_days
        enough = enough and terms.fewer(held.pulls_a_day, self.wanted.pulls_a_day) == self.wanted.pulls_a_day
        return enough and not self.removed and set(wanted.attributes) <= set(held.attributes)

    @property
    def shared(self) -> list[Item]:
        """Details that are shared now."""
        return [item for item in (*self.keeps, *self.needs, *self.chooses) if item.held]

    @property
    def can_offer(self) -> bool:
        """Whether they may answer with less: who shares for this purpose already changes that by themselves."""
        return self.grant is None or (self.anew and self.effect is Effect.AMEND)

    def needs_second_proof(self, chosen: Collection[str]) -> bool:
        """Say whether sharing `chosen` and what they need takes a second proof (`terms.SecondProofNeededError`)."""
        picked = [*self.needs, *(item for item in self.chooses if item.attribute in chosen)]
        return any(self.harmful(item) for item in picked)

    def harmful(self, item: Item) -> bool:
        """Say whether sharing one detail is new and can do much harm."""
        return (self.anew or not item.held) and terms.sensitive([item.attribute])

    @property
    def how(self) -> str:
        return HOW[self.mode]

    @property
    def often(self) -> str:
        """How often they may look; empty where it is one time anyway."""
        return "" if self.mode == terms.ONCE else f"They may look {terms.often(self.wanted.pulls_a_day)}."

    @property
    def how_now(self) -> str:
        """How they use what is shared now, which a request for less does not change."""
        return HOW[self.grant.mode] if self.grant else self.how

    @property
    def good_to_know(self) -> list[str]:
        """What always stands beside the question."""
        told = "They are told when you change a detail you share." if self.mode == terms.UPDATED else ""
        kept = f"If you stop, they must stop using your details within {terms.in_days(self.retention_days)}"
        return [
            "You can pause or stop this at any time in Sharing.",
            *filter(None, [self.basis, told]),
            f"{kept} and say when they have deleted them, or why they must keep some."
            if self.retention_days
            else "They may not keep your details after they have used them.",
            "They never see your password.",
        ]


def build(
    session: Session,
    *,
    keyring: Keyring,
    person_id: UUID,
    client_id: str,
    purpose_id: UUID,
    wanted: Wanted | None = None,
    effect: Effect = Effect.AMEND,
    returns_to: str = "",
    now: datetime | None = None,
    version: int | None = None,
) -> Ask:
    """Return what to ask a person; without `wanted` the purpose is asked for in full, as it stands now.

    `version` is the one they agreed to where they change what they share: another one is only asked by the company.

    Raises NotFoundError, ClientSuspendedError, PurposeWithdrawnError, and NotAskedError or ModeNotOfferedError
    when `wanted` goes beyond the purpose.
    """
    client, purpose = queries.offer(session, client_id, purpose_id, version=version)
    wanted = terms.within(wanted or terms.whole(purpose), purpose)
    held = queries.live_for_purpose(session, person_id=person_id, purpose_id=purpose_id)
    purpose = terms.conceded(purpose, terms.concession(held.concession) if held else None)
    answered, organisation = _answered(session, held), askers.organisation(session, client)
    asked = _Asked(
        values=consumer.current(session, keyring=keyring, person_id=person_id), held=held, known=_known(held, answered)
    )
    kept, offered = _kept(purpose, held, effect), _offered(wanted, held, effect)
    merged = _as_held(held, purpose, wanted) if held and effect is Effect.MERGE else None
    return Ask(
        client_id=client_id,
        purpose_id=purpose_id,
        organisation=organisation,
        sentence=purpose.sentence,
        wanted=merged or wanted,
        effect=effect,
        keeps=[asked.item(name, why) for name, why in (*purpose.required, *purpose.optional) if name in kept],
        needs=[asked.item(name, why) for name, why in purpose.required if name not in kept],
        chooses=[asked.item(name, why) for name, why in purpose.optional if name in offered - kept],
        removed=_removed(purpose, held, offered),
        durations=[] if merged else _durations(wanted),
        purpose_version=purpose.version,
        reviewed=purpose.reviewed,
        basis=purpose.said_of_basis,
        grant=held,
        anew=effect is Effect.CREATE or held is None or queries.over(session, held, now=now or clock()),
        returns_to=returns_to,
        differs=_differs(answered, organisation, returns_to),
    )


def agreed(session: Session, *, held: Grant) -> Wanted:
    """Return the terms a person may choose within when they change what they share: those they last answered.

    Every detail of the purpose can be added; way, time and retention stay within what was asked for.
    """
    _client, purpose = queries.offer(session, held.client_id, held.purpose_id, version=held.purpose_version)
    whole, last = terms.whole(purpose), _last(_answered(session, held)).get("terms", {})
    mode = last.get("mode", whole.mode)
    return Wanted(
        attributes=whole.attributes,
        mode=mode if terms.covers(whole.mode, mode) else whole.mode,
        longest_days=min(last.get("longest_days", whole.longest_days), whole.longest_days),
        open_ended=whole.open_ended and last.get("open_ended", True),
        **terms.stricter(held, whole),
    )


def of_grant(session: Session, *, keyring: Keyring, held: Grant, version: int | None = None) -> Ask:
    """Return what to ask, as `build`, a person who comes back to what they share or shared: within what they agreed."""
    return build(
        session, keyring=keyring, person_id=held.person_id, client_id=held.client_id, purpose_id=held.purpose_id,
        wanted=agreed(session, held=held), version=version,
    )  # fmt: skip


def as_now(held: Grant) -> str:
    """Return how long a person shares now, as a choice that leaves it so."""
    if held.mode == terms.ONCE:
        return "Just this once, as now"
    return f"Until {day(held.expires_at)}, as now" if held.expires_at else "Until I stop it, as now"


def shown(ask: Ask) -> dict[str, Any]:
    """Return the exact text of the screen, without a single value: the evidence of what was agreed to."""
    return {
        "language": LANGUAGE,
        "title": ask.title,
        "warning": ask.warning,
        "asker": ask.asker,
        "organisation": asdict(ask.organisation) | {"checked_on": _iso(ask.organisation.checked_on)},
        "sentence": ask.sentence,
        "returns_to": ask.returns_to,
        "replaces": ask.replaces,
        "keeps": [_words(item) for item in ask.keeps],
        "needs": [_words(item) for item in ask.needs],
        "chooses": [_words(item) for item in ask.chooses],
        "removed": list(ask.removed),
        "durations": [choice.label for choice in ask.durations] or [ask.ends],
        "how": ask.how,
        "often": ask.often,
        "good_to_know": ask.good_to_know,
        "answers": ["Share these details", "Do not share"],
        "terms": asdict(ask.wanted),
    }


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """What every detail on the screen is compared with."""

    values: Mapping[str, CurrentValue]
    held: Grant | None
    known: Collection[str]

    def item(self, name: str, reason: str) -> Item:
        held = self.held
        return Item(
            attribute=name,
            label=label(name),
            reason=reason,
            value=_seen(name, self.values),
            held=held is not None and name in held.attributes,
            new=held is not None and name not in self.known,
        )


def _kept(purpose: PurposeFacts, held: Grant | None, effect: Effect) -> set[str]:
    return set(held.attributes) & set(purpose.attributes) if held and effect is Effect.MERGE else set()


def _offered(wanted: Wanted, held: Grant | None, effect: Effect) -> set[str]:
    # What is shared already stays on the screen, or answering a narrower request would silently end it; only
    # a request that says so begins anew.
    stays = set(held.attributes) if held and effect in {Effect.AMEND, Effect.MERGE} else set()
    return {*wanted.attributes, *stays}


def _removed(purpose: PurposeFacts, held: Grant | None, offered: Collection[str]) -> list[str]:
    asked = set(purpose.attributes) & {*offered, *(name for name, _ in purpose.required)}
    return [label(name) for name in held.attributes if name not in asked] if held else []


def _durations(wanted: Wanted) -> list[terms.Duration]:
    return terms.durations(mode=wanted.mode, longest_days=wanted.longest_days, open_ended=wanted.open_ended)


def _as_held(held: Grant, purpose: PurposeFacts, wanted: Wanted) -> Wanted:
    # A merge adds details: the way they are shared, until when and for how long they are kept stay as they are.
    return replace(wanted, mode=held.mode, **terms.stricter(held, purpose))


def _known(held: Grant | None, answered: Sequence[Mapping[str, Any]]) -> set[str]:
    """Return what the person was asked for when they last answered."""
    if held is None:
        return set()
    last = _last(answered)
    asked = [*last.get("keeps", ()), *last.get("needs", ()), *last.get("chooses", ())]
    return {item["attribute"] for item in asked} | set(held.attributes)


def _differs(answered: Sequence[Mapping[str, Any]], organisation: Organisation, returns_to: str) -> bool:
    """Say whether who asks has another name now, is no longer checked, or leads to a host that no answer named."""
    before = _last(answered).get("organisation", {})
    renamed = before.get("legal_name", organisation.legal_name) != organisation.legal_name
    unchecked = before.get("checked_on") is not None and organisation.checked_on is None
    hosts = {text["returns_to"] for text in answered if text.get("returns_to")}
    return renamed or unchecked or bool(hosts and returns_to and returns_to not in hosts)


def _answered(session: Session, held: Grant | None) -> list[dict[str, Any]]:
    """Return what stood on each screen that led to a grant, the latest last."""
    if held is None:
        return []
    versions = queries.versions(session, person_id=held.person_id, grant_id=held.grant_id)
    return [one.shown for one in versions if one.shown and one.step in _ANSWERS]


def _last(answered: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    return answered[-1] if answered else {}


def _seen(name: str, values: Mapping[str, CurrentValue]) -> str | None:
    current = values.get(name)
    if current is None or current.value is None or name not in CATALOGUE:
        return None
    return formats.display(CATALOGUE[name], current.value) or None


def _words(item: Item) -> dict[str, Any]:
    words = asdict(item)
    del words["value"]
    return words


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None

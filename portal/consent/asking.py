"""What the consent screen says: built once, shown by whichever page asks, and kept word for word."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from portal.companies import queries as companies
from portal.consent import queries, terms
from portal.consumer import formats
from portal.consumer import queries as consumer
from portal.consumer.catalogue import CATALOGUE, label
from portal.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.orm import Session

    from portal.companies.queries import ClientFacts
    from portal.consent.models import Grant
    from portal.consumer.queries import CurrentValue
    from portal.vault.keyring import Keyring

LANGUAGE = "en"
HOW = {
    terms.UPDATED: "Kept up to date: when you change one of these details, they get the new one at once.",
    terms.ASKED: "When they ask: they see these details as they are at that moment. Each time is listed in Activity.",
    terms.ONCE: "Once: they see these details one time, as they are at that moment.",
}


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
class Organisation:
    """Who asks, as the register knows them."""

    name: str
    legal_name: str
    registration: str
    contact: str
    privacy_url: str
    checked_on: datetime | None
    environment: str


@dataclass(frozen=True, kw_only=True)
class Ask:
    """Everything on the consent screen; `shown` gives it without the values."""

    client_id: str
    purpose_id: UUID
    organisation: Organisation
    sentence: str
    mode: str
    needs: Sequence[Item]
    chooses: Sequence[Item]
    removed: Sequence[str]
    durations: Sequence[terms.Duration]
    retention_days: int
    purpose_version: int
    grant: Grant | None

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
        """What stands first where nobody has checked who asks, empty elsewhere (OWASP ASVS 5.0, 10.4.7)."""
        if self.organisation.checked_on:
            return ""
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

    @property
    def how(self) -> str:
        return HOW[self.mode]

    @property
    def good_to_know(self) -> list[str]:
        """What always stands beside the question."""
        told = "They are told when you change a detail you share." if self.mode == terms.UPDATED else ""
        kept = f"If you stop, they must stop using your details within {terms.in_days(self.retention_days)}"
        return [
            "You can pause or stop this at any time in Sharing.",
            *filter(None, [told]),
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
    requested: Collection[str] | None = None,
) -> Ask:
    """Return what to ask a person; `requested` narrows what they may choose, not what is needed or shared.

    Raises NotFoundError, ClientSuspendedError, PurposeWithdrawnError, or NotAskedError when `requested` goes
    beyond the purpose.
    """
    client, purpose = queries.offer(session, client_id, purpose_id)
    if requested is not None and set(requested) - set(purpose.attributes):
        raise terms.NotAskedError
    held = queries.live_for_purpose(session, person_id=person_id, purpose_id=purpose_id)
    values = consumer.current(session, keyring=keyring, person_id=person_id)
    known = _known(session, held)
    # What is shared already stays on the screen, or answering a narrower request would silently end it.
    kept = purpose.attributes if requested is None else {*requested, *(held.attributes if held else ())}
    wanted = [(name, why) for name, why in purpose.optional if name in kept]
    return Ask(
        client_id=client_id,
        purpose_id=purpose_id,
        organisation=_organisation(session, client),
        sentence=purpose.sentence,
        mode=purpose.mode,
        needs=[_item(name, why, values, held, known) for name, why in purpose.required],
        chooses=[_item(name, why, values, held, known) for name, why in wanted],
        removed=[label(name) for name in held.attributes if name not in purpose.attributes] if held else [],
        durations=terms.durations(mode=purpose.mode, longest_days=purpose.longest_days),
        retention_days=purpose.retention_days,
        purpose_version=purpose.version,
        grant=held,
    )


def shown(ask: Ask) -> dict[str, Any]:
    """Return the exact text of the screen, without a single value: the evidence of what was agreed to."""
    return {
        "language": LANGUAGE,
        "title": ask.title,
        "warning": ask.warning,
        "asker": ask.asker,
        "organisation": asdict(ask.organisation) | {"checked_on": _iso(ask.organisation.checked_on)},
        "sentence": ask.sentence,
        "needs": [_words(item) for item in ask.needs],
        "chooses": [_words(item) for item in ask.chooses],
        "removed": list(ask.removed),
        "durations": [choice.label for choice in ask.durations],
        "how": ask.how,
        "good_to_know": ask.good_to_know,
        "answers": ["Share these details", "Do not share"],
    }


def _organisation(session: Session, client: ClientFacts) -> Organisation:
    company = companies.company(session, slug=client.company_slug)
    if company is None:
        raise NotFoundError
    return Organisation(
        name=client.company_name,
        legal_name=client.legal_name,
        registration=f"{company.registration_number}, {company.country}",
        contact=company.contact_email,
        privacy_url=company.privacy_url,
        checked_on=company.verified_at if company.verified else None,
        environment=client.environment,
    )


def _known(session: Session, held: Grant | None) -> set[str]:
    """Return what the person was asked for when they last answered."""
    if held is None:
        return set()
    answered = [one.shown for one in queries.versions(session, person_id=held.person_id, grant_id=held.grant_id)]
    last: dict[str, Any] = next((text for text in reversed(answered) if text), {})
    asked = [*last.get("needs", ()), *last.get("chooses", ())]
    return {item["attribute"] for item in asked} | set(held.attributes)


def _item(
    name: str, reason: str, values: Mapping[str, CurrentValue], held: Grant | None, known: Collection[str]
) -> Item:
    return Item(
        attribute=name,
        label=label(name),
        reason=reason,
        value=_seen(name, values),
        held=held is not None and name in held.attributes,
        new=held is not None and name not in known,
    )


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

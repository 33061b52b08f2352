"""The one policy function: may this client have these details of this person, this way, now?

Pages, API and worker ask it, when a disclosure is queued and again when it is sent.  Pure Python, no I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from portal.consumer.catalogue import SENSITIVE
from portal.identity import levels

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

# How long ago a person may have proved who they are for their token to reach a sensitive detail.
PROVED_WITHIN: Final = timedelta(hours=24)


class Channel(StrEnum):
    """How a disclosure reaches the company."""

    PUSH = "push"
    PULL = "pull"
    BATCH = "batch"
    USERINFO = "userinfo"
    DRIFT = "drift"


class Refusal(StrEnum):
    """Why nothing may be disclosed; the last part of the API's problem type (RFC 9457)."""

    NO_CONSENT = "consent-absent"
    REFUSED = "consent-refused"
    PAUSED = "consent-paused"
    FROZEN = "consent-frozen"
    WITHDRAWN = "consent-withdrawn"
    ENDED = "consent-ended"
    EXPIRED = "consent-expired"
    INVALIDATED = "consent-invalidated"
    NOT_FOR_PUSH = "consent-not-for-updates"
    ALREADY_USED = "consent-used-up"
    CLIENT_SUSPENDED = "client-suspended"
    PURPOSE_WITHDRAWN = "purpose-withdrawn"
    NOTHING_SHARED = "field-not-shared"
    NOT_PROVED = "insufficient-user-authentication"


# Under any other state, such as that of an offer nobody has accepted, nothing was ever shared.
_STATE_REFUSALS = {
    "paused": Refusal.PAUSED,
    "refused": Refusal.REFUSED,
    "withdrawn": Refusal.WITHDRAWN,
    "ended": Refusal.ENDED,
    "expired": Refusal.EXPIRED,
    "invalidated": Refusal.INVALIDATED,
}


class Standing(NamedTuple):
    """What is true of grant, client and purpose at the moment of asking.

    `frozen` says that it is paused because the person froze everything they share.
    """

    client_id: str
    state: str
    mode: str
    attributes: Collection[str]
    expires_at: datetime | None
    purpose_attributes: Collection[str]
    purpose_withdrawn: bool
    client_active: bool
    used: bool = False
    frozen: bool = False


@dataclass(frozen=True)
class Proved:
    """How surely (`identity.levels`) and when the person that a token speaks for has proved who they are."""

    level: int | None
    at: datetime | None

    def reaches(self, names: Collection[str], now: datetime) -> bool:
        """Say whether it is enough for these details: a sensitive one takes two proofs within a day (RFC 9470)."""
        if SENSITIVE.isdisjoint(names):
            return True
        sure = self.level is not None and self.level >= levels.TWO_PROOFS
        return sure and self.at is not None and now - self.at <= PROVED_WITHIN


class Decision(NamedTuple):
    """Either the attributes that may leave, in a stable order, or the reason why none may."""

    attributes: tuple[str, ...]
    refusal: Refusal | None = None

    @property
    def allowed(self) -> bool:
        return self.refusal is None


def decide(
    standing: Standing | None,
    *,
    client_id: str,
    channel: Channel,
    requested: Collection[str] | None,
    now: datetime,
    proved: Proved | None = None,
) -> Decision:
    """Return requested ∩ granted ∩ what the purpose may ask, or why nothing.

    `requested` None asks for everything granted.  `standing` None means no grant was found.  `proved` is there
    when a person's own token asks; a client that asks by itself acts on what the person agreed to.
    """
    refusal = _refusal(standing, client_id, channel, now)
    if refusal is not None or standing is None:
        return Decision((), refusal or Refusal.NO_CONSENT)
    effective = set(standing.attributes) & set(standing.purpose_attributes)
    if requested is not None:
        effective &= set(requested)
    if not effective:
        return Decision((), Refusal.NOTHING_SHARED)
    if proved is not None and not proved.reaches(effective, now):
        return Decision((), Refusal.NOT_PROVED)
    return Decision(tuple(sorted(effective)))


def _refusal(standing: Standing | None, client_id: str, channel: Channel, now: datetime) -> Refusal | None:
    if standing is None or standing.client_id != client_id:
        return Refusal.NO_CONSENT
    if not standing.client_active:
        return Refusal.CLIENT_SUSPENDED
    if standing.state == "paused" and standing.frozen:
        return Refusal.FROZEN
    if standing.state != "active":
        return _STATE_REFUSALS.get(standing.state, Refusal.NO_CONSENT)
    if standing.expires_at is not None and standing.expires_at <= now:
        return Refusal.EXPIRED
    if standing.purpose_withdrawn:
        return Refusal.PURPOSE_WITHDRAWN
    if channel is Channel.PUSH and standing.mode != "kept-up-to-date":
        return Refusal.NOT_FOR_PUSH
    if standing.mode == "once" and standing.used:
        return Refusal.ALREADY_USED
    return None

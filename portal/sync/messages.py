"""What a company receives: one Security Event Token (RFC 8417), every value in it sealed by itself.

Push, pull and batch answer with the same message; the plan of its events is in docs/companies/messages.md.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from portal.errors import PortalError
from portal.vault import envelope

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from portal.consumer.queries import OpenedEntry
    from portal.vault.signing import Signer

TYPE = "secevent+jwt"
MEDIA_TYPE = "application/secevent+jwt"
PROFILE = "urn:ucm:event:profile"
CONFIRMED = "urn:ucm:event:confirmed"
CONSENT = "urn:ucm:event:consent"
ERASURE = "urn:ucm:event:erasure-requested"
# What there is to tell of a person.  Whoever has details hears of the consent, whatever else they ask for.
EVENTS = (PROFILE, CONFIRMED, CONSENT, ERASURE)
ALWAYS = (CONSENT, ERASURE)
VERIFICATION = "https://schemas.openid.net/secevent/ssf/event-type/verification"
STREAM_UPDATED = "https://schemas.openid.net/secevent/ssf/event-type/stream-updated"
KEYS_CHANGED = "urn:ucm:event:keys-changed"
ENCRYPTION_KEY_IN_USE = "urn:ucm:event:encryption-key-in-use"

# The identifier of each message, whatever it is about.
JTI: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)
# In as many seconds what a message discloses is in the signed log at the latest; as a rule it is in two.
LOGGED_WITHIN = 60


class NoKeyError(PortalError):
    """The client has registered no encryption key that is still good."""

    code = "no-encryption-key"
    status = 409
    public = "The app has no encryption key registered."


class Addressee(NamedTuple):
    """Whom a message is for: the client, the subject as its company knows them, and its public keys.

    `keys` maps each key group to `{"kid", "jwk"}`, `groups` an attribute to its key group; the group of any other
    is the one without a name.  `one_time` is a key like those, of this answer alone: what is sealed to the others is
    sealed to it once more, so that nobody opens anything by one key.
    """

    client_id: str
    sub: str
    keys: Mapping[str, Mapping[str, Any]]
    groups: Mapping[str, str]
    one_time: Mapping[str, Any] | None = None


def sealed_to(to: Addressee, names: Iterable[str]) -> list[str]:
    """Return the `kid` of each key that details of these names are sealed to."""
    groups = {to.groups.get(name, "") for name in names}
    kids = {to.keys[group]["kid"] for group in groups if group in to.keys}
    return sorted(kids | {to.one_time["kid"]} if kids and to.one_time else kids)


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Values to tell; `entries` are opened, so they stay out of every `repr`."""

    grant_id: UUID
    purpose: str
    sequence: int
    complete: bool
    entries: Mapping[str, OpenedEntry] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Notice:
    """A profile without its values: the company fetches them.  `marks` holds what is told of each detail."""

    grant_id: UUID
    purpose: str
    sequence: int
    complete: bool
    marks: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Confirmed:
    """Details that the person looked at and called right; `marks` maps each to its version and when."""

    grant_id: UUID
    purpose: str
    sequence: int
    marks: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Consent:
    """What is true of the grant now, and by `change` what that is to a company that knew what it was told last.

    `attributes` are the names shared from now on, `mode` how and `expires_at` until when, while it is active.
    """

    grant_id: UUID
    state: str
    change: str
    version: int
    attributes: Sequence[str]
    mode: str
    expires_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Erasure:
    """The person's wish that what a company holds under a grant that is over be deleted; all that it ever covered."""

    grant_id: UUID
    attributes: Sequence[str]
    asked_at: datetime
    delete_by: datetime


class News(NamedTuple):
    """What one message tells of one person; `sequence` is the record's, as far as it was looked at.

    `state` is the consent's, told here or before: whoever acknowledges the message knows it.
    """

    sequence: int
    state: str = ""
    profile: Profile | None = None
    notice: Notice | None = None
    confirmed: Confirmed | None = None
    consent: Consent | None = None
    erasure: Erasure | None = None

    @property
    def entries(self) -> Mapping[str, OpenedEntry]:
        """The details whose values it discloses."""
        return self.profile.entries if self.profile else {}

    @property
    def names(self) -> list[str]:
        """The details it says something of, with a value or without."""
        told = [part.marks for part in (self.notice, self.confirmed) if part is not None]
        return [name for names in (self.entries, *told) for name in names]

    @property
    def kinds(self) -> list[str]:
        """The types of its events; none when there is nothing to tell."""
        parts = (
            (CONSENT, self.consent), (ERASURE, self.erasure), (PROFILE, self.profile or self.notice),
            (CONFIRMED, self.confirmed),
        )  # fmt: skip
        return [kind for kind, part in parts if part is not None]

    @property
    def reason(self) -> str | None:
        """What a message without values is about, as the disclosure log says; None where it is the consent alone."""
        if self.profile is not None:
            return None
        about = (("erasure", self.erasure), ("changed", self.notice), ("confirmed", self.confirmed))
        return next((name for name, part in about if part is not None), None)


class Message(NamedTuple):
    """A signed message, and its claims for the company's staff: in place of every sealed value its length."""

    token: str
    payload: str


def push_id(*, grant_id: UUID, person_id: UUID, generation: int) -> str:
    """Return the `jti` of a push: the same for every attempt, another for every newer state."""
    named = b"push" + grant_id.bytes + person_id.bytes + generation.to_bytes(8)
    return sha256(named).hexdigest()[:32]


def build(
    signer: Signer,
    *,
    issuer: str,
    to: Addressee,
    jti: str,
    now: datetime,
    news: News,
    sealing: envelope.Sealing | None = None,
) -> Message:
    """Return the signed message; raise `NoKeyError` when there are values and no key to seal them to.

    It promises by `logged_by` that the log has it from then on (a NumericDate, RFC 7519 section 2): whoever keeps a
    message that the log does not have holds a signed proof that something was not logged.  Messages that leave in one
    request share its `sealing`; by default a message has one of its own.
    """
    events: dict[str, Any] = {}
    sealed: list[str] = []
    if news.consent is not None:
        events[CONSENT] = _consent_event(news.consent)
    if news.erasure is not None:
        events[ERASURE] = _erasure_event(news.erasure)
    if news.profile is not None:
        envelopes = _envelopes(news.profile, to, sealing or envelope.Sealing())
        events[PROFILE] = _profile_event(news.profile, envelopes)
        sealed = [part for each in envelopes.values() for part in (*each.values.values(), each.keys)]
    if news.notice is not None:
        events[PROFILE] = _marks_event(news.notice) | {"complete": news.notice.complete, "thin": True}
    if news.confirmed is not None:
        events[CONFIRMED] = _marks_event(news.confirmed)
    claims = {
        "iss": issuer,
        "aud": to.client_id,
        "iat": int(now.timestamp()),
        "jti": jti,
        "sub_id": {"format": "iss_sub", "iss": issuer, "sub": to.sub},
        "logged_by": int(now.timestamp()) + LOGGED_WITHIN,
        "events": events,
    }
    return _signed(signer, claims, sealed)


def about_stream(
    signer: Signer, *, issuer: str, client_id: str, stream_id: UUID, jti: str, now: datetime, event: Mapping[str, Any]
) -> Message:
    """Return a message about a stream and nobody (OpenID Shared Signals 1.0 sections 8.1.4 and 8.1.5).

    `event` maps its one event type to what it says.
    """
    claims = {
        "iss": issuer,
        "aud": client_id,
        "iat": int(now.timestamp()),
        "jti": jti,
        "sub_id": {"format": "opaque", "id": str(stream_id)},
        "events": event,
    }
    return _signed(signer, claims, ())


def _signed(signer: Signer, claims: Mapping[str, Any], sealed: Iterable[str]) -> Message:
    text = orjson.dumps(claims)
    payload = text.decode()
    for part in sealed:
        payload = payload.replace(part, f"({len(part)} sealed characters)")
    return Message(signer.sign_text(text, typ=TYPE), payload)


def _consent_event(consent: Consent) -> dict[str, Any]:
    event: dict[str, Any] = {
        "grant_id": str(consent.grant_id),
        "state": consent.state,
        "change": consent.change,
        "version": consent.version,
        "attributes": sorted(consent.attributes),
    }
    if consent.state == "active":
        event["mode"] = consent.mode
        if consent.expires_at is not None:
            event["expires_at"] = consent.expires_at.isoformat()
    return event


def _erasure_event(erasure: Erasure) -> dict[str, Any]:
    return {
        "grant_id": str(erasure.grant_id),
        "attributes": sorted(erasure.attributes),
        "requested_at": erasure.asked_at.isoformat(),
        "delete_by": erasure.delete_by.isoformat(),
    }


def _marks_event(part: Notice | Confirmed) -> dict[str, Any]:
    return {
        "grant_id": str(part.grant_id),
        "purpose": part.purpose,
        "sequence": part.sequence,
        "attributes": {name: dict(mark) for name, mark in part.marks.items()},
    }


def _envelopes(profile: Profile, to: Addressee, sealing: envelope.Sealing) -> dict[str, envelope.Envelope]:
    """Return an envelope for each key group that gets some of it."""
    return {group: _sealed(names, profile, group, to, sealing) for group, names in _by_group(profile, to).items()}


def _profile_event(profile: Profile, sealed: Mapping[str, envelope.Envelope]) -> dict[str, Any]:
    values = {name: value for each in sealed.values() for name, value in each.values.items()}
    return {
        "grant_id": str(profile.grant_id),
        "purpose": profile.purpose,
        "sequence": profile.sequence,
        "complete": profile.complete,
        "attributes": {name: _attribute(entry, values[name]) for name, entry in profile.entries.items()},
        **({"keys": sealed[""].keys} if "" in sealed else {}),
        **({"group_keys": named} if (named := {group: each.keys for group, each in sealed.items() if group}) else {}),
    }


def _by_group(profile: Profile, to: Addressee) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in profile.entries:
        found.setdefault(to.groups.get(name, ""), []).append(name)
    return found


def _sealed(
    names: Iterable[str], profile: Profile, group: str, to: Addressee, sealing: envelope.Sealing
) -> envelope.Envelope:
    # A department whose key is missing is waited for: another one's key would let others read what is for it.
    key = to.keys.get(group)
    if key is None:
        raise NoKeyError
    entries = profile.entries
    fields = {name: envelope.Field(entries[name].version, entries[name].json_text) for name in names}
    sealed = sealing.seal(fields, kid=key["kid"], jwk=key["jwk"])
    return sealed if to.one_time is None else _twice(sealed, to.one_time, sealing)


def _twice(sealed: envelope.Envelope, key: Mapping[str, Any], sealing: envelope.Sealing) -> envelope.Envelope:
    # The content type of a compact JWE is application/jose (RFC 7515 section 9.2.1).
    outer = sealing.seal_whole(sealed.keys.encode(), cty="jose", kid=key["kid"], jwk=key["jwk"])
    return replace(sealed, keys=outer)


def _attribute(entry: OpenedEntry, value: str) -> dict[str, Any]:
    return {
        "version": entry.version,
        "changed_at": entry.changed_at,
        "confirmed_at": entry.confirmed_at,
        "verification": "self-asserted",
        "value": value,
    }

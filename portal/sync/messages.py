"""What a company receives: one Security Event Token (RFC 8417), every value in it sealed by itself.

Push, pull and batch answer with the same message; the plan of its events is in docs/companies.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_URL, UUID, uuid5

from portal.errors import PortalError
from portal.vault import envelope

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from portal.consumer.queries import OpenedEntry
    from portal.vault.signing import Signer

TYPE = "secevent+jwt"
MEDIA_TYPE = "application/secevent+jwt"
PROFILE = "urn:ucm:event:profile"
CONSENT = "urn:ucm:event:consent"
VERIFICATION = "https://schemas.openid.net/secevent/ssf/event-type/verification"
_PUSHES = uuid5(NAMESPACE_URL, "urn:ucm:push")


class NoKeyError(PortalError):
    """The client has registered no encryption key that is still good."""

    code = "no-encryption-key"
    status = 409
    public = "The app has no encryption key registered."


@dataclass(frozen=True, kw_only=True)
class Addressee:
    """Whom a message is for: the client, the subject as its company knows them, and its public keys.

    `keys` maps each key group to `{"kid", "jwk"}`, `groups` an attribute to its key group; the group of any other
    is the one without a name.
    """

    client_id: str
    sub: str
    keys: Mapping[str, Mapping[str, Any]]
    groups: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Values to tell; `entries` are opened, so they stay out of every `repr`."""

    grant_id: UUID
    purpose: str
    sequence: int
    complete: bool
    entries: Mapping[str, OpenedEntry] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Consent:
    """A change of the grant to tell; `attributes` are the names shared from now on."""

    grant_id: UUID
    state: str
    version: int
    attributes: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class News:
    """What one message tells of one person; `sequence` is the record's, as far as it was looked at."""

    sequence: int | None
    profile: Profile | None = None
    consent: Consent | None = None

    @property
    def entries(self) -> Mapping[str, OpenedEntry]:
        """The details whose values it discloses."""
        return self.profile.entries if self.profile else {}

    @property
    def kinds(self) -> list[str]:
        """The types of its events; none when there is nothing to tell."""
        return [kind for kind, part in ((CONSENT, self.consent), (PROFILE, self.profile)) if part is not None]


def push_id(*, grant_id: UUID, person_id: UUID, generation: int) -> str:
    """Return the `jti` of a push: the same for every attempt, another for every newer state."""
    return uuid5(_PUSHES, f"{grant_id}/{person_id}/{generation}").hex


def build(
    signer: Signer,
    *,
    issuer: str,
    to: Addressee,
    jti: str,
    now: datetime,
    news: News,
) -> str:
    """Return the signed message; raise `NoKeyError` when there are values and no key to seal them to."""
    events: dict[str, Any] = {}
    if news.consent is not None:
        events[CONSENT] = _consent_event(news.consent)
    if news.profile is not None:
        events[PROFILE] = _profile_event(news.profile, to)
    return signer.sign(
        {
            "iss": issuer,
            "aud": to.client_id,
            "iat": int(now.timestamp()),
            "jti": jti,
            "sub_id": {"format": "iss_sub", "iss": issuer, "sub": to.sub},
            "events": events,
        },
        typ=TYPE,
    )


def verification(signer: Signer, *, issuer: str, client_id: str, jti: str, state: str, now: datetime) -> str:
    """Return the challenge an endpoint proves itself with (OpenID Shared Signals 1.0 section 8.1.4)."""
    claims = {
        "iss": issuer,
        "aud": client_id,
        "iat": int(now.timestamp()),
        "jti": jti,
        "sub_id": {"format": "opaque", "id": client_id},
        "events": {VERIFICATION: {"state": state}},
    }
    return signer.sign(claims, typ=TYPE)


def _consent_event(consent: Consent) -> dict[str, Any]:
    return {
        "grant_id": str(consent.grant_id),
        "state": consent.state,
        "version": consent.version,
        "attributes": sorted(consent.attributes),
    }


def _profile_event(profile: Profile, to: Addressee) -> dict[str, Any]:
    sealed = {group: _sealed(names, profile, group, to) for group, names in _by_group(profile, to).items()}
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


def _sealed(names: Iterable[str], profile: Profile, group: str, to: Addressee) -> envelope.Envelope:
    # A department whose key is missing is waited for: another one's key would let others read what is for it.
    key = to.keys.get(group)
    if key is None:
        raise NoKeyError
    entries = profile.entries
    fields = {name: envelope.Field(entries[name].version, entries[name].json_text) for name in names}
    return envelope.seal(fields, kid=key["kid"], jwk=key["jwk"])


def _attribute(entry: OpenedEntry, value: str) -> dict[str, Any]:
    return {
        "version": entry.version,
        "changed_at": entry.changed_at,
        "confirmed_at": entry.confirmed_at,
        "verification": "self-asserted",
        "value": value,
    }

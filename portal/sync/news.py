"""What there is to tell a company of one person, by push or by poll, and whether it may still be told.

Nothing is kept of it: it follows from the outbox row, the grant and the record at the moment of looking.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from portal.consent import rules as consent
from portal.consent.rules import Channel, Refusal
from portal.consumer import queries as consumer
from portal.oauth.statements import standing
from portal.sync.messages import Consent, News, NoKeyError, Profile
from portal.vault import persons
from portal.vault.keyring import SealBrokenError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from sqlalchemy import Row

    from portal.vault.keyring import Keyring


class Later(NamedTuple):
    """Nothing can be told now, and why; `soon` when somebody may mend it at any moment."""

    problem: str
    soon: bool = False


def find(row: Row[Any], record: Row[Any] | None, *, keyring: Keyring, now: datetime) -> News | Later:
    """Return what the company of `row` (a row of `CLAIM`) is to be told; news without `kinds` is none.

    `record` is the person's row of `RECORDS`.
    """
    decision = _decide(row, now)
    if decision.refusal is Refusal.CLIENT_SUSPENDED or row.sub is None or record is None:
        return Later("Held: the app is suspended or the account closed.")
    if decision.allowed and not row.keys:
        return Later(NoKeyError.public, soon=True)
    try:
        profile = _profile(row, record, keyring, decision.attributes) if decision.allowed else None
    except SealBrokenError as error:
        return Later(error.public)
    return News(sequence=record.sequence, profile=profile, consent=_consent_event(row, now))


def still_allowed(row: Row[Any], found: News, *, now: datetime) -> bool:
    """Decide again on the same grant, right before the first byte, whether all of `found` may be told."""
    if found.consent is not None and found.consent.state != _state(row, now):
        return False
    if found.profile is None:
        return True
    return set(found.profile.entries) <= set(_decide(row, now).attributes)


def _decide(row: Row[Any], now: datetime) -> consent.Decision:
    return consent.decide(standing(row), client_id=row.client_id, channel=Channel.PUSH, requested=None, now=now)


def _consent_event(row: Row[Any], now: datetime) -> Consent | None:
    if row.told_version == row.grant_version:
        return None
    state = _state(row, now)
    shared = row.attributes if state == "active" else []
    return Consent(grant_id=row.grant_id, state=state, version=row.grant_version, attributes=shared)


def _state(row: Row[Any], now: datetime) -> str:
    """Return what is true of a grant now, as docs/companies.md names it, though no step has written it yet."""
    if row.state not in {"active", "paused"}:
        return str(row.state)
    if row.expires_at is not None and row.expires_at <= now:
        return "expired"
    return "ended" if row.withdrawn_at is not None else str(row.state)


def _profile(row: Row[Any], record: Row[Any], keyring: Keyring, attributes: Iterable[str]) -> Profile | None:
    if record.entries is None:
        return None
    complete = row.acked_sequence == 0 or row.told_version != row.grant_version
    sealed: Mapping[str, Any] = record.entries
    names = [
        name for name in attributes if name in sealed and (complete or sealed[name]["sequence"] > row.acked_sequence)
    ]
    if not names:
        return None
    vault = persons.unlock_row(keyring, row.person_id, record.keyring_version, record.wrapped_root, record.commitment)
    return Profile(
        grant_id=row.grant_id,
        purpose=row.purpose,
        sequence=record.sequence,
        complete=complete,
        entries=consumer.open_entries(vault, sealed, names),
    )

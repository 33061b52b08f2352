"""What there is to tell a company of one person, by push or by poll, and whether it may still be told.

Nothing is kept of it: it follows from the outbox row, the grant and the record at the moment of looking.  What
happened in between makes no difference: a company is told what is true and how that differs from what it was told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from portal.consent import deletion_rules
from portal.consent import rules as consent
from portal.consent.rules import Channel, Refusal
from portal.oauth.statements import standing
from portal.sync import messages
from portal.sync.messages import Confirmed, Consent, Erasure, News, NoKeyError, Notice, Profile
from portal.vault.keyring import SealBrokenError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Row

    from portal.sync.records import Record

OVER = {"withdrawn": "stopped", "ended": "ended", "expired": "expired", "invalidated": "ended"}


class Later(NamedTuple):
    """Nothing can be told now, and why; `soon` when somebody may mend it at any moment."""

    problem: str
    soon: bool = False


def find(row: Row[Any], record: Record | None, *, now: datetime) -> News | Later:
    """Return what the company of `row` is to be told; news without `kinds` is none.

    `row` has the columns `statements.NEWS` and `HOW_TOLD` beside `GRANT`, and `keys`; `record` is the person's, if
    there still is one.
    """
    decision = _decide(row, now)
    if decision.refusal is Refusal.CLIENT_SUSPENDED or row.sub is None or record is None:
        return Later("Held: the app is suspended or the account closed.")
    entries = record.entries
    covered = {name: entries[name] for name in decision.attributes if name in entries}
    told = _consent(row, now)
    # Whoever hears that they have a consent, or have it again, knows afterwards all that it covers.
    complete = row.acked_sequence == 0 or told is not None
    changed = [name for name in covered if complete or covered[name]["sequence"] > row.acked_sequence]
    changed = changed if _wants(row, messages.PROFILE) else []
    if changed and not row.thin and not _openable(row, changed):
        return Later(NoKeyError.public, soon=True)
    try:
        profile = _profile(row, record, changed, complete=complete) if changed and not row.thin else None
    except SealBrokenError as error:
        return Later(error.public)
    return News(
        sequence=record.sequence,
        state=_state(row, now),
        consent=told,
        erasure=_erasure(row, now),
        profile=profile,
        notice=_notice(row, record, covered, changed, complete=complete) if changed and row.thin else None,
        confirmed=_confirmed(row, record, covered, _only_confirmed(row, covered, changed)),
    )


def change(*, told: str, state: str, differs: bool) -> str:
    """Return what `state` is to a company that was told `told` last; empty when there is nothing to tell.

    `told` is empty for a company that knows of nothing; `differs` says that what an active consent covers is
    something else than it was told.
    """
    if state in OVER:
        return "" if told == state else OVER[state]
    if state == "paused":
        return "" if told == "paused" else "paused"
    if told == "active":
        return "changed" if differs else ""
    return "resumed" if told == "paused" else "given"


def _decide(row: Row[Any], now: datetime) -> consent.Decision:
    return consent.decide(standing(row), client_id=row.client_id, channel=Channel.PUSH, requested=None, now=now)


def _openable(row: Row[Any], names: Iterable[str]) -> bool:
    # What is for a department waits for that department's key.
    keys = row.keys or {}
    return all(row.key_groups.get(name, "") in keys for name in names)


def _wants(row: Row[Any], kind: str) -> bool:
    return row.events is None or kind in row.events


def _state(row: Row[Any], now: datetime) -> str:
    """Return what is true of a grant now, as docs/companies/messages.md names it, though no step has written it yet."""
    if row.state not in {"active", "paused"}:
        return str(row.state)
    if row.expires_at is not None and row.expires_at <= now:
        return "expired"
    return "ended" if row.withdrawn_at is not None else str(row.state)


def _consent(row: Row[Any], now: datetime) -> Consent | None:
    state = _state(row, now)
    differs = row.told_version != row.grant_version and _content(row, "told_") != _content(row, "")
    what = change(told=row.told_state, state=state, differs=differs)
    if not what:
        return None
    return Consent(
        grant_id=row.grant_id,
        state=state,
        change=what,
        version=row.grant_version,
        attributes=row.attributes if state == "active" else [],
        mode=row.mode,
        expires_at=row.expires_at,
    )


def _content(row: Row[Any], when: str) -> tuple[object, ...]:
    names = getattr(row, f"{when}attributes")
    return getattr(row, f"{when}mode"), names and sorted(names), getattr(row, f"{when}expires_at")


def _erasure(row: Row[Any], now: datetime) -> Erasure | None:
    if row.erasure_asked_at is None or row.told_erasure or _state(row, now) not in OVER:
        return None
    delete_by = deletion_rules.due(
        changed_at=row.changed_at,
        expires_at=row.expires_at,
        retention_days=row.retention_days,
        asked_at=row.erasure_asked_at,
    )
    return Erasure(
        grant_id=row.grant_id, attributes=row.ever_shared, asked_at=row.erasure_asked_at, delete_by=delete_by
    )


def _profile(row: Row[Any], record: Record, names: Iterable[str], *, complete: bool) -> Profile:
    return Profile(
        grant_id=row.grant_id,
        purpose=row.purpose,
        sequence=record.sequence,
        complete=complete,
        entries=record.opened(names),
    )


def _notice(
    row: Row[Any], record: Record, covered: Mapping[str, Any], names: Iterable[str], *, complete: bool
) -> Notice:
    return Notice(
        grant_id=row.grant_id,
        purpose=row.purpose,
        sequence=record.sequence,
        complete=complete,
        marks=_marks(covered, names, ("version", "changed_at", "confirmed_at")),
    )


def _only_confirmed(row: Row[Any], covered: Mapping[str, Any], changed: Collection[str]) -> list[str]:
    # A profile says of each of its details when it was confirmed; the others are named by themselves.
    if not _wants(row, messages.CONFIRMED):
        return []
    since = row.acked_sequence
    return [name for name in covered if name not in changed and covered[name].get("confirmed_sequence", 0) > since]


def _confirmed(row: Row[Any], record: Record, covered: Mapping[str, Any], names: Sequence[str]) -> Confirmed | None:
    if not names:
        return None
    return Confirmed(
        grant_id=row.grant_id,
        purpose=row.purpose,
        sequence=record.sequence,
        marks=_marks(covered, names, ("version", "confirmed_at")),
    )


def _marks(covered: Mapping[str, Any], names: Iterable[str], members: Collection[str]) -> dict[str, dict[str, Any]]:
    return {name: {member: covered[name][member] for member in members} for name in names}

"""Looking up what a person keeps: the current values, the sealed entries behind them, and their history."""

from __future__ import annotations

import json
from base64 import b64decode
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from portal.consumer.models import CurrentRecord, Value
from portal.vault import persons

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from uuid import UUID

    from sqlalchemy.orm import Session

    from portal.consumer.formats import JsonValue
    from portal.vault.keyring import Keyring
    from portal.vault.persons import PersonVault

UNDO_WITHIN = timedelta(days=14)
REMOVED = "null"


@dataclass(frozen=True, kw_only=True)
class OpenedEntry:
    """One current value, opened: JSON text, `null` for a removed one; times are ISO 8601 text as stored."""

    version: int
    sequence: int
    json_text: str = field(repr=False)
    changed_at: str
    confirmed_at: str | None


@dataclass(frozen=True, kw_only=True)
class CurrentValue:
    """One current value as its person reads it."""

    version: int
    sequence: int
    value: JsonValue = field(repr=False)
    changed_at: datetime
    confirmed_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class PastValue:
    """One version; `value` None where the person removed it, `replaced_at` None while it is current."""

    attribute: str
    version: int
    value: JsonValue | None = field(repr=False)
    changed_at: datetime
    changed_by: str
    restores: int | None
    replaced_at: datetime | None

    def restorable(self, now: datetime) -> bool:
        """Say whether it may be put back: it was replaced at most 14 days ago."""
        return self.replaced_at is not None and now - self.replaced_at <= UNDO_WITHIN


def entries(session: Session, *, person_id: UUID) -> Mapping[str, Any]:
    """Return the sealed entries of `CurrentRecord`, by attribute; empty for a person without a record."""
    found = session.scalar(select(CurrentRecord.entries).where(CurrentRecord.person_id == person_id))
    return found or {}


def sequence(session: Session, *, person_id: UUID) -> int:
    """Return the record's number, one higher after every change; 0 before the first."""
    return session.scalar(select(CurrentRecord.sequence).where(CurrentRecord.person_id == person_id)) or 0


def open_entries(vault: PersonVault, sealed: Mapping[str, Any], attributes: Iterable[str]) -> dict[str, OpenedEntry]:
    """Open those of `attributes` that have an entry; raise `SealBrokenError` for one that was tampered with."""
    return {name: _opened(vault, name, sealed[name]) for name in attributes if name in sealed}


def current(session: Session, *, keyring: Keyring, person_id: UUID) -> dict[str, CurrentValue]:
    """Return every value the person has, by attribute; a removed or never given one is not in it."""
    sealed = entries(session, person_id=person_id)
    if not sealed:
        return {}
    vault = persons.unlock(session, keyring=keyring, person_id=person_id)
    opened = open_entries(vault, sealed, sealed)
    return {name: _current(entry) for name, entry in opened.items() if entry.json_text != REMOVED}


def history(
    session: Session, *, keyring: Keyring, person_id: UUID, attribute: str | None = None, limit: int = 100
) -> list[PastValue]:
    """Return the newest `limit` versions, newest first: of one attribute, or of the whole record."""
    wanted = select(Value).where(Value.person_id == person_id).order_by(Value.sequence.desc(), Value.attribute)
    if attribute is not None:
        wanted = wanted.where(Value.attribute == attribute)
    rows = session.scalars(wanted.limit(limit)).all()
    if not rows:
        return []
    return list(_past(persons.unlock(session, keyring=keyring, person_id=person_id), rows))


def past(session: Session, *, keyring: Keyring, person_id: UUID, attribute: str, version: int) -> PastValue | None:
    """Return one version of `attribute`, or None when this person never had it."""
    # The version after it says when it was replaced.
    wanted = select(Value).where(
        Value.person_id == person_id, Value.attribute == attribute, Value.version.in_((version, version + 1))
    )
    rows = session.scalars(wanted.order_by(Value.version.desc())).all()
    if not rows or rows[-1].version != version:
        return None
    vault = persons.unlock(session, keyring=keyring, person_id=person_id)
    return list(_past(vault, rows))[-1]


def told(session: Session, vault: PersonVault, *, attribute: str, versions: Collection[int]) -> list[str]:
    """Return the JSON text of `versions` of `attribute`, opened; raise `SealBrokenError` for a broken one."""
    wanted = select(Value.version, Value.sealed).where(
        Value.person_id == vault.person_id, Value.attribute == attribute, Value.version.in_(versions)
    )
    return [_text(vault, attribute, row.version, row.sealed) for row in session.execute(wanted)]


def _past(vault: PersonVault, rows: Iterable[Value]) -> Iterator[PastValue]:
    replaced: dict[str, datetime] = {}
    for row in rows:
        yield PastValue(
            attribute=row.attribute,
            version=row.version,
            value=json.loads(_text(vault, row.attribute, row.version, row.sealed)),
            changed_at=row.changed_at,
            changed_by=row.changed_by,
            restores=row.restores,
            replaced_at=replaced.get(row.attribute),
        )
        replaced[row.attribute] = row.changed_at


def _opened(vault: PersonVault, name: str, entry: Mapping[str, Any]) -> OpenedEntry:
    sealed = b64decode(entry["sealed"]) if entry["sealed"] is not None else None
    return OpenedEntry(
        version=entry["version"],
        sequence=entry["sequence"],
        json_text=_text(vault, name, entry["version"], sealed),
        changed_at=entry["changed_at"],
        confirmed_at=entry["confirmed_at"],
    )


def _text(vault: PersonVault, attribute: str, version: int, sealed: bytes | None) -> str:
    return REMOVED if sealed is None else vault.open(attribute, version, sealed)


def _current(entry: OpenedEntry) -> CurrentValue:
    confirmed = entry.confirmed_at
    return CurrentValue(
        version=entry.version,
        sequence=entry.sequence,
        value=json.loads(entry.json_text),
        changed_at=datetime.fromisoformat(entry.changed_at),
        confirmed_at=datetime.fromisoformat(confirmed) if confirmed else None,
    )

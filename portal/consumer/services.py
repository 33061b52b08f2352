"""Changing what a person keeps: every change is one sequence number, one row a value, and one announced fact."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select, update
from sqlalchemy.dialects.postgresql import insert as insert_or

from portal.consumer import freshness, queries
from portal.consumer.catalogue import CATALOGUE
from portal.consumer.models import CurrentRecord, Value
from portal.errors import NotFoundError, RefusedError
from portal.events import RecordChanged, RecordConfirmed, announce
from portal.vault import persons

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.orm import Session

    from portal.consumer.formats import JsonValue
    from portal.vault.keyring import Keyring
    from portal.vault.persons import PersonVault

PERSON = "person"


class UnknownAttributeError(NotFoundError):
    """The catalogue has no such attribute."""


class UnknownVersionError(NotFoundError):
    """This person's attribute never had that version."""


class TooLateError(RefusedError):
    code = "undo-too-late"
    status = 409
    public = "This detail was replaced more than 14 days ago, so it cannot be put back. Enter it again instead."


def save(
    session: Session,
    *,
    keyring: Keyring,
    person_id: UUID,
    changes: Mapping[str, JsonValue | None],
    now: datetime,
    changed_by: str = PERSON,
    restores: int | None = None,
) -> int:
    """Keep `changes` (attribute → value as `formats.parse` returns it, None to remove) and return the sequence.

    Values that are already so are left out; if nothing is left, the sequence stays and nothing is announced.
    The person's vault key must exist (`vault.persons.create`); the record is made here when missing.
    """
    if unknown := sorted(changes.keys() - CATALOGUE.keys()):
        raise UnknownAttributeError(private=f"unknown attribute: {unknown[0]}")
    sequence, entries = _lock(session, person_id)
    vault = persons.unlock(session, keyring=keyring, person_id=person_id)
    different = _different(vault, entries, changes)
    if not different:
        return sequence
    rows = [
        _row(vault, name, text, entries.get(name), restores=restores, changed_by=changed_by, now=now)
        | {"sequence": sequence + 1}
        for name, text in different.items()
    ]
    session.execute(insert(Value), rows)
    _keep(session, person_id, sequence + 1, {**entries, **{row["attribute"]: _entry(row) for row in rows}})
    fact = RecordChanged(person_id=person_id, attributes=tuple(different), sequence=sequence + 1, at=now)
    announce(session, fact)
    return sequence + 1


def undo(session: Session, *, keyring: Keyring, person_id: UUID, attribute: str, version: int, now: datetime) -> int:
    """Put `version` of `attribute` back as a new version, and return the sequence.

    Raises `UnknownVersionError`, and `TooLateError` when it was replaced more than 14 days ago.
    """
    _lock(session, person_id)
    found = queries.past(session, keyring=keyring, person_id=person_id, attribute=attribute, version=version)
    if found is None:
        raise UnknownVersionError(private=f"{attribute} has no version {version}")
    if found.replaced_at is None:
        return queries.sequence(session, person_id=person_id)
    if not found.restorable(now):
        raise TooLateError(private=attribute)
    return save(
        session,
        keyring=keyring,
        person_id=person_id,
        changes={attribute: found.value},
        now=now,
        restores=version,
    )


def confirm(session: Session, *, person_id: UUID, versions: Mapping[str, int], now: datetime) -> tuple[str, ...]:
    """Note that the person looked at `versions` (attribute → version) and said they are still right; return which.

    Nobody confirms what they have not seen: a value that was changed or removed since is left out.  So is one that
    was confirmed within the last day: there is nothing to tell of that.
    """
    if unknown := sorted(versions.keys() - CATALOGUE.keys()):
        raise UnknownAttributeError(private=f"unknown attribute: {unknown[0]}")
    sequence, entries = _lock(session, person_id)
    seen = (name for name, version in versions.items() if entries.get(name, {}).get("version") == version)
    right = tuple(name for name in seen if freshness.confirmable(entries[name], now=now))
    if right:
        marks = {"confirmed_at": now.isoformat(), "confirmed_sequence": sequence + 1}
        _keep(session, person_id, sequence + 1, {**entries, **{name: {**entries[name], **marks} for name in right}})
        announce(session, RecordConfirmed(person_id=person_id, attributes=right, sequence=sequence + 1, at=now))
    return right


def _lock(session: Session, person_id: UUID) -> tuple[int, dict[str, Any]]:
    # Whoever comes second waits here until the first has committed, and then reads what it left.
    empty = {"person_id": person_id, "sequence": 0, "entries": {}}
    session.execute(insert_or(CurrentRecord).values(**empty).on_conflict_do_nothing())
    row = session.execute(
        select(CurrentRecord.sequence, CurrentRecord.entries)
        .where(CurrentRecord.person_id == person_id)
        .with_for_update()
    ).one()
    return row.sequence, row.entries


def _different(
    vault: PersonVault, entries: Mapping[str, Any], changes: Mapping[str, JsonValue | None]
) -> dict[str, str]:
    held = queries.open_entries(vault, entries, changes)
    wanted = {name: json.dumps(value, ensure_ascii=False, separators=(",", ":")) for name, value in changes.items()}
    return {
        name: text
        for name, text in wanted.items()
        if text != (held[name].json_text if name in held else queries.REMOVED)
    }


def _row(
    vault: PersonVault,
    name: str,
    text: str,
    entry: Mapping[str, Any] | None,
    *,
    restores: int | None,
    changed_by: str,
    now: datetime,
) -> dict[str, Any]:
    version = entry["version"] + 1 if entry else 1
    return {
        "person_id": vault.person_id,
        "attribute": name,
        "version": version,
        "sealed": None if text == queries.REMOVED else vault.seal(name, version, text),
        "changed_at": now,
        "changed_by": changed_by,
        "restores": restores,
    }


def _entry(row: Mapping[str, Any]) -> dict[str, Any]:
    at = row["changed_at"].isoformat()
    return {
        "version": row["version"],
        "sequence": row["sequence"],
        "changed_at": at,
        # Whoever types a value says by that that it is right; one that came from elsewhere awaits its person.
        "confirmed_at": at if row["changed_by"] == PERSON else None,
        "sealed": None if row["sealed"] is None else b64encode(row["sealed"]).decode(),
    }


def _keep(session: Session, person_id: UUID, sequence: int, entries: Mapping[str, Any]) -> None:
    session.execute(
        update(CurrentRecord)
        .where(CurrentRecord.person_id == person_id)
        .values(sequence=sequence, entries=entries)
        .execution_options(synchronize_session=False)
    )

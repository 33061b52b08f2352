"""People's records as a drain or a poll reads them: each is unlocked, and each of its values opened, at most once.

One edit is news to every company that shares it, so those that are told together are told from one opened record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from portal.consumer import queries as consumer
from portal.db import Prepared
from portal.vault import persons

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from uuid import UUID

    from sqlalchemy.orm import Session

    from portal.consumer.queries import OpenedEntry
    from portal.vault.keyring import Keyring
    from portal.vault.persons import PersonVault

# By itself and after the locks: whoever claims the news of a change finds the change in the record.
_RECORDS = Prepared("records", """
    SELECT k.person_id, k.keyring_version, k.wrapped_root, k.commitment, r.sequence, r.entries
      FROM person_key k LEFT JOIN current_record r ON r.person_id = k.person_id
     WHERE k.person_id = ANY(CAST(:person_ids AS uuid[]))
""")  # fmt: skip


class Record:
    """One person's record: its `sequence`, 0 before the first change, and its sealed `entries` by attribute."""

    def __init__(self, row: Any, keyring: Keyring) -> None:  # noqa: ANN401 - a row of `_RECORDS`
        self.sequence: int = row.sequence or 0
        self.entries: Mapping[str, Any] = row.entries or {}
        self._row, self._keyring = row, keyring
        self._vault: PersonVault | None = None
        self._opened: dict[str, OpenedEntry] = {}

    def opened(self, names: Iterable[str]) -> dict[str, OpenedEntry]:
        """Return the entries of `names`, all of which it has; raise `SealBrokenError` for one that does not open."""
        unopened = [name for name in names if name not in self._opened]
        if unopened:
            self._opened |= consumer.open_entries(self._unlocked(), self.entries, unopened)
        return {name: self._opened[name] for name in names}

    def _unlocked(self) -> PersonVault:
        if self._vault is None:
            row = self._row
            self._vault = persons.unlock_row(
                self._keyring, row.person_id, row.keyring_version, row.wrapped_root, row.commitment
            )
        return self._vault


def read(session: Session, person_ids: Iterable[UUID], keyring: Keyring) -> dict[UUID, Record]:
    """Return the records of `person_ids`, without those of people who were erased."""
    rows = _RECORDS.within(session, {"person_ids": list(set(person_ids))})
    return {row.person_id: Record(row, keyring) for row in rows}

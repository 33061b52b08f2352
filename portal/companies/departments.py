"""Which department of a company reads which detail: a purpose names a key group for an attribute.

What a department is named for is sealed to its key alone.  While it has none that may be used, the message waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from portal.companies import key_states, queries
from portal.companies.client_keys import held, lock_client
from portal.companies.keys import ENCRYPTION
from portal.companies.models import Purpose
from portal.errors import InvalidError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy.orm import Session


class DepartmentError(InvalidError):
    code = "unknown-department"
    public = "Choose a department that has a key, for a detail of this purpose."


def of_client(session: Session, client_id: str, *, now: datetime) -> dict[str, bool]:
    """Return the departments of a client that have a live key, and of each whether one may be used now."""
    live = [row for row in held(session, client_id) if row.use == ENCRYPTION and row.retired_at is None]
    usable = key_states.in_use(live, now)
    return {row.key_group: row.key_group in usable for row in live if row.key_group}


def choose(session: Session, *, client_id: str, code: str, groups: Mapping[str, str]) -> None:
    """Name the departments of a purpose's attributes; of those asked for now, one not named is for everybody's key.

    Raises `DepartmentError` for an attribute the purpose does not ask for or a department without a live key, and
    `NotFoundError`.
    """
    lock_client(session, client_id)
    row = session.scalar(
        select(Purpose).where(Purpose.client_id == client_id, Purpose.code == code, Purpose.withdrawn_at.is_(None))
    )
    if row is None:
        raise NotFoundError
    now = queries.purpose_by_code(session, client_id, code)
    asked, shown = row.attributes, now.attributes if now else ()
    there = {key.key_group for key in held(session, client_id) if key.use == ENCRYPTION and key.retired_at is None}
    for attribute, group in groups.items():
        if attribute not in asked or not group or group not in there:
            raise DepartmentError(pointer=f"/groups/{attribute}")
    earlier = {attribute: group for attribute, group in row.key_groups.items() if attribute not in shown}
    row.key_groups = earlier | dict(groups)
    session.flush()

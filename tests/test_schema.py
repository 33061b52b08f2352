"""What every table promises."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import UniqueConstraint, text
from sqlalchemy.exc import ProgrammingError

from portal import schema

if TYPE_CHECKING:
    from sqlalchemy import Table
    from sqlalchemy.orm import Session

    from portal.config import Settings

OWNED = [
    table
    for table in schema.metadata().tables.values()
    if "person_id" in table.columns and not table.info.get("directory")
]


@pytest.mark.parametrize("table", OWNED, ids=lambda table: table.name)
def test_what_a_person_owns_is_led_by_them(table: Table) -> None:
    unique = [list(rule.columns) for rule in table.constraints if isinstance(rule, UniqueConstraint)]
    for columns in [list(table.primary_key.columns), *unique]:
        assert columns[0].name == "person_id"


@pytest.mark.parametrize("statement", ["UPDATE {} SET person_id = person_id", "DELETE FROM {}", "TRUNCATE {}"])
@pytest.mark.parametrize("table", ["disclosure", "disclosure_outcome", "grant_version", "dispute_step"])
def test_the_ledger_refuses_change(session: Session, table: str, statement: str) -> None:
    with pytest.raises(ProgrammingError, match="permission denied"):
        session.execute(text(statement.format(table)))


def test_the_schema_is_current(settings: Settings) -> None:
    assert schema.is_current(settings.database_owner_url)

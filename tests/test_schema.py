"""What every table promises."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from alembic import command
from sqlalchemy import UniqueConstraint, create_engine, make_url, text
from sqlalchemy.exc import ProgrammingError

from portal import db, schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection, Table
    from sqlalchemy.orm import Session

    from portal.config import Settings

_DECLARED = """
    INSERT INTO company (company_id, slug, legal_name, trading_name, registration_number, country, contact_email,
                         privacy_url, stop_effect, state, created_at)
    VALUES ('00000000-0000-0000-0000-000000000001', 'a', 'A', 'A', '1', 'IE', 'a@a.example', 'https://a.example/', '',
            'verified', now());
    INSERT INTO client (client_id, company_id, name, environment, redirect_uris, state, created_at, metadata)
    VALUES ('live_a', '00000000-0000-0000-0000-000000000001', 'A', 'live', '[]', 'active', now(), '{}');
    INSERT INTO purpose (purpose_id, client_id, code, version, sentence, dpv, mode, required, optional, retention_days,
                         longest_days, pulls_a_day, thin, strict, key_groups, created_at)
    VALUES ('00000000-0000-0000-0000-000000000002', 'live_a', 'bills', 1, 'send bills', 'PaymentManagement', 'asked',
            '[{"attribute": "name.full", "reason": "x"}]', '[{"attribute": "email.main", "reason": "y"}]', 30, 365, 4,
            false, false, '{}', now())
"""
OWNED = [
    table
    for table in schema.metadata().tables.values()
    if "person_id" in table.columns and not table.info.get("directory")
]


@contextmanager
def _database_at(revision: str, settings: Settings) -> Iterator[tuple[Connection, Callable[[], None]]]:
    """A database of its own at an earlier version, and what brings it to the newest."""
    engine = create_engine(settings.database_owner_url, isolation_level="AUTOCOMMIT")
    name = f"earlier_{db.new_id().hex}"
    with engine.connect() as server:
        server.execute(text(f"CREATE DATABASE {name}"))
    earlier = create_engine(make_url(settings.database_owner_url).set(database=name))
    try:
        with earlier.begin() as owner:
            config = schema.alembic_config()
            config.attributes |= {"connection": owner, "app_role": make_url(settings.database_url).username}
            command.upgrade(config, revision)
            yield owner, lambda: command.upgrade(config, "head")
    finally:
        earlier.dispose()
        with engine.connect() as server:
            server.execute(text(f"DROP DATABASE {name}"))
        engine.dispose()


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


def test_what_was_declared_before_there_were_versions_stands_live(settings: Settings) -> None:
    """The migrations of this release, with a company and a purpose that are there already."""
    with _database_at("0006", settings) as (owner, upgrade):
        owner.execute(text(_DECLARED))
        upgrade()
        said = "version, state, lawful_basis, mode, retention_days, pulls_a_day, required, decided_by"
        found = owner.execute(text(f"SELECT {said} FROM purpose_version")).one()  # noqa: S608 - constants
        assert tuple(found) == (1, "live", "consent", "asked", 30, 4, [{"attribute": "name.full", "reason": "x"}], None)
        purpose = owner.execute(text("SELECT version, attributes FROM purpose")).one()
        assert tuple(purpose) == (1, ["name.full", "email.main"])


def test_the_schema_is_current(settings: Settings) -> None:
    assert schema.is_current(settings.database_owner_url)

"""The whole schema: every slice's tables, and the migrations that make them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, make_url

from portal.config import PACKAGE
from portal.db import Base

if TYPE_CHECKING:
    from sqlalchemy import MetaData

SLICES = ("vault", "ledger", "identity", "companies", "consumer", "consent", "disputes", "oauth", "sync")


def metadata() -> MetaData:
    """Return the metadata with every slice's tables in it."""
    for name in SLICES:
        import_module(f"portal.{name}.models")
    return Base.metadata


def alembic_config() -> Config:
    """Return Alembic's settings; there is no ini file."""
    config = Config()
    config.set_main_option("script_location", str(PACKAGE / "migrations"))
    config.set_main_option("path_separator", "os")
    return config


def migrate(owner_url: str, *, app_url: str) -> None:
    """Bring the database to the newest version as its owner, and give the role of `app_url` its rights.

    Does nothing when the database is there already.
    """
    engine = create_engine(owner_url)
    config = alembic_config()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        config.attributes["app_role"] = make_url(app_url).username
        command.upgrade(config, "head")
    engine.dispose()


def is_current(owner_url: str) -> bool:
    """Say whether the database is at the newest version."""
    engine = create_engine(owner_url)
    with engine.connect() as connection:
        found = MigrationContext.configure(connection).get_current_revision()
    engine.dispose()
    return found == ScriptDirectory.from_config(alembic_config()).get_current_head()

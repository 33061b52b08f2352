"""The database as every process expects it: at the newest version, with a key to sign with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portal import db, schema
from portal.vault import keyring, signing

if TYPE_CHECKING:
    from portal.config import Settings


def migrate(settings: Settings) -> None:
    """Bring the database to the newest version, as its owner, and make the first signing key if there is none."""
    schema.migrate(settings.database_owner_url, app_url=settings.database_url)
    with db.transaction(settings.database_url) as session:
        signing.ensure(session, keyring=keyring.load(settings.keyring_file), now=db.now())

"""What workers run for the authorization server; the argument is an id."""

from __future__ import annotations

from uuid import UUID

from portal import config, db
from portal.oauth import ping as pings
from portal.vault import keyring as keyrings


def ping(request_id: str) -> None:
    """Ping the client whose answer is there; the reconciler rings again for what is to be tried once more."""
    settings = config.current()
    keyring = keyrings.load(settings.keyring_file)
    with db.transaction(settings.database_url) as session:
        due = pings.take(session, keyring=keyring, request_id=UUID(request_id), now=db.now())
    # Nothing is open or locked while a stranger's server is asked.
    if due is not None and pings.send(settings, due):
        with db.transaction(settings.database_url) as session:
            pings.forget(session, due.request_hash)

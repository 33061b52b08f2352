"""Changing and ending a client that there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from portal import events
from portal.companies import client_keys
from portal.companies.client_rules import Described
from portal.companies.metadata import ClientMetadata
from portal.companies.models import Client
from portal.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from sqlalchemy.orm import Session

    from portal.companies.keys import PublicKey
    from portal.companies.queries import ClientFacts

ACTIVE, SUSPENDED, ENDED = "active", "suspended", "ended"


def described(client: ClientFacts) -> Described:
    """Return a client as it is kept, for whoever shows or changes it."""
    return Described(name=client.name, redirect_uris=tuple(client.redirect_uris), metadata=client.metadata)


def replace(
    session: Session,
    *,
    client_id: str,
    described: Described,
    keys: Collection[PublicKey] | None,
    now: datetime,
) -> None:
    """Keep a client as it is described from now on; `keys`, checked, take the place of those it has.

    Without `keys` those it has stay.  Raises what `client_keys.replace` raises, and `NotFoundError` once it is ended.
    """
    held = client_keys.lock_client(session, client_id)
    if held.state == ENDED:
        raise NotFoundError
    if described.metadata.jwks_uri != ClientMetadata.of(held.settings).jwks_uri:
        held.keys_fetched_at = now if described.metadata.jwks_uri else None
    held.name, held.redirect_uris, held.settings = (
        described.name, list(described.redirect_uris), described.settings(),
    )  # fmt: skip
    session.flush()
    if keys is not None:
        client_keys.replace(session, client_id=client_id, keys=keys, now=now)


def end(session: Session, *, client_id: str, now: datetime) -> None:
    """End a client for good: from the next call nothing it holds is worth anything (RFC 7592 section 2.3)."""
    held = client_keys.lock_client(session, client_id)
    held.state, held.registration_token_hash = ENDED, None
    session.flush()
    events.announce(session, events.ClientEnded(client_id=client_id, at=now))


def is_suspended(session: Session, *, client_id: str) -> bool:
    """Say whether a client is suspended by itself; its company may be, too."""
    return session.scalar(select(Client.state).where(Client.client_id == client_id)) == SUSPENDED


def suspend(session: Session, *, client_id: str) -> None:
    """Let a client have nothing from the next call and the next message on, until that is lifted.

    What is owed to it is kept.  One that is suspended or ended stays as it is.
    """
    held = client_keys.lock_client(session, client_id)
    held.state = SUSPENDED if held.state == ACTIVE else held.state
    session.flush()


def lift(session: Session, *, client_id: str) -> None:
    """Let a suspended client go on, and have sent what it was owed meanwhile."""
    held = client_keys.lock_client(session, client_id)
    if held.state == SUSPENDED:
        held.state = ACTIVE
        session.flush()
        events.announce(session, events.ClientLifted(client_id=client_id))

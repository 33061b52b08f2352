"""Changing and ending a client that there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from portal import events
from portal.companies import keys as keysets
from portal.companies.client_rules import Described
from portal.companies.metadata import ClientMetadata
from portal.companies.models import ClientKey
from portal.companies.services import key_row, lock_client, refuse_known
from portal.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from sqlalchemy.orm import Session

    from portal.companies.queries import ClientFacts

ACTIVE, ENDED = "active", "ended"


def described(client: ClientFacts) -> Described:
    """Return a client as it is kept, for whoever shows or changes it."""
    return Described(name=client.name, redirect_uris=tuple(client.redirect_uris), metadata=client.metadata)


def replace(
    session: Session,
    *,
    client_id: str,
    described: Described,
    keys: Collection[keysets.PublicKey] | None,
    now: datetime,
) -> None:
    """Keep a client as it is described from now on; `keys`, checked, take the place of those it has.

    Without `keys` those it has stay.  Raises what `replace_keys` raises, and `NotFoundError` once it is ended.
    """
    held = lock_client(session, client_id)
    if held.state == ENDED:
        raise NotFoundError
    if described.metadata.jwks_uri != ClientMetadata.of(held.settings).jwks_uri:
        held.keys_fetched_at = now if described.metadata.jwks_uri else None
    held.name, held.redirect_uris, held.settings = (
        described.name, list(described.redirect_uris), described.settings(),
    )  # fmt: skip
    session.flush()
    if keys is not None:
        replace_keys(session, client_id=client_id, keys=keys, now=now)


def replace_keys(session: Session, *, client_id: str, keys: Collection[keysets.PublicKey], now: datetime) -> None:
    """Make `keys` those of a client: new ones are added, those that are gone retired.

    A key that was there before comes back, for of an address that is read again and again two copies may differ
    for a while.  Raises `keys.KeySetError` when one to sign or one to encrypt is missing, and `KeyTakenError`.
    """
    lock_client(session, client_id)
    keysets.complete({key.use for key in keys})
    held = list(session.scalars(select(ClientKey).where(ClientKey.client_id == client_id)))
    wanted = {(key.kid, key.thumbprint) for key in keys}
    for row in held:
        if (row.kid, row.thumbprint) in wanted:
            row.retired_at = None
        elif row.retired_at is None:
            row.retired_at = now
    known = {(row.kid, row.thumbprint) for row in held}
    fresh = [key for key in keys if (key.kid, key.thumbprint) not in known]
    refuse_known(fresh, held)
    session.add_all(key_row(key, client_id=client_id, now=now) for key in fresh)
    session.flush()


def end(session: Session, *, client_id: str, now: datetime) -> None:
    """End a client for good: from the next call nothing it holds is worth anything (RFC 7592 section 2.3)."""
    held = lock_client(session, client_id)
    held.state, held.registration_token_hash = ENDED, None
    session.flush()
    events.announce(session, events.ClientEnded(client_id=client_id, at=now))

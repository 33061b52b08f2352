"""Changing what a client is registered with from a page, its keys read anew where that is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from portal.companies import clients, key_source, services
from portal.web.context import now, session

if TYPE_CHECKING:
    from portal.companies.queries import ClientFacts


def replace(client: ClientFacts, metadata: dict[str, Any], *, fetched: bool = False) -> None:
    """Keep a client as RFC 7591 `metadata` describe it; when `fetched`, with the keys at its `jwks_uri`.

    Raises what `services.describe_client`, `key_source.fetch` and `clients.replace` raise.
    """
    described = services.describe_client(session(), company_id=client.company_id, metadata=metadata)
    found = None
    if fetched:
        # Nothing is held while a stranger's server takes its time.
        session().commit()
        found = key_source.fetch(described.metadata.jwks_uri or "", company_id=client.company_id)
    with session().begin_nested():
        clients.replace(session(), client_id=client.client_id, described=described, keys=found, now=now())

"""Whose stream staff may see: that of an app of their own company."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portal.companies.access import own_client
from portal.errors import NotFoundError
from portal.sync import queries
from portal.web.context import session

if TYPE_CHECKING:
    from portal.companies.queries import ClientFacts
    from portal.sync.models import Stream


def own_stream(client_id: str) -> tuple[ClientFacts, Stream]:
    """Return an app of `g.company` and where it is told; raise `NotFoundError` where it is not, or not theirs."""
    client = own_client(client_id)
    stream = queries.stream_of(session(), client_id=client_id)
    if stream is None:
        raise NotFoundError
    return client, stream

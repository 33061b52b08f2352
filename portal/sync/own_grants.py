"""A company's own consents, for each part of the API that is about one: which tokens may ask, and whose it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from flask import g

from portal.consent import queries as consents
from portal.errors import NotFoundError
from portal.oauth import grant_management
from portal.web import context

if TYPE_CHECKING:
    from uuid import UUID

    from portal.consent.models import Grant

READ: Final = grant_management.QUERY
MANAGE: Final = "grants:manage"


def own(grant_id: UUID) -> Grant:
    """Return a grant of the client that calls; raise NotFoundError for anybody else's."""
    held = consents.of_client(context.session(), client_id=g.token.client_id, grant_id=grant_id)
    if held is None:
        raise NotFoundError
    return held

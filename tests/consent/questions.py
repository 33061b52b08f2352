"""Questions that a company asked from afar, as they wait in the database."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from portal import db
from portal.companies import queries as companies
from portal.consent import approvals, queries, services, terms
from portal.consent.models import ApprovalRequest

if TYPE_CHECKING:
    from uuid import UUID

    from portal.config import Settings
    from portal.vault.keyring import Keyring
    from tests.consent.offers import Offer


def put(settings: Settings, keys: Keyring, person_id: UUID, offer: Offer, **given: Any) -> UUID:  # noqa: ANN401 - what to ask
    """Ask for everything the offer may ask, or for `attributes`; `level`, `message` and `minutes` are as given."""
    now = db.now()
    with db.transaction(settings.database_url) as session:
        client, purpose = companies.client(session, offer.client_id), companies.purpose(session, offer.purpose_id)
        assert client
        assert purpose
        services.subject(session, person_id=person_id, company_id=client.company_id)
        wanted = asdict(terms.whole(purpose)) | {"attributes": given.get("attributes") or list(purpose.attributes)}
        return approvals.ask(
            session, keyring=keys, person_id=person_id, client=client, purpose_id=offer.purpose_id,
            asked=wanted | {"level": given.get("level", 1)}, message=given.get("message"),
            expires_at=now + timedelta(minutes=given.get("minutes", 10)), now=now,
        )  # fmt: skip


def kept(settings: Settings, person_id: UUID, request_id: UUID) -> ApprovalRequest:
    with db.transaction(settings.database_url) as session:
        return session.get_one(ApprovalRequest, (person_id, request_id))


def states(settings: Settings, person_id: UUID) -> list[str]:
    """Return the states of everything the person was ever asked to share."""
    with db.transaction(settings.database_url) as session:
        return sorted(grant.state for grant in queries.grants_of(session, person_id=person_id))

"""Who asks a person for details, as the register of companies knows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from portal.companies import queries as companies
from portal.errors import NotFoundError

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.orm import Session

    from portal.companies.queries import ClientFacts


@dataclass(frozen=True, kw_only=True)
class Organisation:
    """Who asks, as the register knows them."""

    name: str
    legal_name: str
    registration: str
    contact: str
    privacy_url: str
    checked_on: datetime | None
    environment: str


def organisation(session: Session, client: ClientFacts) -> Organisation:
    """Return the organisation behind a client; raise `NotFoundError` when there is none."""
    company = companies.company(session, slug=client.company_slug)
    if company is None:
        raise NotFoundError
    return Organisation(
        name=client.company_name,
        legal_name=client.legal_name,
        registration=f"{company.registration_number}, {company.country}",
        contact=company.contact_email,
        privacy_url=company.privacy_url,
        checked_on=company.verified_at if company.verified else None,
        environment=client.environment,
    )

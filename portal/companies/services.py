"""Registering companies, their clients, keys and purposes."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from portal import config
from portal.companies import client_keys, client_rules, declared, names, queries, rules, versions
from portal.companies import keys as keysets
from portal.companies.client_rules import ClientMetadataError
from portal.companies.models import Client, Company, Purpose, Staff
from portal.companies.purposes import CONSENT
from portal.db import refused_by
from portal.errors import InvalidError, NotFoundError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.orm import Session

    from portal.companies.client_rules import Described

OWNER, DEVELOPER = "owner", "developer"
TEST, LIVE = "test", "live"
PURPOSES = 50


class PurposeTakenError(InvalidError):
    code = "purpose-taken"
    public = "This app has a purpose with this code already."


class TooManyPurposesError(RefusedError):
    code = "too-many-purposes"
    status = 409
    public = "An app has fifty purposes at most."


class NotVerifiedError(RefusedError):
    code = "not-verified"
    public = "A live app needs a checked organisation. Make a test app until then."


class SuspendedError(RefusedError):
    code = "company-suspended"
    status = 409
    public = "This organisation is suspended."


def register_company(
    session: Session,
    *,
    legal_name: str,
    trading_name: str,
    registration_number: str,
    country: str,
    contact_email: str,
    privacy_url: str,
    now: datetime,
    stop_effect: str = "",
    owner: UUID | None = None,
    verified: bool = False,
) -> queries.CompanyFacts:
    """Register a company, with the person `owner` acting for it; `country` is ISO 3166-1 alpha-2.

    Its slug is derived from the trading name and unique.  Raises `names.CompanyTakenError`, `rules.DetailsError`.
    """
    name = rules.name(trading_name, what="the trading name", pointer="/trading_name")
    names.refuse_taken(session, trading_name=name)
    number = rules.line(registration_number, what="the registration number", longest=60, pointer="/registration_number")
    found = Company(
        slug=rules.slug(name, f"{country}-{number}"),
        legal_name=rules.name(legal_name, what="the legal name", pointer="/legal_name"),
        trading_name=name,
        registration_number=number,
        country=rules.country(country),
        contact_email=rules.email(contact_email),
        privacy_url=rules.web_address(privacy_url, pointer="/privacy_url"),
        stop_effect=rules.stop_effect(stop_effect),
        state=queries.VERIFIED if verified else "draft",
        created_at=now,
        verified_at=now if verified else None,
    )
    taken = refused_by("company_slug_key", names.CompanyTakenError(pointer="/trading_name"))
    with taken, session.begin_nested():
        session.add(found)
    if owner is not None:
        add_staff(session, company_id=found.company_id, person_id=owner, role=OWNER)
    return queries.facts_of(found)


def add_staff(session: Session, *, company_id: UUID, person_id: UUID, role: str = DEVELOPER) -> None:
    """Let a person act for a company; saying it again sets the role."""
    session.merge(Staff(company_id=company_id, person_id=person_id, role=role))
    session.flush()


def verify_company(session: Session, *, slug: str, now: datetime) -> None:
    """Note that someone has checked who a company is: it appears in the register and may have live apps.

    Raises `SuspendedError`: lifting a suspension is another decision than checking a name; `CompanyTakenError`
    when another checked company's name reads the same.
    """
    found = session.scalar(select(Company).where(Company.slug == slug).with_for_update())
    if found is None:
        raise NotFoundError("No organisation has this name.")
    if found.state == queries.SUSPENDED:
        raise SuspendedError
    names.refuse_taken(session, trading_name=found.trading_name, own=found.company_id)
    found.state, found.verified_at = queries.VERIFIED, now
    session.flush()


def register_client(
    session: Session, *, company_slug: str, metadata: object, now: datetime, environment: str = TEST
) -> str:
    """Register a client from RFC 7591 metadata with its `jwks`; return its client_id.

    Raises what `client_rules` and `keys` refuse, with an RFC 6901 pointer.  Keys at a `jwks_uri` must be fetched
    outside any transaction: `describe_client`, `key_source.fetch` and `keep_client` are for that.
    """
    found = queries.company(session, slug=company_slug)
    if found is None:
        raise NotFoundError("No organisation has this name.")
    described = describe_client(session, company_id=found.company_id, metadata=metadata)
    sent = client_rules.sent_keys(metadata)
    if sent is None:
        raise ClientMetadataError("Send the keys themselves as jwks.", pointer="/jwks_uri")
    return keep_client(
        session, company_id=found.company_id, described=described, keys=sent, environment=environment, now=now
    )


def create_client(
    session: Session, *, company_id: UUID, name: str, redirect_uris: object, now: datetime, environment: str = TEST
) -> str:
    """Create a client that has no keys yet and so cannot sign in; return its client_id."""
    metadata = {"client_name": name, "redirect_uris": redirect_uris}
    described = describe_client(session, company_id=company_id, metadata=metadata)
    return keep_client(session, company_id=company_id, described=described, keys=(), environment=environment, now=now)


def describe_client(session: Session, *, company_id: UUID, metadata: object) -> Described:
    """Return what metadata say of a client of this company; raise what `client_rules.describe` refuses."""
    company = session.get(Company, company_id)
    if company is None:
        raise NotFoundError
    allow = config.current().egress_allow
    return client_rules.describe(metadata, own_host=rules.host(company.privacy_url), allow=allow)


def keep_client(
    session: Session,
    *,
    company_id: UUID,
    described: Described,
    keys: Iterable[keysets.PublicKey],
    now: datetime,
    environment: str = TEST,
    registration_token_hash: bytes | None = None,
) -> str:
    """Keep a client as it was described, with checked keys; return its client_id.

    `registration_token_hash` is of the token that manages it (RFC 7592).  Raises `NotVerifiedError`.
    """
    company = session.get(Company, company_id)
    if company is None or environment not in {TEST, LIVE}:
        raise NotFoundError
    if environment == LIVE and company.state != queries.VERIFIED:
        raise NotVerifiedError
    client = Client(
        client_id=f"{environment}_{secrets.token_hex(12)}", company_id=company_id, name=described.name,
        environment=environment, redirect_uris=list(described.redirect_uris), settings=described.settings(),
        registration_token_hash=registration_token_hash, created_at=now,
        keys_fetched_at=now if described.metadata.jwks_uri else None,
    )  # fmt: skip
    session.add(client)
    session.flush()
    client_keys.begin(session, client_id=client.client_id, keys=keys, now=now)
    return client.client_id


def declare_purpose(
    session: Session,
    *,
    client_id: str,
    sentence: str,
    dpv: str,
    mode: str,
    required: Iterable[tuple[str, str]],
    optional: Iterable[tuple[str, str]],
    retention_days: int,
    catalogue: Collection[str],
    now: datetime,
    longest_days: int = rules.LONGEST_DAYS,
    pulls_a_day: int | None = None,
    lawful_basis: str = CONSENT,
    code: str = "",
) -> queries.PurposeFacts:
    """Declare what a client wants details for, as `declared.columns` says; return the first version of it.

    Without `code` it is derived from the sentence.  People can be asked at once where the client is a test app, and
    where it is a live one as soon as an operator has put the version live (`versions.send`, `versions.put_live`).
    Raises `rules.PurposeError`, `declared.OverAskingError`, `PurposeTakenError`, `TooManyPurposesError`.
    """
    said = declared.columns(
        sentence=sentence, dpv=dpv, lawful_basis=lawful_basis, mode=mode, required=required, optional=optional,
        retention_days=retention_days, longest_days=longest_days, pulls_a_day=pulls_a_day, catalogue=catalogue,
    )  # fmt: skip
    known = select(func.count()).where(Purpose.client_id == client_id)
    if (session.scalar(known) or 0) >= PURPOSES:
        raise TooManyPurposesError
    code = rules.slug(code or said["sentence"], f"purpose-{secrets.token_hex(3)}")
    found = Purpose(client_id=client_id, code=code, created_at=now)
    taken = refused_by("purpose_client_id_code_key", PurposeTakenError(pointer="/sentence"))
    with taken, session.begin_nested():
        session.add(found)
    return queries.purpose_facts(found, versions.begin(session, found, said, now=now))

"""Looking up companies, the people who act for them, their clients, keys and purposes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from portal.companies import key_states
from portal.companies.keys import ENCRYPTION, SIGNING
from portal.companies.metadata import ClientMetadata
from portal.companies.models import Client, ClientKey, Company, Purpose, Staff

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import Row, Select
    from sqlalchemy.orm import Session

    from portal.companies.key_states import State

VERIFIED = "verified"
SUSPENDED = "suspended"
# PostgreSQL holds no text with this character: nothing is named so.
_NUL = "\0"


@dataclass(frozen=True, kw_only=True)
class CompanyFacts:
    """A company as others see it."""

    company_id: UUID
    slug: str
    legal_name: str
    trading_name: str
    registration_number: str
    country: str
    contact_email: str
    privacy_url: str
    stop_effect: str
    state: str
    verified_at: datetime | None

    @property
    def verified(self) -> bool:
        return self.state == VERIFIED


@dataclass(frozen=True, kw_only=True)
class StaffFacts:
    """A person's place in a company; `role` is `owner` or `developer`."""

    company: CompanyFacts
    role: str


@dataclass(frozen=True, kw_only=True)
class ClientFacts:
    """A client and its company; `active` is false once either is suspended, or the client ended.

    `company_name` is the trading name.
    """

    client_id: str
    company_id: UUID
    company_slug: str
    company_name: str
    legal_name: str
    name: str
    environment: str
    redirect_uris: Sequence[str]
    active: bool
    created_at: datetime
    metadata: ClientMetadata
    ended: bool = False


@dataclass(frozen=True, kw_only=True)
class PurposeFacts:
    """A purpose; `required` and `optional` are (attribute, reason) pairs, `attributes` the names of both.

    `key_groups` maps an attribute to the department that alone can read it.
    """

    purpose_id: UUID
    client_id: str
    code: str
    version: int
    sentence: str
    dpv: str
    mode: str
    required: tuple[tuple[str, str], ...]
    optional: tuple[tuple[str, str], ...]
    retention_days: int
    longest_days: int
    pulls_a_day: int | None = None
    withdrawn: bool
    key_groups: Mapping[str, str] = field(default_factory=dict)

    @property
    def attributes(self) -> tuple[str, ...]:
        return tuple(name for name, _ in (*self.required, *self.optional))


@dataclass(frozen=True, kw_only=True)
class KeyFacts:
    """A key of a client as its staff see it; `group` is the department it belongs to, empty for none.

    `proved_at` of a signing key is when it was first used; a `leaving` one is gone from the set and still in use.
    """

    kid: str
    use: str
    kind: str
    thumbprint: str
    group: str
    state: State
    added_at: datetime
    proved_at: datetime | None
    active_from: datetime | None
    retired_at: datetime | None
    leaving: bool

    @property
    def live(self) -> bool:
        return self.retired_at is None


def company(session: Session, *, slug: str) -> CompanyFacts | None:
    row = None if _NUL in slug else session.scalar(select(Company).where(Company.slug == slug))
    return facts_of(row) if row else None


def verified_companies(session: Session) -> list[CompanyFacts]:
    """Return every verified company by trading name: the public register."""
    rows = session.scalars(select(Company).where(Company.state == VERIFIED))
    return sorted((facts_of(row) for row in rows), key=lambda facts: facts.trading_name.casefold())


def companies_of(session: Session, person_id: UUID) -> list[StaffFacts]:
    """Return the companies a person acts for, by trading name."""
    query = select(Company, Staff.role).join(Staff).where(Staff.person_id == person_id)
    found = [StaffFacts(company=facts_of(row), role=role) for row, role in session.execute(query)]
    return sorted(found, key=lambda facts: (facts.company.trading_name.casefold(), facts.company.slug))


def client(session: Session, client_id: str) -> ClientFacts | None:
    if _NUL in client_id:
        return None
    row = session.execute(_clients().where(Client.client_id == client_id)).one_or_none()
    return _client(row) if row else None


def clients(session: Session, client_ids: Collection[str]) -> dict[str, ClientFacts]:
    """Return those of `client_ids` that exist, by id, in one query."""
    rows = session.execute(_clients().where(Client.client_id.in_(client_ids)))
    return {facts.client_id: facts for facts in map(_client, rows)}


def clients_of(session: Session, *, company_id: UUID) -> list[ClientFacts]:
    """Return a company's clients, oldest first."""
    query = _clients().where(Client.company_id == company_id).order_by(Client.created_at, Client.client_id)
    return [_client(row) for row in session.execute(query)]


def purpose(session: Session, purpose_id: UUID) -> PurposeFacts | None:
    row = session.get(Purpose, purpose_id)
    return purpose_facts(row) if row else None


def purposes(session: Session, purpose_ids: Collection[UUID]) -> dict[UUID, PurposeFacts]:
    """Return those of `purpose_ids` that exist, by id, in one query."""
    rows = session.scalars(select(Purpose).where(Purpose.purpose_id.in_(purpose_ids)))
    return {row.purpose_id: purpose_facts(row) for row in rows}


def purpose_by_code(session: Session, client_id: str, code: str) -> PurposeFacts | None:
    if _NUL in code:
        return None
    row = session.scalar(select(Purpose).where(Purpose.client_id == client_id, Purpose.code == code))
    return purpose_facts(row) if row else None


def purposes_of(session: Session, client_id: str) -> list[PurposeFacts]:
    """Return a client's purposes that are not withdrawn, oldest first."""
    query = select(Purpose).where(Purpose.client_id == client_id, Purpose.withdrawn_at.is_(None))
    return [purpose_facts(row) for row in session.scalars(query.order_by(Purpose.created_at, Purpose.code))]


def keys(session: Session, client_id: str, use: str) -> list[dict[str, Any]]:
    """Return a client's live public keys of `use` (`sig` or `enc`) as JWKs with a kid, newest first."""
    live = select(ClientKey.jwk).where(
        ClientKey.client_id == client_id, ClientKey.use == use, ClientKey.retired_at.is_(None)
    )
    return list(session.scalars(live.order_by(ClientKey.added_at.desc(), ClientKey.kid)))


def encryption_key(session: Session, client_id: str) -> tuple[str, dict[str, Any]] | None:
    """Return (kid, jwk) of the key to seal to what no department is named for; None when there is none.

    It is the one that came into use last of those that are proved and out of their hold.
    """
    newest = (
        select(ClientKey)
        .where(
            ClientKey.client_id == client_id,
            ClientKey.use == ENCRYPTION,
            ClientKey.key_group == "",
            ClientKey.retired_at.is_(None),
            ClientKey.proved_at.is_not(None),
            ClientKey.active_from <= func.clock_timestamp(),
        )
        .order_by(ClientKey.active_from.desc(), ClientKey.kid)
        .limit(1)
    )
    row = session.scalars(newest).first()
    return (row.kid, row.jwk) if row else None


def unused_keys(session: Session, client_id: str) -> frozenset[str]:
    """Return the kids of live signing keys that have made no signature yet."""
    mine = ClientKey.client_id == client_id, ClientKey.use == SIGNING, ClientKey.retired_at.is_(None)
    return frozenset(session.scalars(select(ClientKey.kid).where(*mine, ClientKey.proved_at.is_(None))))


def key_list(session: Session, client_id: str, *, now: datetime) -> list[KeyFacts]:
    """Return every key a client ever had, live ones first, then newest first."""
    query = (
        select(ClientKey)
        .where(ClientKey.client_id == client_id)
        .order_by(ClientKey.retired_at.is_not(None), ClientKey.added_at.desc(), ClientKey.kid)
    )
    rows = list(session.scalars(query))
    current = {row.kid for row in key_states.in_use(rows, now).values()}
    return [_key(row, key_states.state(row, current=row.kid in current, now=now)) for row in rows]


def keys_fetched_at(session: Session, client_id: str) -> datetime | None:
    """Return when a client's keys were last asked for at its `jwks_uri`."""
    return session.scalar(select(Client.keys_fetched_at).where(Client.client_id == client_id))


def key_counts(session: Session, *, company_id: UUID) -> dict[str, int]:
    """Return how many live keys each client of a company has; a client without any is absent."""
    query = (
        select(ClientKey.client_id, func.count())
        .join(Client, Client.client_id == ClientKey.client_id)
        .where(Client.company_id == company_id, ClientKey.retired_at.is_(None))
        .group_by(ClientKey.client_id)
    )
    return {client_id: count for client_id, count in session.execute(query)}  # noqa: C416 - a row is no pair to mypy


def _clients() -> Select[Client, Company]:
    return select(Client, Company).join(Company, Company.company_id == Client.company_id)


def _client(row: Row[Client, Company]) -> ClientFacts:
    found, owner = row
    return ClientFacts(
        client_id=found.client_id,
        company_id=found.company_id,
        company_slug=owner.slug,
        company_name=owner.trading_name,
        legal_name=owner.legal_name,
        name=found.name,
        environment=found.environment,
        redirect_uris=tuple(found.redirect_uris),
        active=found.state == "active" and owner.state != SUSPENDED,
        created_at=found.created_at,
        metadata=ClientMetadata.of(found.settings),
        ended=found.state == "ended",
    )


def facts_of(row: Company) -> CompanyFacts:
    return CompanyFacts(
        company_id=row.company_id,
        slug=row.slug,
        legal_name=row.legal_name,
        trading_name=row.trading_name,
        registration_number=row.registration_number,
        country=row.country,
        contact_email=row.contact_email,
        privacy_url=row.privacy_url,
        stop_effect=row.stop_effect,
        state=row.state,
        verified_at=row.verified_at,
    )


def purpose_facts(row: Purpose) -> PurposeFacts:
    return PurposeFacts(
        purpose_id=row.purpose_id,
        client_id=row.client_id,
        code=row.code,
        version=row.version,
        sentence=row.sentence,
        dpv=row.dpv,
        mode=row.mode,
        required=tuple((item["attribute"], item["reason"]) for item in row.required),
        optional=tuple((item["attribute"], item["reason"]) for item in row.optional),
        retention_days=row.retention_days,
        longest_days=row.longest_days,
        pulls_a_day=row.pulls_a_day,
        withdrawn=row.withdrawn_at is not None,
        key_groups=dict(row.key_groups or {}),
    )


def _key(row: ClientKey, state: State) -> KeyFacts:
    kind = row.jwk.get("crv") or f"RSA {len(row.jwk['n']) * 6 // 8 * 8} bits"
    return KeyFacts(
        kid=row.kid,
        use=row.use,
        kind=kind,
        thumbprint=row.thumbprint,
        group=row.key_group,
        state=state,
        added_at=row.added_at,
        proved_at=row.proved_at,
        active_from=row.active_from,
        retired_at=row.retired_at,
        leaving=row.leaving_at is not None,
    )

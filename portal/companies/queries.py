"""Looking up companies, the people who act for them, their clients, keys and purposes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, func, select, tuple_

from portal.companies import key_states
from portal.companies.keys import ENCRYPTION, SIGNING
from portal.companies.metadata import ClientMetadata
from portal.companies.models import Client, ClientKey, Company, Purpose, PurposeVersion, Staff
from portal.companies.purposes import EU_GDPR, SAID_OF_BASIS, use

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import Row, Select
    from sqlalchemy.orm import Session

    from portal.companies.key_states import State

VERIFIED = "verified"
SUSPENDED = "suspended"
# Who withdraws a purpose.
COMPANY, OPERATOR = "company", "operator"
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
    """A version of a purpose; `required` and `optional` are (attribute, reason) pairs, `attributes` the names of both.

    `state` is of the version, as in `models.PurposeVersion`.  `taken_down_at` is when an operator withdrew it.
    `key_groups` maps an attribute to the department that
    alone can read it.
    """

    purpose_id: UUID
    client_id: str
    code: str
    version: int
    state: str
    sentence: str
    dpv: str
    lawful_basis: str
    mode: str
    required: tuple[tuple[str, str], ...]
    optional: tuple[tuple[str, str], ...]
    retention_days: int
    longest_days: int
    pulls_a_day: int | None = None
    withdrawn: bool
    taken_down_at: datetime | None = None
    key_groups: Mapping[str, str] = field(default_factory=dict)

    @property
    def attributes(self) -> tuple[str, ...]:
        return tuple(name for name, _ in (*self.required, *self.optional))

    @property
    def use(self) -> str:
        """How details are used, a key of `purposes.USES`."""
        return use(self.mode, self.retention_days)

    @property
    def reviewed(self) -> bool:
        """Whether an operator has looked at it and let it be; only a test app asks under one that is not."""
        return self.state in {"live", "replaced"}

    @property
    def said_of_basis(self) -> str:
        """What a person reads of the lawful basis; empty where it is their consent."""
        return SAID_OF_BASIS.get(self.lawful_basis, "")

    @property
    def gdpr_basis(self) -> str:
        """The lawful basis as a term of the Data Privacy Vocabulary: "eu-gdpr:A6-1-a"."""
        return EU_GDPR[self.lawful_basis]


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


def acts_for(session: Session, person_id: UUID, *, company_id: UUID | None) -> bool:
    """Say whether a person acts for a company; for none nobody does."""
    return company_id is not None and session.get(Staff, (person_id, company_id)) is not None


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


def purpose(session: Session, purpose_id: UUID, *, version: int | None = None) -> PurposeFacts | None:
    """Return a purpose as people are asked for it now, or an earlier `version` that somebody agreed to."""
    rows = _asked_under() if version is None else _versions().where(PurposeVersion.version == version)
    return _purpose(session.execute(rows.where(Purpose.purpose_id == purpose_id)).one_or_none())


def purposes(session: Session, purpose_ids: Collection[UUID]) -> dict[UUID, PurposeFacts]:
    """Return those of `purpose_ids` under which people are asked, as they are asked now, by id, in one query."""
    rows = session.execute(_asked_under().where(Purpose.purpose_id.in_(purpose_ids)))
    return {row.purpose_id: purpose_facts(row, said) for row, said in rows}


def purposes_at(session: Session, versions: Collection[tuple[UUID, int]]) -> dict[tuple[UUID, int], PurposeFacts]:
    """Return these versions of purposes, which somebody agreed to, by (purpose_id, version), in one query."""
    wanted = tuple_(PurposeVersion.purpose_id, PurposeVersion.version).in_(versions)
    rows = session.execute(_versions().where(wanted))
    return {(row.purpose_id, said.version): purpose_facts(row, said) for row, said in rows}


def purpose_by_code(session: Session, client_id: str, code: str) -> PurposeFacts | None:
    """Return a client's purpose as people are asked for it now; None where nobody can be."""
    if unnameable(code):
        return None
    mine = Purpose.client_id == client_id, Purpose.code == code
    return _purpose(session.execute(_asked_under().where(*mine)).one_or_none())


def is_declared(session: Session, client_id: str, code: str) -> bool:
    """Say whether a client has a purpose of this code, whether people can be asked for it or not."""
    mine = select(Purpose.purpose_id).where(Purpose.client_id == client_id, Purpose.code == code)
    return not unnameable(code) and session.scalar(mine.where(Purpose.withdrawn_at.is_(None))) is not None


def purposes_of(session: Session, client_id: str) -> list[PurposeFacts]:
    """Return a client's purposes for which people can be asked, oldest first."""
    query = _asked_under().where(Purpose.client_id == client_id, Purpose.withdrawn_at.is_(None))
    return [purpose_facts(row, said) for row, said in session.execute(query.order_by(Purpose.created_at, Purpose.code))]


def unnameable(code: str) -> bool:
    """Say whether nothing can be called so in the database."""
    return _NUL in code


def _versions() -> Select[Purpose, PurposeVersion]:
    return select(Purpose, PurposeVersion).join(PurposeVersion, PurposeVersion.purpose_id == Purpose.purpose_id)


def _asked_under() -> Select[Purpose, PurposeVersion]:
    now = and_(PurposeVersion.purpose_id == Purpose.purpose_id, PurposeVersion.version == Purpose.version)
    return select(Purpose, PurposeVersion).join(PurposeVersion, now)


def _purpose(found: Row[Purpose, PurposeVersion] | None) -> PurposeFacts | None:
    return None if found is None else purpose_facts(*found)


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


def purpose_facts(row: Purpose, said: PurposeVersion) -> PurposeFacts:
    return PurposeFacts(
        purpose_id=row.purpose_id,
        client_id=row.client_id,
        code=row.code,
        version=said.version,
        state=said.state,
        sentence=said.sentence,
        dpv=said.dpv,
        lawful_basis=said.lawful_basis,
        mode=said.mode,
        required=tuple((item["attribute"], item["reason"]) for item in said.required),
        optional=tuple((item["attribute"], item["reason"]) for item in said.optional),
        retention_days=said.retention_days,
        longest_days=said.longest_days,
        pulls_a_day=said.pulls_a_day,
        withdrawn=row.withdrawn_at is not None,
        taken_down_at=row.withdrawn_at if row.withdrawn_role == OPERATOR else None,
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

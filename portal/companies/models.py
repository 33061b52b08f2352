"""Companies, the people who act for them, their OAuth clients, keys and purposes."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from portal.db import Base, new_id


class Company(Base):
    """An organisation that may ask; `state` is `draft`, `verified` or `suspended`.

    `particulars` are what it has told for the records of consents (`particulars.FIELDS`); what it has not is absent.
    """

    __tablename__ = "company"

    company_id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    slug: Mapped[str] = mapped_column(unique=True)
    legal_name: Mapped[str]
    trading_name: Mapped[str]
    registration_number: Mapped[str]
    country: Mapped[str]
    contact_email: Mapped[str]
    privacy_url: Mapped[str]
    stop_effect: Mapped[str] = mapped_column(default="")
    state: Mapped[str] = mapped_column(default="draft")
    created_at: Mapped[datetime]
    verified_at: Mapped[datetime | None]
    particulars: Mapped[dict[str, Any]] = mapped_column(default=dict)


class Staff(Base):
    """A person who acts for a company; `role` is `owner` or `developer`."""

    __tablename__ = "staff"

    person_id: Mapped[UUID] = mapped_column(primary_key=True)
    company_id: Mapped[UUID] = mapped_column(ForeignKey("company.company_id"), primary_key=True, index=True)
    role: Mapped[str]


class Client(Base):
    """A company's OAuth client (RFC 6749 section 1.1, RFC 7591); `environment` is `test` or `live`.

    `state` is `active` or `ended`.  `settings` holds what `metadata.ClientMetadata` reads;
    `registration_token_hash` is of the token that manages the client (RFC 7592); `keys_fetched_at` is when its
    `jwks_uri` was last tried, `keys_stopped_at` when one of its encryption keys was last stopped: what is sealed and
    has not left yet may be sealed to that one.
    """

    __tablename__ = "client"

    client_id: Mapped[str] = mapped_column(primary_key=True)
    company_id: Mapped[UUID] = mapped_column(ForeignKey("company.company_id"), index=True)
    name: Mapped[str]
    environment: Mapped[str]
    redirect_uris: Mapped[list[str]]
    state: Mapped[str] = mapped_column(default="active")
    created_at: Mapped[datetime]
    settings: Mapped[dict[str, Any]] = mapped_column("metadata", default=dict)
    keys_fetched_at: Mapped[datetime | None]
    keys_stopped_at: Mapped[datetime | None]
    registration_token_hash: Mapped[bytes | None]


class InitialAccessToken(Base):
    """Lets a program register clients of one company (RFC 7591 section 1.2); found by its SHA-256.

    `name` is what its staff call it; it goes with `made_by`, once they no longer act for the company.
    """

    __tablename__ = "initial_access_token"

    token_hash: Mapped[bytes] = mapped_column(primary_key=True)
    company_id: Mapped[UUID] = mapped_column(ForeignKey("company.company_id"), index=True)
    name: Mapped[str]
    environment: Mapped[str]
    made_by: Mapped[UUID]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    uses_left: Mapped[int]
    revoked_at: Mapped[datetime | None]


class ClientKey(Base):
    """A public key of a client (RFC 7517): `use` is `sig` for assertions and proofs, `enc` for envelopes.

    Nothing is sealed to an `enc` key before `proved_at`, when its holder showed that they can open what is sealed to
    it (`challenge_hash` is of the answer that is awaited), nor before `active_from`; `announced_at` is when whoever has
    to know was told that it is in use.  `key_group` names the department that holds it; empty for everything that no
    other group is named for.  A `sig` key is proved by the first signature that was taken.

    `leaving_at` is when it went from the client's set while no other key could take its place: it stays in use until
    one can.  `stopped_at` is when staff said that it must never be used again.
    """

    __tablename__ = "client_key"
    __table_args__ = (
        Index("client_key_turn_idx", "active_from", postgresql_where=text("use = 'enc' AND retired_at IS NULL")),
    )

    client_id: Mapped[str] = mapped_column(ForeignKey("client.client_id"), primary_key=True)
    kid: Mapped[str] = mapped_column(primary_key=True)
    use: Mapped[str]
    jwk: Mapped[dict[str, Any]]
    thumbprint: Mapped[str]
    key_group: Mapped[str] = mapped_column(default="")
    added_at: Mapped[datetime]
    challenge_hash: Mapped[bytes | None]
    challenge_expires_at: Mapped[datetime | None]
    challenge_tries: Mapped[int] = mapped_column(default=0)
    proved_at: Mapped[datetime | None]
    active_from: Mapped[datetime | None]
    announced_at: Mapped[datetime | None]
    leaving_at: Mapped[datetime | None]
    retired_at: Mapped[datetime | None]
    stopped_at: Mapped[datetime | None]


class CompanyLetter(Base):
    """A letter to a company about one of its apps: to `person_id`, who acts for it, or else to its contact address.

    `kind` says which words it has, `about` what is filled in: names of apps and keys, moments, and nothing of any
    person.  At most one letter is written about what `once` names.  `due_at` is put off while somebody sends it.
    """

    __tablename__ = "company_letter"
    __table_args__ = (
        Index("company_letter_client_id_idx", "client_id", "kind", "written_at"),
        Index("company_letter_due_idx", "due_at", postgresql_where=text("sent_at IS NULL")),
        {"info": {"directory": "found by when it is due; names whom of a company's staff to write to"}},
    )

    letter_id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    company_id: Mapped[UUID] = mapped_column(ForeignKey("company.company_id"), index=True)
    client_id: Mapped[str]
    person_id: Mapped[UUID | None]
    kind: Mapped[str]
    about: Mapped[dict[str, str]]
    once: Mapped[str | None] = mapped_column(unique=True)
    written_at: Mapped[datetime]
    due_at: Mapped[datetime]
    sent_at: Mapped[datetime | None]


class Purpose(Base):
    """What a client wants details for; what it says of that stands in its versions.

    `version` is the one under which people are asked, None before there is one.  `attributes` are the details that it
    or an earlier one asked for: whoever agreed to an earlier version keeps it.

    Once it is withdrawn nobody is asked for it and nothing leaves under it, for good.  `withdrawn_role` is `company`,
    or `operator` who took it down for `withdrawn_words`; `withdrawn_by` is who of them did.  `closed_at` is when
    nobody shared under it any more.
    """

    __tablename__ = "purpose"
    __table_args__ = (
        UniqueConstraint("client_id", "code"),
        Index(
            "purpose_unclosed_idx", "withdrawn_at",
            postgresql_where=text("withdrawn_at IS NOT NULL AND closed_at IS NULL"),
        ),
    )  # fmt: skip

    purpose_id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    client_id: Mapped[str] = mapped_column(ForeignKey("client.client_id"), index=True)
    code: Mapped[str]
    version: Mapped[int | None]
    attributes: Mapped[list[str]] = mapped_column(default=list)
    thin: Mapped[bool] = mapped_column(default=False)
    strict: Mapped[bool] = mapped_column(default=False)
    key_groups: Mapped[dict[str, str]] = mapped_column(default=dict)
    created_at: Mapped[datetime]
    withdrawn_at: Mapped[datetime | None]
    withdrawn_role: Mapped[str | None]
    withdrawn_by: Mapped[UUID | None]
    withdrawn_words: Mapped[str] = mapped_column(default="")
    closed_at: Mapped[datetime | None]


class PurposeVersion(Base):
    """What a purpose says, written once: the database refuses to change it.  Only what becomes of it is added.

    `required` and `optional` are lists of `{"attribute", "reason"}`.  `mode` is `kept-up-to-date` (push and
    pull), `asked` (pull only) or `once`.  `longest_days` caps how long a person can be asked to share,
    `retention_days` how long what they shared is kept after that.  `lawful_basis` is a key of `purposes.BASES`.

    `state` is `draft`, `waiting` (for an operator, since `sent_at`), `live`, `sent-back` or `replaced` (by another
    version); `decided_by` is the operator, None for what was live before there were any, and `words` are theirs.
    """

    __tablename__ = "purpose_version"
    __table_args__ = (
        Index("purpose_version_live_key", "purpose_id", unique=True, postgresql_where=text("state = 'live'")),
        Index(
            "purpose_version_open_key", "purpose_id", unique=True,
            postgresql_where=text("state IN ('draft', 'waiting')"),
        ),
        Index("purpose_version_waiting_idx", "sent_at", postgresql_where=text("state = 'waiting'")),
        Index("purpose_version_decided_idx", "decided_at", postgresql_where=text("decided_by IS NOT NULL")),
    )  # fmt: skip

    purpose_id: Mapped[UUID] = mapped_column(ForeignKey("purpose.purpose_id"), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    sentence: Mapped[str]
    dpv: Mapped[str]
    lawful_basis: Mapped[str]
    mode: Mapped[str]
    required: Mapped[list[Any]]
    optional: Mapped[list[Any]]
    retention_days: Mapped[int]
    longest_days: Mapped[int]
    pulls_a_day: Mapped[int | None]
    state: Mapped[str]
    drafted_at: Mapped[datetime]
    sent_at: Mapped[datetime | None]
    decided_at: Mapped[datetime | None]
    decided_by: Mapped[UUID | None]
    words: Mapped[str] = mapped_column(default="")

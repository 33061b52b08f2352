"""Grants, every version of them, and the pairwise subject a company knows a person by."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Index, SmallInteger, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from portal.db import Base, new_id

_LIVE = text("state IN ('active', 'paused')")
_COUNTERED = text("state = 'countered'")


class Grant(Base):
    """A person's consent to one purpose of one client, as it stands now.

    `state` is `countered` (the person offers less than was asked), `active`, `paused`, `refused`, `deferred` ("not
    now"), `withdrawn` (person), `ended` (company), `expired` or `invalidated` (it was never good).
    `concession` is what the company agreed to do without when it took an offer (`terms.Concession`).
    `mode` is `kept-up-to-date`, `asked` or `once`.  `context_id` names the ledger's words for it.
    `retention_days` is how long they may keep the details after it ends; `level` how surely the person had
    proved who they are (`identity.levels`) when they gave it; `pulls_a_day` how often the company may ask (None: as
    often as the portal allows).  `erasure_asked_at` is when the person, having stopped, asked for what they hold to
    be deleted.
    """

    __tablename__ = "grant"
    __table_args__ = (
        # However many tabs and clicks, a person has at most one live grant for a purpose.
        Index("grant_live_key", "person_id", "purpose_id", unique=True, postgresql_where=_LIVE),
        Index("grant_countered_key", "person_id", "purpose_id", unique=True, postgresql_where=_COUNTERED),
        Index(None, "expires_at", postgresql_where=_LIVE),
        Index(None, "grant_id"),
        Index(None, "client_id", "grant_id"),
        # What is quoted of a receipt names the end of the id (`numbers.tail`).
        Index("grant_number_idx", text("right(CAST(grant_id AS text), 8)")),
    )

    person_id: Mapped[UUID] = mapped_column(primary_key=True)
    grant_id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    company_id: Mapped[UUID] = mapped_column(index=True)
    client_id: Mapped[str]
    purpose_id: Mapped[UUID]
    purpose_version: Mapped[int]
    context_id: Mapped[UUID]
    version: Mapped[int] = mapped_column(default=1)
    state: Mapped[str]
    mode: Mapped[str]
    attributes: Mapped[list[str]]
    given_at: Mapped[datetime]
    changed_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    retention_days: Mapped[int]
    level: Mapped[int] = mapped_column(default=1)
    pulls_a_day: Mapped[int | None]
    erasure_asked_at: Mapped[datetime | None]
    frozen_at: Mapped[datetime | None]
    concession: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))


class GrantVersion(Base):
    """One step in a grant's life, never changed; `shown` is the exact text the person saw.

    `about` says who and what it binds: `sub`, `company_id`, `client_id`, `purpose_id`, `purpose_version`.  `signature`
    is a JWS without its payload, which is the text that `hash` is of (`chain.text`; RFC 7515 appendix F).
    """

    __tablename__ = "grant_version"

    person_id: Mapped[UUID] = mapped_column(primary_key=True)
    grant_id: Mapped[UUID] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    step: Mapped[str]
    actor: Mapped[str]
    state: Mapped[str]
    mode: Mapped[str]
    attributes: Mapped[list[str]]
    expires_at: Mapped[datetime | None]
    retention_days: Mapped[int | None]
    level: Mapped[int | None]
    pulls_a_day: Mapped[int | None]
    shown: Mapped[dict[str, Any]]
    about: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    previous_hash: Mapped[bytes]
    hash: Mapped[bytes]
    signature: Mapped[str | None]


class UnwantedRequest(Base):
    """A person's wish not to be asked again for a purpose, said with the refusal `grant_id`."""

    __tablename__ = "unwanted_request"

    person_id: Mapped[UUID] = mapped_column(primary_key=True)
    purpose_id: Mapped[UUID] = mapped_column(primary_key=True)
    grant_id: Mapped[UUID]
    since: Mapped[datetime]


class ConsentLetter(Base):
    """A letter to a person about one step of a grant; `due_at` is put off while somebody sends it."""

    __tablename__ = "consent_letter"
    __table_args__ = (Index("consent_letter_due_idx", "due_at", postgresql_where=text("sent_at IS NULL")),)

    person_id: Mapped[UUID] = mapped_column(primary_key=True)
    grant_id: Mapped[UUID] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    written_at: Mapped[datetime]
    due_at: Mapped[datetime]
    sent_at: Mapped[datetime | None]


class ApprovalRequest(Base):
    """A company's question to somebody it knows already, waiting for their answer in the portal.

    `state` is `waiting`, `approved`, `denied`, `deferred` ("not now"), `countered` (they offer less), `cancelled` or
    `expired`.  `grant_id` is what came of a yes or an offer.  `sealed_message` opens as attribute
    `consent.message`, version 1: what both sides show, so that the person knows which question it is.
    """

    __tablename__ = "approval_request"
    __table_args__ = (Index("approval_request_waiting_idx", "expires_at", postgresql_where=text("state = 'waiting'")),)

    person_id: Mapped[UUID] = mapped_column(primary_key=True)
    request_id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    company_id: Mapped[UUID]
    client_id: Mapped[str]
    purpose_id: Mapped[UUID]
    asked: Mapped[dict[str, Any]]
    sealed_message: Mapped[bytes | None]
    state: Mapped[str] = mapped_column(default="waiting")
    asked_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    answered_at: Mapped[datetime | None]
    authenticated_at: Mapped[datetime | None]
    level: Mapped[int | None]
    grant_id: Mapped[UUID | None]


class Subject(Base):
    """The random identifier (OpenID Connect Core section 8.1) one company knows one person by."""

    __tablename__ = "subject"
    __table_args__ = ({"info": {"directory": "found by the sub a company sends"}},)

    person_id: Mapped[UUID] = mapped_column(primary_key=True)
    company_id: Mapped[UUID] = mapped_column(primary_key=True)
    sub: Mapped[str] = mapped_column(unique=True)


class Deletion(Base):
    """How far a company is with deleting one detail that it got under a grant; the grant's versions keep what was said.

    `state` is of `deletion_rules.State`; `due_at` is by when the detail is to be deleted, or until when it is held for
    `reason` (of `deletion_rules.REASONS`) and the company's own `words` about it, which hold no value.  `warned` is 1
    once the company was written to that it is due soon, 2 that it is overdue.
    """

    __tablename__ = "deletion"
    __table_args__ = (
        Index(None, "client_id", "due_at"),
        Index("deletion_open_idx", "client_id", "due_at", postgresql_where=text("state IN ('asked', 'held')")),
        Index(
            "deletion_unwarned_idx", "due_at", postgresql_where=text("state IN ('asked', 'held') AND warned < 2")
        ),
        Index("deletion_held_idx", "due_at", postgresql_where=text("state = 'held'")),
    )  # fmt: skip

    person_id: Mapped[UUID] = mapped_column(primary_key=True)
    grant_id: Mapped[UUID] = mapped_column(primary_key=True)
    attribute: Mapped[str] = mapped_column(primary_key=True)
    client_id: Mapped[str]
    state: Mapped[str]
    asked_at: Mapped[datetime]
    due_at: Mapped[datetime]
    changed_at: Mapped[datetime]
    reason: Mapped[str] = mapped_column(default="")
    words: Mapped[str] = mapped_column(default="")
    warned: Mapped[int] = mapped_column(SmallInteger, default=0)


class DeletionNews(Base):
    """How many details organisations answered for since the last letter: deleted, or held for a legal reason.

    `due_at` is when the next letter goes, put off while somebody sends it; None when nothing waits.
    """

    __tablename__ = "deletion_news"
    __table_args__ = (Index("deletion_news_due_idx", "due_at", postgresql_where=text("due_at IS NOT NULL")),)

    person_id: Mapped[UUID] = mapped_column(primary_key=True)
    deleted: Mapped[int]
    held: Mapped[int]
    due_at: Mapped[datetime | None]
    last_sent_at: Mapped[datetime | None]


class LaterRequest(Base):
    """The last time a company asked once more for details that somebody had left out, of one purpose.

    One row for each person and purpose: whoever asks again within a month finds it there.  `declined` are the details
    that the person said no to when they were asked so under `grant_id`.
    """

    __tablename__ = "later_request"

    person_id: Mapped[UUID] = mapped_column(primary_key=True)
    purpose_id: Mapped[UUID] = mapped_column(primary_key=True)
    grant_id: Mapped[UUID]
    request_id: Mapped[UUID]
    attributes: Mapped[list[str]]
    asked_at: Mapped[datetime]
    declined: Mapped[list[str]]


class Freeze(Base):
    """A person has frozen everything they share since `frozen_at`; the row goes when they unfreeze it."""

    __tablename__ = "freeze"

    person_id: Mapped[UUID] = mapped_column(primary_key=True)
    frozen_at: Mapped[datetime]


class ConsentWatch(Base):
    """When to look at a live grant again, and what its person has been reminded of.

    `told` is the highest share of its time, in per cent, that was noted for the end `term_to`.  `asked_at` is when it
    was last noted that a year has gone by, `warned_at` when a letter said that it is not used.  `noted` (`half`,
    `most`, `last`, `year`, `unused`, `paused`) waits for the next letter since `noted_at`.
    """

    __tablename__ = "consent_watch"

    person_id: Mapped[UUID] = mapped_column(primary_key=True)
    grant_id: Mapped[UUID] = mapped_column(primary_key=True)
    due_at: Mapped[datetime] = mapped_column(index=True)
    term_to: Mapped[datetime | None]
    told: Mapped[int] = mapped_column(SmallInteger, default=0, server_default="0")
    asked_at: Mapped[datetime | None]
    warned_at: Mapped[datetime | None]
    noted: Mapped[str | None]
    noted_at: Mapped[datetime | None]


class ReminderLetter(Base):
    """One letter to a person about all that is noted of what they share; a day lies between two at least."""

    __tablename__ = "reminder_letter"
    __table_args__ = (Index("reminder_letter_unsent_idx", "about", postgresql_where=text("sent_at IS NULL")),)

    person_id: Mapped[UUID] = mapped_column(primary_key=True)
    about: Mapped[datetime]
    leased_until: Mapped[datetime | None]
    last_sent_at: Mapped[datetime | None]
    sent_at: Mapped[datetime | None]

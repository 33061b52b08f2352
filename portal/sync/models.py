"""The outbox: where each company is told, what each has, and what is due."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import Index, text
from sqlalchemy.orm import Mapped, mapped_column

from portal.db import Base, new_id


class Endpoint(Base):
    """Where a client receives Security Event Tokens (RFC 8935).

    `state` is `pending` until it has echoed a challenge, then `enabled`, `paused` or `disabled`.  While
    `slow_until` lies ahead, only the slow lane sends to it.
    """

    __tablename__ = "endpoint"

    endpoint_id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    client_id: Mapped[str] = mapped_column(unique=True)
    url: Mapped[str]
    state: Mapped[str] = mapped_column(default="pending")
    created_at: Mapped[datetime]
    verified_at: Mapped[datetime | None]
    failures: Mapped[int] = mapped_column(default=0)
    failing_since: Mapped[datetime | None]
    slow_until: Mapped[datetime | None]
    last_problem: Mapped[str] = mapped_column(default="")


class Delivery(Base):
    """What one subscription (a grant with push) has and what it is owed.

    A change raises `generation`; changes that pile up are one delivery of the newest state.  It is due when
    `generation > acked_generation` and `due_at` has come.  `acked_sequence` is the record's sequence the
    company has acknowledged, `told_version` the grant version it has been told of.
    """

    __tablename__ = "delivery"
    __table_args__ = (
        Index("delivery_due_idx", "due_at", postgresql_where=text("generation > acked_generation")),
        Index(None, "client_id"),
    )

    person_id: Mapped[UUID] = mapped_column(primary_key=True)
    grant_id: Mapped[UUID] = mapped_column(primary_key=True)
    client_id: Mapped[str]
    generation: Mapped[int] = mapped_column(default=1)
    acked_generation: Mapped[int] = mapped_column(default=0)
    acked_sequence: Mapped[int] = mapped_column(default=0)
    told_version: Mapped[int] = mapped_column(default=0)
    due_at: Mapped[datetime]
    attempts: Mapped[int] = mapped_column(default=0)
    lease_id: Mapped[UUID | None]
    leased_until: Mapped[datetime | None]
    acked_at: Mapped[datetime | None]
    last_problem: Mapped[str] = mapped_column(default="")


class BatchPull(Base):
    """A pull of many people, answered by a job; `state` is `queued`, `running`, `done` or `expired`."""

    __tablename__ = "batch_pull"

    pull_id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    client_id: Mapped[str] = mapped_column(index=True)
    state: Mapped[str] = mapped_column(default="queued")
    attributes: Mapped[list[str]]
    total: Mapped[int]
    requested_at: Mapped[datetime]
    leased_until: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    expires_at: Mapped[datetime] = mapped_column(index=True)


class BatchPullItem(Base):
    """One subject of a batch pull: `waiting`, `answered` (with the envelope, sealed to the company) or `refused`.

    An answered one names its row in the disclosure log, which stays `sending` until the company fetches.
    """

    __tablename__ = "batch_pull_item"
    __table_args__ = ({"info": {"directory": "found by the pull a company asks for"}},)

    pull_id: Mapped[UUID] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    sub: Mapped[str]
    state: Mapped[str] = mapped_column(default="waiting")
    problem: Mapped[str | None]
    message: Mapped[str | None]
    person_id: Mapped[UUID | None]
    disclosed_at: Mapped[datetime | None]
    disclosure_id: Mapped[UUID | None]

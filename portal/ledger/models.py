"""Disclosures and their outcomes, by month; the database refuses to change or delete a row."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from portal.db import Base, new_id


class DisclosureContext(Base):
    """The words a disclosure is explained with, kept once: its id is the hash of its content."""

    __tablename__ = "disclosure_context"

    context_id: Mapped[UUID] = mapped_column(primary_key=True)
    company_id: Mapped[UUID] = mapped_column(index=True)
    client_id: Mapped[str]
    company_name: Mapped[str]
    purpose: Mapped[str]


class Disclosure(Base):
    """One message to a company, or one refusal; committed before the first byte leaves.

    `channel` is `push`, `poll`, `pull`, `batch` or `userinfo`, `notice` for news without details, `drift` where a
    company was told whether its copies of `asked` are up to date and got none of them, `consent` for a step of the
    person's own; `outcome` is `sending` until its
    `DisclosureOutcome` says more, or at once `completed`, `denied`, `suppressed`.  `asked` lists attribute
    names, `given` maps each disclosed attribute to its version; a value never stands here.
    """

    __tablename__ = "disclosure"
    __table_args__ = (
        Index(None, "context_id", "at"),
        Index("disclosure_at_idx", "at", postgresql_using="brin"),
        {"postgresql_partition_by": "RANGE (at)"},
    )

    person_id: Mapped[UUID] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(primary_key=True)
    disclosure_id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    context_id: Mapped[UUID]
    grant_id: Mapped[UUID | None]
    grant_version: Mapped[int | None]
    channel: Mapped[str]
    outcome: Mapped[str]
    reason: Mapped[str | None]
    asked: Mapped[list[str]]
    given: Mapped[dict[str, Any]]
    message_id: Mapped[str | None]


class DisclosureOutcome(Base):
    """What became of a disclosure that was `sending`: `completed`, `failed` or `unknown`."""

    __tablename__ = "disclosure_outcome"
    __table_args__ = ({"postgresql_partition_by": "RANGE (at)"},)

    person_id: Mapped[UUID] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(primary_key=True)
    disclosure_id: Mapped[UUID] = mapped_column(primary_key=True)
    outcome: Mapped[str] = mapped_column(primary_key=True)
    reported_at: Mapped[datetime]
    detail: Mapped[str]
    milliseconds: Mapped[int]

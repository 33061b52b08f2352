"""Sealed values: every version in its own row, and the current ones of a person together in one."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Mapped, mapped_column

from portal.db import Base


class Value(Base):
    """One version of one attribute; `sealed` is null when the person removed the value."""

    __tablename__ = "value"

    person_id: Mapped[UUID] = mapped_column(primary_key=True)
    attribute: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    sealed: Mapped[bytes | None]
    sequence: Mapped[int]
    changed_at: Mapped[datetime]
    changed_by: Mapped[str]
    restores: Mapped[int | None]


class CurrentRecord(Base):
    """The current sealed value of every attribute of a person, so that a pull reads one row.

    `entries` maps an attribute to `{"version", "sequence", "changed_at", "confirmed_at", "sealed"}`; `sealed`
    is base64 or null; `sequence` is the record's number when that attribute last changed.  One that its person has
    confirmed since then has a `confirmed_sequence` too, the record's number at that.
    """

    __tablename__ = "current_record"

    person_id: Mapped[UUID] = mapped_column(primary_key=True)
    sequence: Mapped[int] = mapped_column(default=0)
    entries: Mapped[dict[str, Any]]

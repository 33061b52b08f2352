"""Disclosures and their outcomes, by month, and the log they stand in; the database refuses to change a row."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, FetchedValue, Index, SmallInteger, text
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
    names, `given` maps each disclosed attribute to its version; a value never stands here.  `sealed_to` has the `kid`
    of each key of the company that the values were sealed to, None where none was, or nobody kept it.
    """

    __tablename__ = "disclosure"
    __table_args__ = (
        Index(None, "context_id", "at"),
        Index("disclosure_at_idx", "at", postgresql_using="brin"),
        Index("disclosure_written_by_idx", "written_by", postgresql_using="brin"),
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
    sealed_to: Mapped[list[str] | None]
    # The number of the transaction that wrote it, by which the sequencer knows what it has not seen.
    written_by: Mapped[int] = mapped_column(BigInteger, server_default=FetchedValue())


class DisclosureOutcome(Base):
    """What became of a disclosure that was `sending`: `completed`, `failed` or `unknown`."""

    __tablename__ = "disclosure_outcome"
    __table_args__ = (
        Index("disclosure_outcome_written_by_idx", "written_by", postgresql_using="brin"),
        {"postgresql_partition_by": "RANGE (at)"},
    )

    person_id: Mapped[UUID] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(primary_key=True)
    disclosure_id: Mapped[UUID] = mapped_column(primary_key=True)
    outcome: Mapped[str] = mapped_column(primary_key=True)
    reported_at: Mapped[datetime]
    detail: Mapped[str]
    milliseconds: Mapped[int]
    written_by: Mapped[int] = mapped_column(BigInteger, server_default=FetchedValue())


class Log(Base):
    """A Merkle tree of all that is logged, under a name that is never used for another one.

    `size` is how many leaves it has.  `seen` is the database's snapshot that it grew to (`pg_snapshot` as text):
    whatever is written and was not visible then has still to be added.  `note` is its newest signed checkpoint,
    `verifier` the key to check it with.
    """

    __tablename__ = "log"

    log_id: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    origin: Mapped[str] = mapped_column(unique=True)
    size: Mapped[int] = mapped_column(BigInteger)
    seen: Mapped[str]
    grown_at: Mapped[datetime]
    note: Mapped[str | None]
    verifier: Mapped[str | None]
    noted_at: Mapped[datetime | None]


class LogTile(Base):
    """Up to 32 hashes of one level of a log's tree, from left to right; more are added, none is changed."""

    __tablename__ = "log_tile"

    log_id: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    level: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    hashes: Mapped[bytes]


class LogEntry(Base):
    """Where in a log a disclosure stands, or what became of it: as leaf number `leaf`, the person's own number `n`.

    `outcome` is empty for the disclosure itself.
    """

    __tablename__ = "log_entry"
    __table_args__ = ({"postgresql_partition_by": "RANGE (at)"},)

    person_id: Mapped[UUID] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(primary_key=True)
    disclosure_id: Mapped[UUID] = mapped_column(primary_key=True)
    outcome: Mapped[str] = mapped_column(primary_key=True)
    log_id: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    leaf: Mapped[int] = mapped_column(BigInteger)
    n: Mapped[int]


class LogHead(Base):
    """A person's newest entry in a log: its number, the hash of its leaf, and the secret their entries are hidden by.

    Without the secret nobody can tell what an entry says: forgetting it forgets them all, and the tree stays whole.
    """

    __tablename__ = "log_head"

    person_id: Mapped[UUID] = mapped_column(primary_key=True)
    log_id: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    n: Mapped[int]
    leaf_hash: Mapped[bytes]
    secret: Mapped[bytes]


class LogWitness(Base):
    """Another who signs a log's checkpoints (`verifier` is their key), and what they have signed last.

    `line` is their signature of the checkpoint in `note`, which has `size` leaves.  `problem` says what was wrong when
    they were asked last, at `asked_at`; nothing where nothing was.
    """

    __tablename__ = "log_witness"

    log_id: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    verifier: Mapped[str] = mapped_column(primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger)
    note: Mapped[str | None]
    line: Mapped[str | None]
    asked_at: Mapped[datetime]
    signed_at: Mapped[datetime | None]
    problem: Mapped[str]


class FirstUse(Base):
    """The row of the log with which an organisation got details of a person for the first time.

    The person is written to about it, and `told_at` is when; until `leased_until` somebody is at it.
    """

    __tablename__ = "first_use"
    __table_args__ = (Index("first_use_untold_idx", "at", postgresql_where=text("told_at IS NULL")),)

    person_id: Mapped[UUID] = mapped_column(primary_key=True)
    company_id: Mapped[UUID] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    disclosure_id: Mapped[UUID]
    told_at: Mapped[datetime | None]
    leased_until: Mapped[datetime | None]


class FirstUseWatch(Base):
    """The database's snapshot that was looked at for first uses last (`pg_snapshot` as text): the one row."""

    __tablename__ = "first_use_watch"

    watch_id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    seen: Mapped[str]

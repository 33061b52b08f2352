"""Questions about rows of the log, and each thing that was said or decided about one."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import Index, text
from sqlalchemy.orm import Mapped, mapped_column

from portal.db import Base


class Dispute(Base):
    """A person's question about one row of their log, as it stands now; what was said is in its `DisputeStep`s.

    `state` and `last_step` are of `rules`; `at` is the row's, which finds it in its month.  `company_id` is
    empty where the row is of a look by an operator, who is asked then.  `due_at` is when something happens by itself,
    `look_at` when the reconciler looks next, `letter_at` when the person is written to.
    """

    __tablename__ = "dispute"
    __table_args__ = (
        # The id alone is what the company and the operator know it by.
        Index(None, "disclosure_id"),
        Index(None, "company_id", "opened_at"),
        Index(
            "dispute_open_idx", "company_id", "due_at",
            postgresql_where=text("state IN ('asked', 'escalated', 'mending')"),
        ),
        Index("dispute_escalated_idx", "changed_at", postgresql_where=text("state = 'escalated'")),
        Index("dispute_decided_idx", "changed_at", postgresql_where=text("state IN ('decided', 'mending')")),
        Index("dispute_look_idx", "look_at", postgresql_where=text("look_at IS NOT NULL")),
        Index("dispute_letter_idx", "letter_at", postgresql_where=text("letter_at IS NOT NULL")),
    )  # fmt: skip

    person_id: Mapped[UUID] = mapped_column(primary_key=True)
    disclosure_id: Mapped[UUID] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    company_id: Mapped[UUID | None]
    client_id: Mapped[str]
    state: Mapped[str]
    last_step: Mapped[str]
    steps: Mapped[int]
    opened_at: Mapped[datetime]
    changed_at: Mapped[datetime]
    due_at: Mapped[datetime | None]
    look_at: Mapped[datetime | None]
    letter_at: Mapped[datetime | None]


class DisputeStep(Base):
    """What somebody said or decided about a question, never changed; `actor_id` is which of the staff or operators.

    `sealed_choice` and `sealed_words` open as attribute `dispute.choice` or `dispute.words`, followed by the row's id,
    at version `number`.
    """

    __tablename__ = "dispute_step"

    person_id: Mapped[UUID] = mapped_column(primary_key=True)
    disclosure_id: Mapped[UUID] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    step: Mapped[str]
    actor: Mapped[str]
    actor_id: Mapped[UUID | None]
    reason: Mapped[str | None]
    due_at: Mapped[datetime | None]
    sealed_choice: Mapped[bytes | None]
    sealed_words: Mapped[bytes | None]


class OperatorLetter(Base):
    """That an operator is to be written to: a question waits for one of them, last since `asked_at`.

    `due_at` is when the letter may go, put off while somebody sends it; `told_at` when the last one went.
    """

    __tablename__ = "operator_letter"

    person_id: Mapped[UUID] = mapped_column(primary_key=True)
    asked_at: Mapped[datetime]
    due_at: Mapped[datetime | None]
    told_at: Mapped[datetime | None]

"""Freezing everything at once, and when to look at a consent again."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("grant", sa.Column("frozen_at", _MOMENT, nullable=True))
    op.create_table(
        "freeze",
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.Column("frozen_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("person_id", name=op.f("freeze_pkey")),
    )
    op.create_table(
        "consent_watch",
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.Column("grant_id", sa.Uuid(), nullable=False),
        sa.Column("due_at", _MOMENT, nullable=False),
        sa.Column("term_to", _MOMENT, nullable=True),
        sa.Column("told", sa.SmallInteger(), nullable=False, server_default="0"),
        sa.Column("asked_at", _MOMENT, nullable=True),
        sa.Column("warned_at", _MOMENT, nullable=True),
        sa.Column("noted", sa.String(), nullable=True),
        sa.Column("noted_at", _MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("person_id", "grant_id", name=op.f("consent_watch_pkey")),
    )
    op.create_index("consent_watch_due_at_idx", "consent_watch", ["due_at"])
    # What is shared already is looked at in the course of a day, and not all at once.
    op.execute("""
        INSERT INTO consent_watch (person_id, grant_id, due_at)
        SELECT person_id, grant_id, now() + random() * interval '1 day' FROM "grant"
         WHERE state IN ('active', 'paused')
    """)
    op.create_table(
        "reminder_letter",
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.Column("about", _MOMENT, nullable=False),
        sa.Column("leased_until", _MOMENT, nullable=True),
        sa.Column("last_sent_at", _MOMENT, nullable=True),
        sa.Column("sent_at", _MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("person_id", name=op.f("reminder_letter_pkey")),
    )
    unsent = sa.text("sent_at IS NULL")
    op.create_index("reminder_letter_unsent_idx", "reminder_letter", ["about"], postgresql_where=unsent)

"""One letter to a person about all that organisations say of what they were asked to delete."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "deletion_news",
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.Column("deleted", sa.Integer(), nullable=False),
        sa.Column("held", sa.Integer(), nullable=False),
        sa.Column("due_at", _MOMENT, nullable=True),
        sa.Column("last_sent_at", _MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("person_id", name=op.f("deletion_news_pkey")),
    )
    waits = sa.text("due_at IS NOT NULL")
    op.create_index("deletion_news_due_idx", "deletion_news", ["due_at"], postgresql_where=waits)

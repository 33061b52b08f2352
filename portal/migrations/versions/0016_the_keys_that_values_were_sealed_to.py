"""Which of the company's keys the values of a disclosure were sealed to."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Of rows from before nobody knows, and what the log says of them stays as it was.
    op.add_column("disclosure", sa.Column("sealed_to", postgresql.JSONB()))

"""The key that a log's checkpoints are checked with stands beside them."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("log", sa.Column("verifier", sa.String(), nullable=True))

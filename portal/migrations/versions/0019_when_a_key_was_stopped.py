"""When an encryption key of a client was last stopped: what is sealed rests on it until it has left."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("client", sa.Column("keys_stopped_at", sa.DateTime(timezone=True), nullable=True))

"""What a company may believe without having said so is kept until it says something, however often it is told."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("delivery", sa.Column("unsure_generation", sa.Integer(), server_default="0", nullable=False))
    op.execute("""
        UPDATE delivery SET unsure_generation = sent_generation
         WHERE sent_generation > acked_generation AND sent_version <> told_version
    """)

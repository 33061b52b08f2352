"""Room on the outbox's pages for what a lease makes of a row, and indexes for what sweeps look for in attempts."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Pages that are written from now on; those that are there fill as before until their rows move.
    op.execute("ALTER TABLE delivery SET (fillfactor = 50)")
    op.create_index("attempt_sending_idx", "attempt", ["at"], postgresql_where=sa.text("outcome = 'sending'"))
    op.create_index("attempt_at_idx", "attempt", ["at"], postgresql_using="brin")

"""Witnesses of the log, and what each night's look at it has found."""

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects import postgresql

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "log_witness",
        sa.Column("log_id", sa.SmallInteger(), nullable=False),
        sa.Column("verifier", sa.String(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("note", sa.String(), nullable=True),
        sa.Column("line", sa.String(), nullable=True),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("signed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("problem", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("log_id", "verifier", name=op.f("log_witness_pkey")),
    )
    op.create_table(
        "reconciliation",
        sa.Column("began_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("phase", sa.String(), nullable=False),
        sa.Column("after", sa.String(), nullable=False),
        sa.Column("counts", postgresql.JSONB(), nullable=False),
        sa.Column("wrong", postgresql.JSONB(), nullable=False),
        sa.Column("stepped_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("told_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("began_at", name=op.f("reconciliation_pkey")),
    )
    _summarise_soon()
    role = op.get_bind().dialect.identifier_preparer.quote_identifier(context.config.attributes["app_role"])
    op.execute(f"REVOKE DELETE, TRUNCATE ON log_witness, reconciliation FROM {role}")


def _summarise_soon() -> None:
    # What a block-range index has not summarised is read as a whole by each growth of the log, and a busy month is
    # vacuumed once in a fifth of its rows.  The parts have their indexes' options from the one they are parts of.
    for table in ("disclosure", "disclosure_outcome"):
        index = f"{table}_written_by_idx"
        op.drop_index(index, table)
        op.create_index(index, table, ["written_by"], postgresql_using="brin", postgresql_with={"autosummarize": "on"})

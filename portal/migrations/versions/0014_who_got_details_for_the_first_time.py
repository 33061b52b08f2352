"""Whom a person's details reached for the first time, and whether they were told of it."""

import sqlalchemy as sa
from alembic import context, op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "first_use",
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.Column("company_id", sa.Uuid(), nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("disclosure_id", sa.Uuid(), nullable=False),
        sa.Column("told_at", _MOMENT),
        sa.Column("leased_until", _MOMENT),
        sa.PrimaryKeyConstraint("person_id", "company_id", name=op.f("first_use_pkey")),
    )
    op.create_index("first_use_untold_idx", "first_use", ["at"], postgresql_where=sa.text("told_at IS NULL"))
    op.create_table(
        "first_use_watch",
        sa.Column("watch_id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("seen", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("watch_id", name=op.f("first_use_watch_pkey")),
    )
    op.execute("INSERT INTO first_use_watch VALUES (1, CAST(pg_current_snapshot() AS text))")
    # What was used before anybody looked is known, and nobody is written to about it.
    op.execute("""
        INSERT INTO first_use (person_id, company_id, at, disclosure_id, told_at)
        SELECT DISTINCT ON (d.person_id, x.company_id) d.person_id, x.company_id, d.at, d.disclosure_id, now()
          FROM disclosure d JOIN disclosure_context x ON x.context_id = d.context_id
          LEFT JOIN disclosure_outcome o ON (o.person_id, o.at, o.disclosure_id) = (d.person_id, d.at, d.disclosure_id)
                                        AND o.outcome IN ('completed', 'unknown')
         WHERE d.given <> '{}' AND (d.outcome = 'completed' OR o.outcome IS NOT NULL)
         ORDER BY d.person_id, x.company_id, d.at
    """)
    role = context.config.attributes["app_role"]
    quoted = op.get_bind().dialect.identifier_preparer.quote_identifier(role)
    op.execute(f"REVOKE INSERT, DELETE, TRUNCATE ON first_use_watch FROM {quoted}")

"""Questions about rows of a person's log, and what was said about each: that is added and never changed."""

import sqlalchemy as sa
from alembic import context, op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "dispute",
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.Column("disclosure_id", sa.Uuid(), nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("company_id", sa.Uuid()),
        sa.Column("client_id", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("last_step", sa.String(), nullable=False),
        sa.Column("steps", sa.Integer(), nullable=False),
        sa.Column("opened_at", _MOMENT, nullable=False),
        sa.Column("changed_at", _MOMENT, nullable=False),
        sa.Column("due_at", _MOMENT),
        sa.Column("look_at", _MOMENT),
        sa.Column("letter_at", _MOMENT),
        sa.PrimaryKeyConstraint("person_id", "disclosure_id", name=op.f("dispute_pkey")),
    )
    op.create_index(op.f("dispute_disclosure_id_idx"), "dispute", ["disclosure_id"])
    op.create_index(op.f("dispute_company_id_opened_at_idx"), "dispute", ["company_id", "opened_at"])
    partly = {
        "dispute_open_idx": (["company_id", "due_at"], "state IN ('asked', 'escalated', 'mending')"),
        "dispute_escalated_idx": (["changed_at"], "state = 'escalated'"),
        "dispute_decided_idx": (["changed_at"], "state IN ('decided', 'mending')"),
        "dispute_look_idx": (["look_at"], "look_at IS NOT NULL"),
        "dispute_letter_idx": (["letter_at"], "letter_at IS NOT NULL"),
    }
    for name, (columns, where) in partly.items():
        op.create_index(name, "dispute", columns, postgresql_where=sa.text(where))
    op.create_table(
        "dispute_step",
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.Column("disclosure_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("step", sa.String(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("actor_id", sa.Uuid()),
        sa.Column("reason", sa.String()),
        sa.Column("due_at", _MOMENT),
        sa.Column("sealed_choice", sa.LargeBinary()),
        sa.Column("sealed_words", sa.LargeBinary()),
        sa.PrimaryKeyConstraint("person_id", "disclosure_id", "number", name=op.f("dispute_step_pkey")),
    )
    op.execute("""
        CREATE TRIGGER dispute_step_append_only BEFORE UPDATE OR DELETE ON dispute_step
        FOR EACH ROW EXECUTE FUNCTION refuse_change()
    """)
    op.execute("""
        CREATE TRIGGER dispute_step_no_truncate BEFORE TRUNCATE ON dispute_step
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
    """)
    role = op.get_bind().dialect.identifier_preparer.quote_identifier(context.config.attributes["app_role"])
    op.execute(f"REVOKE UPDATE, DELETE, TRUNCATE ON dispute_step FROM {role}")

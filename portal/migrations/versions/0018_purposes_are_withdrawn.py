"""Who withdrew a purpose, and why; operators who are to be written to; consents by what is quoted of their receipts."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)
_SAID = ("withdrawn_at", "withdrawn_role", "withdrawn_by", "withdrawn_words")


def upgrade() -> None:
    _say_who_withdrew()
    op.create_table(
        "operator_letter",
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.Column("asked_at", _MOMENT, nullable=False),
        sa.Column("due_at", _MOMENT, nullable=True),
        sa.Column("told_at", _MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("person_id", name=op.f("operator_letter_pkey")),
    )
    op.create_index("grant_number_idx", "grant", [sa.text("right(CAST(grant_id AS text), 8)")])


def _say_who_withdrew() -> None:
    op.add_column("purpose", sa.Column("withdrawn_role", sa.String(), nullable=True))
    op.add_column("purpose", sa.Column("withdrawn_by", sa.Uuid(), nullable=True))
    op.add_column("purpose", sa.Column("withdrawn_words", sa.String(), nullable=False, server_default=""))
    op.alter_column("purpose", "withdrawn_words", server_default=None)
    op.add_column("purpose", sa.Column("closed_at", _MOMENT, nullable=True))
    # Until now nobody but the company could have had it done.
    op.execute("UPDATE purpose SET withdrawn_role = 'company' WHERE withdrawn_at IS NOT NULL")
    unclosed = sa.text("withdrawn_at IS NOT NULL AND closed_at IS NULL")
    op.create_index("purpose_unclosed_idx", "purpose", ["withdrawn_at"], postgresql_where=unclosed)
    new, old = (", ".join(f"{which}.{column}" for column in _SAID) for which in ("NEW", "OLD"))
    op.execute(f"""
        CREATE FUNCTION refuse_unwithdrawing() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF OLD.withdrawn_at IS NULL OR ({new}) IS NOT DISTINCT FROM ({old}) THEN
                RETURN NEW;
            END IF;
            RAISE EXCEPTION 'a purpose that was withdrawn stays so, and so does what was said of it'
                USING ERRCODE = 'insufficient_privilege';
        END $$
    """)
    op.execute("""
        CREATE TRIGGER purpose_stays_withdrawn BEFORE UPDATE ON purpose
        FOR EACH ROW EXECUTE FUNCTION refuse_unwithdrawing()
    """)

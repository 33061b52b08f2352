"""What a purpose says stands in versions that are never changed; an operator looks at those of live apps."""

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects import postgresql

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)
_JSON = postgresql.JSONB(astext_type=sa.Text())
_SAID = ("sentence", "dpv", "mode", "required", "optional", "retention_days", "longest_days", "pulls_a_day")
_BECOMES = ("state", "sent_at", "decided_at", "decided_by", "words")


def upgrade() -> None:
    _make_versions()
    _begin_them()
    _guard()


def _make_versions() -> None:
    op.create_table(
        "purpose_version",
        sa.Column("purpose_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("sentence", sa.String(), nullable=False),
        sa.Column("dpv", sa.String(), nullable=False),
        sa.Column("lawful_basis", sa.String(), nullable=False),
        sa.Column("mode", sa.String(), nullable=False),
        sa.Column("required", _JSON, nullable=False),
        sa.Column("optional", _JSON, nullable=False),
        sa.Column("retention_days", sa.Integer(), nullable=False),
        sa.Column("longest_days", sa.Integer(), nullable=False),
        sa.Column("pulls_a_day", sa.Integer(), nullable=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("drafted_at", _MOMENT, nullable=False),
        sa.Column("sent_at", _MOMENT, nullable=True),
        sa.Column("decided_at", _MOMENT, nullable=True),
        sa.Column("decided_by", sa.Uuid(), nullable=True),
        sa.Column("words", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["purpose_id"], ["purpose.purpose_id"], name=op.f("purpose_version_purpose_id_fkey")),
        sa.PrimaryKeyConstraint("purpose_id", "version", name=op.f("purpose_version_pkey")),
    )
    one_of = {"live": "state = 'live'", "open": "state IN ('draft', 'waiting')"}
    for name, which in one_of.items():
        op.create_index(
            f"purpose_version_{name}_key", "purpose_version", ["purpose_id"], unique=True,
            postgresql_where=sa.text(which),
        )  # fmt: skip
    waits = sa.text("state = 'waiting'")
    op.create_index("purpose_version_waiting_idx", "purpose_version", ["sent_at"], postgresql_where=waits)
    decided = sa.text("decided_by IS NOT NULL")
    op.create_index("purpose_version_decided_idx", "purpose_version", ["decided_at"], postgresql_where=decided)


def _begin_them() -> None:
    """Let what companies have declared so far stand: people were asked under it, for their consent."""
    said = ", ".join(_SAID)
    op.execute(f"""
        INSERT INTO purpose_version (purpose_id, version, {said}, lawful_basis, state, drafted_at, sent_at, decided_at,
                                     words)
        SELECT purpose_id, version, {said}, 'consent', 'live', created_at, created_at, created_at, '' FROM purpose
    """)
    op.add_column("purpose", sa.Column("attributes", _JSON, nullable=True))
    op.execute("""
        UPDATE purpose p
           SET attributes = (SELECT coalesce(jsonb_agg(asked -> 'attribute'), '[]')
                               FROM jsonb_array_elements(p.required || p.optional) asked)
    """)
    op.alter_column("purpose", "attributes", nullable=False)
    op.alter_column("purpose", "version", nullable=True)
    for column in _SAID:
        op.drop_column("purpose", column)


def _guard() -> None:
    said = ("purpose_id", "version", *_SAID, "lawful_basis", "drafted_at")
    new, old = (", ".join(f"{which}.{column}" for column in said) for which in ("NEW", "OLD"))
    op.execute(f"""
        CREATE FUNCTION refuse_restating() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF ({new}) IS NOT DISTINCT FROM ({old})
               AND (NEW.state = OLD.state OR (OLD.state, NEW.state) IN (
                    ('draft', 'waiting'), ('draft', 'replaced'), ('waiting', 'draft'), ('waiting', 'live'),
                    ('waiting', 'sent-back'), ('waiting', 'replaced'), ('live', 'replaced'))) THEN
                RETURN NEW;
            END IF;
            RAISE EXCEPTION 'a version of a purpose is never changed: another one is made'
                USING ERRCODE = 'insufficient_privilege';
        END $$
    """)
    op.execute("""
        CREATE TRIGGER purpose_version_says_the_same BEFORE UPDATE ON purpose_version
        FOR EACH ROW EXECUTE FUNCTION refuse_restating()
    """)
    op.execute("""
        CREATE TRIGGER purpose_version_no_delete BEFORE DELETE ON purpose_version
        FOR EACH ROW EXECUTE FUNCTION refuse_change()
    """)
    op.execute("""
        CREATE TRIGGER purpose_version_no_truncate BEFORE TRUNCATE ON purpose_version
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
    """)
    role = context.config.attributes["app_role"]
    quoted = op.get_bind().dialect.identifier_preparer.quote_identifier(role)
    op.execute(f"REVOKE UPDATE, DELETE, TRUNCATE ON purpose_version FROM {quoted}")
    op.execute(f"GRANT UPDATE ({', '.join(_BECOMES)}) ON purpose_version TO {quoted}")

"""Signed steps of a consent, the keys that sign them for good, offers of less, and who may not ask again."""

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_JSON = postgresql.JSONB(astext_type=sa.Text(), none_as_null=True)


def upgrade() -> None:
    op.add_column("grant", sa.Column("concession", _JSON, nullable=True))
    countered = sa.text("state = 'countered'")
    op.create_index(
        "grant_countered_key", "grant", ["person_id", "purpose_id"], unique=True, postgresql_where=countered
    )
    # Steps from before have neither; the hash of the next one covers them.
    op.add_column("grant_version", sa.Column("about", _JSON, nullable=True))
    op.add_column("grant_version", sa.Column("signature", sa.String(), nullable=True))
    op.add_column("company", sa.Column("particulars", _JSON, nullable=False, server_default=sa.text("'{}'")))
    op.alter_column("company", "particulars", server_default=None)
    _make_tables()
    _keep_keys()


def _make_tables() -> None:
    op.create_table(
        "record_key",
        sa.Column("kid", sa.String(), nullable=False),
        sa.Column("public_jwk", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("keyring_version", sa.Integer(), nullable=False),
        sa.Column("wrapped_private", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("kid", name=op.f("record_key_pkey")),
    )
    op.create_table(
        "unwanted_request",
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.Column("purpose_id", sa.Uuid(), nullable=False),
        sa.Column("grant_id", sa.Uuid(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("person_id", "purpose_id", name=op.f("unwanted_request_pkey")),
    )
    op.create_table(
        "consent_letter",
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.Column("grant_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("written_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("person_id", "grant_id", "version", name=op.f("consent_letter_pkey")),
    )
    unsent = sa.text("sent_at IS NULL")
    op.create_index("consent_letter_due_idx", "consent_letter", ["due_at"], postgresql_where=unsent)


def _keep_keys() -> None:
    # What a key has signed must be checkable for ever: its public part stays as it was.
    op.execute("""
        CREATE FUNCTION refuse_another_key() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF (NEW.kid, NEW.public_jwk, NEW.created_at) = (OLD.kid, OLD.public_jwk, OLD.created_at) THEN
                RETURN NEW;
            END IF;
            RAISE EXCEPTION 'record_key keeps its public part' USING ERRCODE = 'insufficient_privilege';
        END $$
    """)
    op.execute("""
        CREATE TRIGGER record_key_keep BEFORE UPDATE ON record_key
        FOR EACH ROW EXECUTE FUNCTION refuse_another_key()
    """)
    op.execute("""
        CREATE TRIGGER record_key_append_only BEFORE DELETE ON record_key
        FOR EACH ROW EXECUTE FUNCTION refuse_change()
    """)
    op.execute("""
        CREATE TRIGGER record_key_no_truncate BEFORE TRUNCATE ON record_key
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
    """)
    role = context.config.attributes["app_role"]
    quoted = op.get_bind().dialect.identifier_preparer.quote_identifier(role)
    op.execute(f"REVOKE DELETE, TRUNCATE ON record_key FROM {quoted}")

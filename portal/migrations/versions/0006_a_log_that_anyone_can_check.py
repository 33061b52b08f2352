"""The Merkle tree over the disclosures: what has not been added yet is known by the transaction that wrote it."""

import sqlalchemy as sa
from alembic import context, op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_LEDGER = ("disclosure", "disclosure_outcome")


def upgrade() -> None:
    for table in _LEDGER:
        # Rows that are there already are as if this migration had written them.
        op.execute(f"""
            ALTER TABLE {table} ADD COLUMN written_by bigint NOT NULL
                DEFAULT (CAST(CAST(pg_current_xact_id() AS text) AS bigint))
        """)
        op.create_index(f"{table}_written_by_idx", table, ["written_by"], postgresql_using="brin")
    _make_tables()
    _guard()
    _open_months()


def _make_tables() -> None:
    op.create_table(
        "log",
        sa.Column("log_id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("origin", sa.String(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("seen", sa.String(), nullable=False),
        sa.Column("grown_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("note", sa.String(), nullable=True),
        sa.Column("noted_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("log_id", name=op.f("log_pkey")),
        sa.UniqueConstraint("origin", name=op.f("log_origin_key")),
    )
    op.create_table(
        "log_tile",
        sa.Column("log_id", sa.SmallInteger(), nullable=False),
        sa.Column("level", sa.SmallInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("hashes", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("log_id", "level", "number", name=op.f("log_tile_pkey")),
    )
    op.create_table(
        "log_entry",
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("disclosure_id", sa.Uuid(), nullable=False),
        sa.Column("outcome", sa.String(), nullable=False),
        sa.Column("log_id", sa.SmallInteger(), nullable=False),
        sa.Column("leaf", sa.BigInteger(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("person_id", "at", "disclosure_id", "outcome", "log_id", name=op.f("log_entry_pkey")),
        postgresql_partition_by="RANGE (at)",
    )
    op.create_table(
        "log_head",
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.Column("log_id", sa.SmallInteger(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("leaf_hash", sa.LargeBinary(), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("person_id", "log_id", name=op.f("log_head_pkey")),
        # Every entry changes the row of its person, which no index needs to hear of.
        postgresql_with={"fillfactor": "50"},
    )


def _guard() -> None:
    op.execute("""
        CREATE FUNCTION refuse_rewriting() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF (NEW.log_id, NEW.level, NEW.number) = (OLD.log_id, OLD.level, OLD.number)
               AND substr(NEW.hashes, 1, length(OLD.hashes)) = OLD.hashes THEN
                RETURN NEW;
            END IF;
            RAISE EXCEPTION 'log_tile is only added to' USING ERRCODE = 'insufficient_privilege';
        END $$
    """)
    op.execute(
        "CREATE TRIGGER log_tile_extend_only BEFORE UPDATE ON log_tile FOR EACH ROW EXECUTE FUNCTION refuse_rewriting()"
    )
    refused = {"log_tile": "DELETE", "log_entry": "UPDATE OR DELETE"}
    for table, changes in refused.items():
        op.execute(f"""
            CREATE TRIGGER {table}_append_only BEFORE {changes} ON {table}
            FOR EACH ROW EXECUTE FUNCTION refuse_change()
        """)
        op.execute(f"""
            CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table}
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
        """)
    role = context.config.attributes["app_role"]
    quoted = op.get_bind().dialect.identifier_preparer.quote_identifier(role)
    op.execute(f"REVOKE UPDATE, DELETE, TRUNCATE ON log_entry FROM {quoted}")
    op.execute(f"REVOKE DELETE, TRUNCATE ON log, log_tile FROM {quoted}")


def _open_months() -> None:
    make_month = """
        CREATE OR REPLACE FUNCTION open_ledger_month(moment timestamptz) RETURNS void
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
        DECLARE
            first timestamptz := date_trunc('month', moment, 'UTC');
            part text;
            parent text;
        BEGIN
            PERFORM pg_advisory_xact_lock(1430473985);
            FOREACH parent IN ARRAY ARRAY['disclosure', 'disclosure_outcome', 'log_entry'] LOOP
                part := parent || to_char(first AT TIME ZONE 'UTC', '"_"YYYY"_"MM');
                CONTINUE WHEN to_regclass(part) IS NOT NULL;
                EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)',
                    part, parent, first, first + interval '1 month');
                EXECUTE format('CREATE TRIGGER %I BEFORE TRUNCATE ON %I '
                    'FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()', part || '_no_truncate', part);
                EXECUTE format('REVOKE ALL ON %I FROM ' || quote_ident(APP_ROLE), part);
            END LOOP;
        END $$
    """
    role = context.config.attributes["app_role"].replace("'", "''")
    op.execute(make_month.replace("APP_ROLE", f"'{role}'"))
    op.execute("""
        SELECT open_ledger_month(to_timestamp(right(c.relname, 7) || ' UTC', 'YYYY_MM TZ'))
          FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'disclosure'::regclass
    """)

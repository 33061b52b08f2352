"""What delivery keeps beside what it owes: streams and their health, attempts, receipts, uses, proved keys."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)
_OWED = sa.text("generation > acked_generation")


def upgrade() -> None:
    _make_streams_of_endpoints()
    _widen_deliveries()
    _widen_what_others_keep()
    _add_what_was_sent()
    _add_what_is_counted()


def _make_streams_of_endpoints() -> None:
    op.rename_table("endpoint", "stream")
    op.alter_column("stream", "endpoint_id", new_column_name="stream_id")
    for kind in ("pkey", "client_id_key"):
        op.execute(f"ALTER TABLE stream RENAME CONSTRAINT endpoint_{kind} TO stream_{kind}")
    op.alter_column("stream", "url", nullable=True)
    # There is one lane for all, and a circuit for each.
    op.drop_column("stream", "slow_until")
    # An address that has never proved itself was never told anything.
    op.execute("UPDATE stream SET state = 'disabled' WHERE state = 'pending'")
    _fill("stream", method="'push'", description="''", reason="''")
    _fill_numbers("stream", batch=1, in_flight=4, per_second=100, recent=0, tries=0, circuit_step=0,
                  warned=0)  # fmt: skip
    _fill_one("stream", "tokens", sa.Float(), "0")
    _fill_one("stream", "last_position", sa.BigInteger(), "0")
    op.add_column("stream", sa.Column("events", postgresql.JSONB()))
    op.add_column("stream", sa.Column("people_told_after", sa.Uuid()))
    op.add_column("stream", sa.Column("authorization_version", sa.Integer()))
    op.add_column("stream", sa.Column("wrapped_authorization", sa.LargeBinary()))
    for column in (
        "verification_asked_at", "tokens_at", "circuit_until", "disabled_at", "people_told_at", "receipts_from",
        "receipts_at",
    ):  # fmt: skip
        op.add_column("stream", sa.Column(column, _MOMENT))


def _widen_deliveries() -> None:
    _fill("delivery", told_state="''", applied_state="''")
    _fill_numbers("delivery", positioned=0, applied_generation=0, applied_sequence=0)
    for column in ("told_erasure", "held"):
        _fill_one("delivery", column, sa.Boolean(), "false")
    # What has been told so far is what the consent was at that version.
    op.execute(
        "UPDATE delivery d SET told_state = v.state FROM grant_version v "
        "WHERE v.person_id = d.person_id AND v.grant_id = d.grant_id AND v.version = d.told_version"
    )
    op.add_column("delivery", sa.Column("position", sa.BigInteger()))
    for column in ("sent_jti", "sent_state"):
        op.add_column("delivery", sa.Column(column, sa.String()))
    op.add_column("delivery", sa.Column("sent_erasure", sa.Boolean()))
    for column in ("sent_generation", "sent_sequence", "sent_version", "sent_after"):
        op.add_column("delivery", sa.Column(column, sa.Integer()))
    op.add_column("delivery", sa.Column("applied_at", _MOMENT))
    # By client, so that what one is owed hides nothing of what another is owed.
    op.drop_index("delivery_due_idx", "delivery")
    op.create_index("delivery_due_idx", "delivery", ["client_id", "due_at"], postgresql_where=_OWED)
    op.create_index("delivery_position_idx", "delivery", ["client_id", "position"], postgresql_where=_OWED)
    handed_out = sa.text("sent_jti IS NOT NULL")
    op.create_index("delivery_sent_idx", "delivery", ["client_id", "sent_jti"], postgresql_where=handed_out)


def _widen_what_others_keep() -> None:
    op.add_column("batch_pull", sa.Column("epk", postgresql.JSONB()))
    _fill("client_key", key_group="''")
    op.add_column("client_key", sa.Column("challenge_hash", sa.LargeBinary()))
    _fill_numbers("client_key", challenge_tries=0)
    for column in ("challenge_expires_at", "proved_at", "active_from", "announced_at", "leaving_at", "stopped_at"):
        op.add_column("client_key", sa.Column(column, _MOMENT))
    # Companies have opened messages by these keys for as long as they have been there.
    op.execute("UPDATE client_key SET proved_at = added_at, active_from = added_at, announced_at = added_at")
    turn = sa.text("use = 'enc' AND retired_at IS NULL")
    op.create_index("client_key_turn_idx", "client_key", ["active_from"], postgresql_where=turn)
    op.create_table(
        "company_letter",
        sa.Column("letter_id", sa.Uuid(), nullable=False),
        sa.Column("company_id", sa.Uuid(), nullable=False),
        sa.Column("client_id", sa.String(), nullable=False),
        sa.Column("person_id", sa.Uuid()),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("about", postgresql.JSONB(), nullable=False),
        sa.Column("once", sa.String()),
        sa.Column("written_at", _MOMENT, nullable=False),
        sa.Column("due_at", _MOMENT, nullable=False),
        sa.Column("sent_at", _MOMENT),
        sa.PrimaryKeyConstraint("letter_id", name="company_letter_pkey"),
        sa.UniqueConstraint("once", name="company_letter_once_key"),
        sa.ForeignKeyConstraint(["company_id"], ["company.company_id"], name="company_letter_company_id_fkey"),
    )
    op.create_index("company_letter_company_id_idx", "company_letter", ["company_id"])
    op.create_index("company_letter_client_id_idx", "company_letter", ["client_id", "kind", "written_at"])
    unsent = sa.text("sent_at IS NULL")
    op.create_index("company_letter_due_idx", "company_letter", ["due_at"], postgresql_where=unsent)
    op.add_column("purpose", sa.Column("pulls_a_day", sa.Integer()))
    _fill_one("purpose", "key_groups", postgresql.JSONB(), "'{}'")
    for column in ("thin", "strict"):
        _fill_one("purpose", column, sa.Boolean(), "false")
    op.add_column("grant", sa.Column("pulls_a_day", sa.Integer()))
    op.add_column("grant", sa.Column("erasure_asked_at", _MOMENT))
    op.add_column("grant_version", sa.Column("pulls_a_day", sa.Integer()))


def _add_what_was_sent() -> None:
    op.create_table(
        "flight",
        sa.Column("stream_id", sa.Uuid(), nullable=False),
        sa.Column("lease_id", sa.Uuid(), nullable=False),
        sa.Column("leased_until", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("stream_id", "lease_id", name="flight_pkey"),
    )
    op.create_table(
        "attempt",
        sa.Column("client_id", sa.String(), nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("attempt_id", sa.Uuid(), nullable=False),
        sa.Column("jti", sa.String(), nullable=False),
        sa.Column("person_id", sa.Uuid()),
        sa.Column("grant_id", sa.Uuid()),
        sa.Column("generation", sa.Integer()),
        sa.Column("sequence", sa.Integer()),
        sa.Column("grant_version", sa.Integer()),
        sa.Column("channel", sa.String(), nullable=False),
        sa.Column("kinds", postgresql.JSONB(), nullable=False),
        sa.Column("outcome", sa.String(), nullable=False),
        sa.Column("status", sa.Integer()),
        sa.Column("milliseconds", sa.Integer(), nullable=False),
        sa.Column("detail", sa.String(), nullable=False),
        sa.Column("payload", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("client_id", "at", "attempt_id", name="attempt_pkey"),
    )
    op.create_index("attempt_client_id_jti_idx", "attempt", ["client_id", "jti"])
    failed = sa.text("outcome <> 'completed'")
    op.create_index("attempt_failed_idx", "attempt", ["client_id", "at"], postgresql_where=failed)
    about = sa.text("person_id IS NOT NULL")
    op.create_index("attempt_person_idx", "attempt", ["client_id", "person_id", "at"], postgresql_where=about)
    op.create_table(
        "stream_event",
        sa.Column("stream_event_id", sa.Uuid(), nullable=False),
        sa.Column("client_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("payload", postgresql.JSONB(), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("due_at", _MOMENT, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("lease_id", sa.Uuid()),
        sa.Column("leased_until", _MOMENT),
        sa.Column("delivered_at", _MOMENT),
        sa.Column("last_problem", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("stream_event_id", name="stream_event_pkey"),
    )
    op.create_index("stream_event_client_id_idx", "stream_event", ["client_id"])
    waiting = sa.text("delivered_at IS NULL")
    op.create_index("stream_event_due_idx", "stream_event", ["due_at"], postgresql_where=waiting)
    unsent = sa.text("sent_at IS NULL")
    op.create_table(
        "away_letter",
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.Column("about", _MOMENT, nullable=False),
        sa.Column("leased_until", _MOMENT),
        sa.Column("last_sent_at", _MOMENT),
        sa.Column("sent_at", _MOMENT),
        sa.PrimaryKeyConstraint("person_id", name="away_letter_pkey"),
    )
    op.create_index("away_letter_unsent_idx", "away_letter", ["about"], postgresql_where=unsent)
    op.create_table(
        "replay",
        sa.Column("replay_id", sa.Uuid(), nullable=False),
        sa.Column("client_id", sa.String(), nullable=False),
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("since", _MOMENT, nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("asked_at", _MOMENT, nullable=False),
        sa.Column("finished_at", _MOMENT),
        sa.Column("after_person", sa.Uuid()),
        sa.Column("after_grant", sa.Uuid()),
        sa.Column("leased_until", _MOMENT),
        sa.PrimaryKeyConstraint("replay_id", name="replay_pkey"),
    )
    op.create_index("replay_client_id_idx", "replay", ["client_id"])
    unfinished = sa.text("finished_at IS NULL")
    op.create_index("replay_unfinished_key", "replay", ["client_id"], unique=True, postgresql_where=unfinished)


def _add_what_is_counted() -> None:
    op.create_table(
        "receipt",
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.Column("grant_id", sa.Uuid(), nullable=False),
        sa.Column("jti", sa.String(), nullable=False),
        sa.Column("client_id", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("words", sa.String(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("sequence", sa.Integer()),
        sa.Column("applied_at", _MOMENT, nullable=False),
        sa.Column("received_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("person_id", "grant_id", "jti", name="receipt_pkey"),
    )
    op.create_index("receipt_client_id_jti_idx", "receipt", ["client_id", "jti"])
    op.create_index("receipt_received_at_idx", "receipt", ["received_at"])
    op.create_table(
        "grant_use",
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.Column("grant_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("used", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("person_id", "grant_id", "kind", "day", name="grant_use_pkey"),
    )
    # By which the days that are over are found.
    op.create_index("grant_use_day_idx", "grant_use", ["day"])
    op.create_table(
        "idempotency_key",
        sa.Column("client_id", sa.String(), nullable=False),
        sa.Column("key_hash", sa.LargeBinary(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("pull_id", sa.Uuid(), nullable=False),
        sa.Column("expires_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("client_id", "key_hash", name="idempotency_key_pkey"),
    )
    op.create_index("idempotency_key_expires_at_idx", "idempotency_key", ["expires_at"])


def _fill(table: str, **texts: str) -> None:
    for name, value in texts.items():
        _fill_one(table, name, sa.String(), value)


def _fill_numbers(table: str, **numbers: int) -> None:
    for name, value in numbers.items():
        _fill_one(table, name, sa.Integer(), str(value))


def _fill_one(table: str, name: str, kind: sa.types.TypeEngine[Any], value: str) -> None:
    # Rows that are there get the value now; from then on the program says it.
    op.add_column(table, sa.Column(name, kind, nullable=False, server_default=sa.text(value)))
    op.alter_column(table, name, server_default=None)

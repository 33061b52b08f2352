"""What the whole authorization server keeps: levels, retention, registration, approvals, key rotation."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    _widen_what_there_is()
    _add_tables()


def _widen_what_there_is() -> None:
    op.add_column("access_token", sa.Column("authenticated_at", _MOMENT))
    op.add_column("access_token", sa.Column("level", sa.Integer()))
    op.add_column("authorization_code", _filled("level", sa.Integer(), "1"))
    op.add_column("refresh_token", _filled("level", sa.Integer(), "1"))
    op.add_column("refresh_token", _filled("used_at", _MOMENT, "now()"))
    op.create_index("refresh_token_used_at_idx", "refresh_token", ["used_at"])
    op.add_column("browser_session", _filled("level", sa.Integer(), "1"))
    op.add_column("password", sa.Column("second_proof_from", _MOMENT))
    op.add_column("sign_in_code", _filled("purpose", sa.String(), "'sign-in'"))
    op.add_column("client", _filled("metadata", postgresql.JSONB(), "'{}'"))
    op.add_column("client", sa.Column("keys_fetched_at", _MOMENT))
    op.add_column("client", sa.Column("registration_token_hash", sa.LargeBinary()))
    op.add_column("grant", _filled("level", sa.Integer(), "1"))
    op.add_column("grant", sa.Column("retention_days", sa.Integer()))
    op.execute(
        'UPDATE "grant" SET retention_days = purpose.retention_days FROM purpose '
        'WHERE purpose.purpose_id = "grant".purpose_id'
    )
    op.alter_column("grant", "retention_days", nullable=False)
    op.create_index("grant_grant_id_idx", "grant", ["grant_id"])
    op.add_column("grant_version", sa.Column("retention_days", sa.Integer()))
    op.add_column("grant_version", sa.Column("level", sa.Integer()))
    op.add_column("signing_key", _filled("signs_from", _MOMENT, "now()"))
    op.execute("UPDATE signing_key SET signs_from = created_at")
    for table, column in (
        ("authorization_code", "level"),
        ("refresh_token", "level"),
        ("refresh_token", "used_at"),
        ("browser_session", "level"),
        ("sign_in_code", "purpose"),
        ("client", "metadata"),
        ("grant", "level"),
        ("signing_key", "signs_from"),
    ):
        op.alter_column(table, column, server_default=None)


def _filled(name: str, kind: sa.types.TypeEngine[Any], value: str) -> sa.Column[Any]:
    # Rows that are there get the value now; from then on the program says it.
    return sa.Column(name, kind, nullable=False, server_default=sa.text(value))


def _add_tables() -> None:
    op.create_table(
        "approval_request",
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("company_id", sa.Uuid(), nullable=False),
        sa.Column("client_id", sa.String(), nullable=False),
        sa.Column("purpose_id", sa.Uuid(), nullable=False),
        sa.Column("asked", postgresql.JSONB(), nullable=False),
        sa.Column("sealed_message", sa.LargeBinary()),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("asked_at", _MOMENT, nullable=False),
        sa.Column("expires_at", _MOMENT, nullable=False),
        sa.Column("answered_at", _MOMENT),
        sa.Column("authenticated_at", _MOMENT),
        sa.Column("level", sa.Integer()),
        sa.Column("grant_id", sa.Uuid()),
        sa.PrimaryKeyConstraint("person_id", "request_id", name="approval_request_pkey"),
    )
    op.create_index("approval_request_expires_at_idx", "approval_request", ["expires_at"])
    op.create_index(
        "approval_request_waiting_idx",
        "approval_request",
        ["expires_at"],
        postgresql_where=sa.text("state = 'waiting'"),
    )
    op.create_table(
        "backchannel_request",
        sa.Column("request_hash", sa.LargeBinary(), nullable=False),
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("client_id", sa.String(), nullable=False),
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("interval", sa.Integer(), nullable=False),
        sa.Column("polled_at", _MOMENT),
        sa.Column("used_at", _MOMENT),
        sa.Column("expires_at", _MOMENT, nullable=False),
        sa.Column("keyring_version", sa.Integer()),
        sa.Column("wrapped_notification_token", sa.LargeBinary()),
        sa.Column("sealed_auth_req_id", sa.LargeBinary()),
        sa.Column("ping_due_at", _MOMENT),
        sa.Column("ping_attempts", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("request_hash", name="backchannel_request_pkey"),
    )
    for column in ("request_id", "expires_at", "ping_due_at"):
        op.create_index(f"backchannel_request_{column}_idx", "backchannel_request", [column])
    op.create_table(
        "initial_access_token",
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("company_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("environment", sa.String(), nullable=False),
        sa.Column("made_by", sa.Uuid(), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("expires_at", _MOMENT, nullable=False),
        sa.Column("uses_left", sa.Integer(), nullable=False),
        sa.Column("revoked_at", _MOMENT),
        sa.ForeignKeyConstraint(["company_id"], ["company.company_id"], name="initial_access_token_company_id_fkey"),
        sa.PrimaryKeyConstraint("token_hash", name="initial_access_token_pkey"),
    )
    for column in ("company_id", "expires_at"):
        op.create_index(f"initial_access_token_{column}_idx", "initial_access_token", [column])

"""What companies are to delete, detail by detail; what they asked for once more; how they conduct themselves."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)
_JSON = postgresql.JSONB(astext_type=sa.Text())
_OPEN = sa.text("state IN ('asked', 'held')")


def upgrade() -> None:
    _make_deletions()
    _begin_what_was_asked()
    _make_later_requests()
    _make_conduct()
    # A company reads its consents page by page, in the order in which they were given.
    op.create_index("grant_client_id_grant_id_idx", "grant", ["client_id", "grant_id"])
    op.drop_index("grant_client_id_idx", "grant")


def _make_deletions() -> None:
    op.create_table(
        "deletion",
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.Column("grant_id", sa.Uuid(), nullable=False),
        sa.Column("attribute", sa.String(), nullable=False),
        sa.Column("client_id", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("asked_at", _MOMENT, nullable=False),
        sa.Column("due_at", _MOMENT, nullable=False),
        sa.Column("changed_at", _MOMENT, nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("words", sa.String(), nullable=False),
        sa.Column("warned", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("person_id", "grant_id", "attribute", name=op.f("deletion_pkey")),
    )
    op.create_index("deletion_client_id_due_at_idx", "deletion", ["client_id", "due_at"])
    op.create_index("deletion_open_idx", "deletion", ["client_id", "due_at"], postgresql_where=_OPEN)
    op.create_index(
        "deletion_unwarned_idx", "deletion", ["due_at"],
        postgresql_where=sa.text("state IN ('asked', 'held') AND warned < 2"),
    )  # fmt: skip
    op.create_index("deletion_held_idx", "deletion", ["due_at"], postgresql_where=sa.text("state = 'held'"))


def _begin_what_was_asked() -> None:
    # Whoever asked before this was kept has asked all the same; the day is counted as for everybody after it.
    op.execute("""
        INSERT INTO deletion (person_id, grant_id, attribute, client_id, state, asked_at, due_at, changed_at, reason,
                              words, warned)
        SELECT g.person_id, g.grant_id, each.name, g.client_id, 'asked', g.erasure_asked_at,
               GREATEST(LEAST(g.changed_at, g.expires_at) + make_interval(days => g.retention_days),
                        now() + interval '1 day'),
               g.erasure_asked_at, '', '', 0
          FROM "grant" g
          CROSS JOIN LATERAL (
               SELECT DISTINCT one.name FROM grant_version v, jsonb_array_elements_text(v.attributes) AS one(name)
                WHERE v.person_id = g.person_id AND v.grant_id = g.grant_id) each
         WHERE g.erasure_asked_at IS NOT NULL
    """)


def _make_later_requests() -> None:
    op.create_table(
        "later_request",
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.Column("purpose_id", sa.Uuid(), nullable=False),
        sa.Column("grant_id", sa.Uuid(), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("attributes", _JSON, nullable=False),
        sa.Column("asked_at", _MOMENT, nullable=False),
        sa.Column("declined", _JSON, nullable=False),
        sa.PrimaryKeyConstraint("person_id", "purpose_id", name=op.f("later_request_pkey")),
    )


def _make_conduct() -> None:
    op.create_table(
        "conduct",
        sa.Column("company_id", sa.Uuid(), nullable=False),
        sa.Column("gathered_at", _MOMENT, nullable=False),
        sa.Column("changes", sa.Integer(), nullable=False),
        sa.Column("people", sa.Integer(), nullable=False),
        sa.Column("median_seconds", sa.Float(), nullable=True),
        sa.Column("sends_receipts", sa.Boolean(), nullable=False),
        sa.Column("asked_to_delete", sa.Integer(), nullable=False),
        sa.Column("looks", sa.BigInteger(), nullable=False),
        sa.Column("looks_allowed", sa.BigInteger(), nullable=False),
        sa.Column("looked_at", sa.Integer(), nullable=False),
        sa.Column("looks_on", sa.Date(), nullable=True),
        sa.PrimaryKeyConstraint("company_id", name=op.f("conduct_pkey")),
    )

"""The first tables, and the triggers that keep the ledger and the audit records append-only.

Revision: 0001, after nothing
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = (
    "quotas",
    "use_totals",
    "leases",
    "ledger_entries",
    "chain_heads",
    "notices",
    "audit_records",
    "saved_answers",
    "heartbeats",
)
APPEND_ONLY = ("ledger_entries", "audit_records")
IS_OPEN = sa.text("state IN ('active', 'ending', 'granted')")


def upgrade() -> None:
    _create_tables()
    if op.get_context().dialect.name == "sqlite":
        _refuse_changes_on_sqlite()
    else:
        _refuse_changes_on_postgresql()


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table)
    if op.get_context().dialect.name == "postgresql":
        op.execute("DROP FUNCTION refuse_change()")


def _refuse_changes_on_sqlite() -> None:
    for table in APPEND_ONLY:
        for change in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{change.lower()} BEFORE {change} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )


def _refuse_changes_on_postgresql() -> None:
    op.execute(
        "CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$"
    )
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION refuse_change()"
        )
        op.execute(
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )


def _text(name: str, *, null: bool = False) -> sa.Column[str]:
    kind = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
    return sa.Column(name, kind, nullable=null)


def _int(name: str, *, null: bool = False) -> sa.Column[int]:
    kind = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    return sa.Column(name, kind, nullable=null, autoincrement=False)


def _create_tables() -> None:
    op.create_table(
        "quotas",
        _text("subject_kind"),
        _text("subject_name"),
        _text("time_zone"),
        _text("limits"),
        sa.PrimaryKeyConstraint("subject_kind", "subject_name", name="pk_quotas"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "use_totals",
        _text("account_kind"),
        _text("account_name"),
        _text("flavor"),
        _int("bucket_ms"),
        _int("gpu_time"),
        _int("money"),
        _int("tokens"),
        sa.PrimaryKeyConstraint("account_kind", "account_name", "flavor", "bucket_ms", name="pk_use_totals"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "leases",
        _text("id"),
        _text("user_name"),
        _text("account_kind"),
        _text("account_name"),
        _text("flavor"),
        _text("pool"),
        _text("tier"),
        _text("kind"),
        _text("server_name"),
        _text("state"),
        _int("parts"),
        _int("price_micros_per_gpu_hour"),
        _text("currency"),
        sa.Column("simulated", sa.Boolean, nullable=False),
        _text("devices"),
        _int("requested_at_ms"),
        _int("posted_until_ms"),
        _int("held_until_ms"),
        _text("deadline"),
        _int("started_at_ms", null=True),
        _int("ended_at_ms", null=True),
        _text("ordered", null=True),
        _int("posted_gpu_time"),
        _int("posted_money"),
        _int("posted_tokens"),
        _text("end_reason", null=True),
        sa.PrimaryKeyConstraint("id", name="pk_leases"),
    )
    op.create_index("ix_leases_account", "leases", ["account_kind", "account_name", "requested_at_ms", "id"])
    op.create_index(
        "ix_leases_open", "leases", ["requested_at_ms", "id"], sqlite_where=IS_OPEN, postgresql_where=IS_OPEN
    )
    op.create_index(
        "ix_leases_open_account",
        "leases",
        ["account_kind", "account_name"],
        sqlite_where=IS_OPEN,
        postgresql_where=IS_OPEN,
    )
    op.create_index("ix_leases_open_pool", "leases", ["pool"], sqlite_where=IS_OPEN, postgresql_where=IS_OPEN)
    op.create_index("ix_leases_open_user", "leases", ["user_name"], sqlite_where=IS_OPEN, postgresql_where=IS_OPEN)
    op.create_index("ix_leases_requested", "leases", ["requested_at_ms", "id"])
    op.create_index("ix_leases_user", "leases", ["user_name", "requested_at_ms", "id"])
    op.create_table(
        "ledger_entries",
        _text("account_kind"),
        _text("account_name"),
        _int("number"),
        _text("kind"),
        _int("gpu_time"),
        _int("money"),
        _int("tokens"),
        _text("lease_id", null=True),
        _text("flavor", null=True),
        _int("from_ms"),
        _int("to_ms"),
        _int("at_ms"),
        _text("reason"),
        _text("previous"),
        _text("hash"),
        sa.PrimaryKeyConstraint("account_kind", "account_name", "number", name="pk_ledger_entries"),
    )
    op.create_table(
        "chain_heads",
        _text("kind"),
        _text("name"),
        _int("number"),
        _text("mark"),
        sa.PrimaryKeyConstraint("kind", "name", name="pk_chain_heads"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "notices",
        _text("id"),
        _text("lease_id"),
        _text("user_name"),
        _text("reason"),
        _int("deadline_at_ms"),
        _int("lead_seconds"),
        _text("message"),
        _int("written_at_ms"),
        _int("withdrawn_at_ms", null=True),
        sa.PrimaryKeyConstraint("id", name="pk_notices"),
    )
    op.create_index("ix_notices_lease", "notices", ["lease_id", "written_at_ms"])
    op.create_index("ix_notices_user", "notices", ["user_name", "written_at_ms"])
    op.create_table(
        "audit_records",
        _int("number"),
        _int("at_ms"),
        _text("actor"),
        _text("action"),
        _text("subject"),
        _text("lease_id", null=True),
        _text("before_json"),
        _text("after_json"),
        _text("reason"),
        _text("previous"),
        _text("mac"),
        sa.PrimaryKeyConstraint("number", name="pk_audit_records"),
    )
    op.create_index("ix_audit_records_action", "audit_records", ["action", "number"])
    op.create_index("ix_audit_records_actor", "audit_records", ["actor", "number"])
    op.create_index("ix_audit_records_lease", "audit_records", ["lease_id", "number"])
    op.create_index("ix_audit_records_subject", "audit_records", ["subject", "number"])
    op.create_table(
        "saved_answers",
        _text("actor"),
        _text("key"),
        _text("fingerprint"),
        sa.Column("status", sa.Integer, nullable=False),
        _text("body"),
        _int("at_ms"),
        sa.PrimaryKeyConstraint("actor", "key", name="pk_saved_answers"),
    )
    op.create_index("ix_saved_answers_at", "saved_answers", ["at_ms"])
    op.create_table(
        "heartbeats",
        _text("name"),
        _int("at_ms"),
        sa.PrimaryKeyConstraint("name", name="pk_heartbeats"),
        sqlite_with_rowid=False,
    )

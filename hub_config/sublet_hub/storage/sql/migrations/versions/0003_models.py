"""Allowances for calls of models, what was used of each model, and acceptances of licences.

Revision: 0003, after 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

IS_HELD = sa.text("closed_at_ms IS NULL")


def upgrade() -> None:
    op.add_column("ledger_entries", _text("allowance_id", null=True))
    op.add_column("ledger_entries", _text("model", null=True))
    op.create_table(
        "allowances",
        _text("id"),
        _text("user_name"),
        _text("account_kind"),
        _text("account_name"),
        _int("granted_at_ms"),
        _int("expires_at_ms"),
        _int("held_money"),
        _int("held_tokens"),
        _int("posted_at_ms"),
        _int("posted_money"),
        _int("posted_tokens"),
        _int("posts"),
        _text("post_mark"),
        _int("closed_at_ms", null=True),
        sa.PrimaryKeyConstraint("id", name="pk_allowances"),
    )
    op.create_index("ix_allowances_closed", "allowances", ["closed_at_ms"])
    for name, columns in (
        ("ix_allowances_open_account", ["account_kind", "account_name"]),
        ("ix_allowances_open_expiring", ["expires_at_ms"]),
    ):
        op.create_index(name, "allowances", columns, sqlite_where=IS_HELD, postgresql_where=IS_HELD)
    op.create_table(
        "model_use",
        _text("account_kind"),
        _text("account_name"),
        _int("bucket_ms"),
        _text("model"),
        _int("calls"),
        _int("input_tokens"),
        _int("output_tokens"),
        _int("money"),
        sa.PrimaryKeyConstraint("account_kind", "account_name", "bucket_ms", "model", name="pk_model_use"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "acceptances",
        _int("number"),
        _text("subject_kind"),
        _text("subject_name"),
        _text("licence"),
        _text("version"),
        _text("accepted_by"),
        _int("at_ms"),
        sa.PrimaryKeyConstraint("number", name="pk_acceptances"),
    )
    columns = ["subject_kind", "subject_name", "licence", "version"]
    op.create_index("ix_acceptances_subject", "acceptances", columns, unique=True)
    _refuse_changes()


def downgrade() -> None:
    for table in ("acceptances", "model_use", "allowances"):
        op.drop_table(table)
    op.drop_column("ledger_entries", "model")
    op.drop_column("ledger_entries", "allowance_id")


def _refuse_changes() -> None:
    """As for the ledger and the audit records (0001)."""
    if op.get_context().dialect.name == "sqlite":
        for change in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER acceptances_no_{change.lower()} BEFORE {change} ON acceptances "
                "BEGIN SELECT RAISE(ABORT, 'acceptances is append-only'); END"
            )
        return
    op.execute(
        "CREATE TRIGGER acceptances_no_change BEFORE UPDATE OR DELETE ON acceptances "
        "FOR EACH ROW EXECUTE FUNCTION refuse_change()"
    )
    op.execute(
        "CREATE TRIGGER acceptances_no_truncate BEFORE TRUNCATE ON acceptances "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )


def _text(name: str, *, null: bool = False) -> sa.Column[str]:
    kind = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
    return sa.Column(name, kind, nullable=null)


def _int(name: str, *, null: bool = False) -> sa.Column[int]:
    kind = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    return sa.Column(name, kind, nullable=null, autoincrement=False)

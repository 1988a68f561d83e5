"""What servers say of themselves, deadlines that can be taken back, and when a lease was last kept.

Revision: 0002, after 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("leases", _text("planned", null=True))
    op.add_column("leases", _int("kept_at_ms", null=True))
    op.create_table(
        "activity",
        _text("lease_id"),
        _int("minute_ms"),
        _int("at_ms"),
        _int("seconds"),
        _int("kernels"),
        _int("kernels_busy"),
        _int("utilisation_percent", null=True),
        _int("memory_percent", null=True),
        _text("gpus"),
        sa.PrimaryKeyConstraint("lease_id", "minute_ms", name="pk_activity"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_activity_minute", "activity", ["minute_ms"])


def downgrade() -> None:
    op.drop_table("activity")
    op.drop_column("leases", "kept_at_ms")
    op.drop_column("leases", "planned")


def _text(name: str, *, null: bool = False) -> sa.Column[str]:
    kind = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
    return sa.Column(name, kind, nullable=null)


def _int(name: str, *, null: bool = False) -> sa.Column[int]:
    kind = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    return sa.Column(name, kind, nullable=null, autoincrement=False)

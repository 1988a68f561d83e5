"""The tables, the same on SQLite and PostgreSQL. Migrations make them; a test holds the two together.

Moments are milliseconds since the epoch, amounts in the domain's units (`domain/amounts.py`). Text compares by code
point on both databases, as it does in Python, so that all stores list in the same order.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from sublet_hub.domain.lease import OPEN

metadata = sa.MetaData(
    naming_convention={"pk": "pk_%(table_name)s", "ix": "ix_%(table_name)s_%(column_0_N_name)s"},
)

IS_OPEN = "state IN ({})".format(", ".join(f"'{state.value}'" for state in sorted(OPEN)))
"""The condition of the partial indexes. Queries must say it in these very words, or the indexes aren't used."""


def _text(name: str, *, key: bool = False, null: bool = False) -> sa.Column[str]:
    kind = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
    return sa.Column(name, kind, primary_key=key, nullable=null)


def _int(name: str, *, key: bool = False, null: bool = False) -> sa.Column[int]:
    kind = sa.BigInteger().with_variant(sa.Integer, "sqlite")  # SQLite's INTEGER has 64 bits, and can be the rowid
    return sa.Column(name, kind, primary_key=key, nullable=null, autoincrement=False)


quotas = sa.Table(
    "quotas",
    metadata,
    _text("subject_kind", key=True),
    _text("subject_name", key=True),
    _text("time_zone"),
    _text("limits"),  # JSON: [{"what", "limit", "window", "flavor"}]
    sqlite_with_rowid=False,
)

use_totals = sa.Table(
    "use_totals",
    metadata,
    _text("account_kind", key=True),
    _text("account_name", key=True),
    _text("flavor", key=True),  # "": all flavors
    _int("bucket_ms", key=True),
    _int("gpu_time"),
    _int("money"),
    _int("tokens"),
    sqlite_with_rowid=False,
)
"""All use of an account up to the end of a bucket: a window's use is the difference of two rows."""

leases = sa.Table(
    "leases",
    metadata,
    _text("id", key=True),
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
    _text("devices"),  # JSON: ["GPU-…"]
    _int("requested_at_ms"),
    _int("posted_until_ms"),
    _int("held_until_ms"),
    _text("deadline"),  # JSON: {"at_ms", "reason", "binding"}
    _int("started_at_ms", null=True),
    _int("ended_at_ms", null=True),
    _text("ordered", null=True),  # JSON like deadline
    _int("posted_gpu_time"),
    _int("posted_money"),
    _int("posted_tokens"),
    _text("end_reason", null=True),
    _text("planned", null=True),  # JSON list of such as deadline; null: none
    _int("kept_at_ms", null=True),
    sa.Index("ix_leases_requested", "requested_at_ms", "id"),
    sa.Index("ix_leases_user", "user_name", "requested_at_ms", "id"),
    sa.Index("ix_leases_account", "account_kind", "account_name", "requested_at_ms", "id"),
)


def _open_index(name: str, *columns: str) -> sa.Index:
    where = sa.text(IS_OPEN)
    return sa.Index(name, *(leases.c[c] for c in columns), sqlite_where=where, postgresql_where=where)


_open_index("ix_leases_open", "requested_at_ms", "id")
_open_index("ix_leases_open_user", "user_name")
_open_index("ix_leases_open_account", "account_kind", "account_name")
_open_index("ix_leases_open_pool", "pool")

ledger_entries = sa.Table(
    "ledger_entries",
    metadata,
    _text("account_kind", key=True),
    _text("account_name", key=True),
    _int("number", key=True),
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
    _text("allowance_id", null=True),
    _text("model", null=True),
)

chain_heads = sa.Table(
    "chain_heads",
    metadata,
    _text("kind", key=True),  # an account's kind, or "audit"
    _text("name", key=True),
    _int("number"),
    _text("mark"),
    sqlite_with_rowid=False,
)
"""The end of each chain, kept apart from its members, so that a tail that was cut off is missed."""

notices = sa.Table(
    "notices",
    metadata,
    _text("id", key=True),
    _text("lease_id"),
    _text("user_name"),
    _text("reason"),
    _int("deadline_at_ms"),
    _int("lead_seconds"),
    _text("message"),
    _int("written_at_ms"),
    _int("withdrawn_at_ms", null=True),
    sa.Index("ix_notices_lease", "lease_id", "written_at_ms"),
    sa.Index("ix_notices_user", "user_name", "written_at_ms"),
)

activity = sa.Table(
    "activity",
    metadata,
    _text("lease_id", key=True),
    _int("minute_ms", key=True),
    _int("at_ms"),
    _int("seconds"),
    _int("kernels"),
    _int("kernels_busy"),
    _int("utilisation_percent", null=True),  # of the GPU that was used most; null: not known
    _int("memory_percent", null=True),
    _text("gpus"),  # JSON: [["GPU-…", utilisation percent, memory used, memory in all], …]
    sa.Index("ix_activity_minute", "minute_ms"),
    sqlite_with_rowid=False,
)

IS_HELD = "closed_at_ms IS NULL"
"""The condition of the indexes of open allowances, to be said in these very words as well."""

allowances = sa.Table(
    "allowances",
    metadata,
    _text("id", key=True),
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
    sa.Index("ix_allowances_closed", "closed_at_ms"),
)
for _name, _columns in (
    ("ix_allowances_open_account", ("account_kind", "account_name")),
    ("ix_allowances_open_expiring", ("expires_at_ms",)),
):
    sa.Index(
        _name,
        *(allowances.c[column] for column in _columns),
        sqlite_where=sa.text(IS_HELD),
        postgresql_where=sa.text(IS_HELD),
    )

model_use = sa.Table(
    "model_use",
    metadata,
    _text("account_kind", key=True),
    _text("account_name", key=True),
    _int("bucket_ms", key=True),
    _text("model", key=True),
    _int("calls"),
    _int("input_tokens"),
    _int("output_tokens"),
    _int("money"),
    sqlite_with_rowid=False,
)

acceptances = sa.Table(
    "acceptances",
    metadata,
    _int("number", key=True),  # of its audit record
    _text("subject_kind"),
    _text("subject_name"),
    _text("licence"),
    _text("version"),
    _text("accepted_by"),
    _int("at_ms"),
    sa.Index("ix_acceptances_subject", "subject_kind", "subject_name", "licence", "version", unique=True),
)

audit_records = sa.Table(
    "audit_records",
    metadata,
    _int("number", key=True),
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
    sa.Index("ix_audit_records_actor", "actor", "number"),
    sa.Index("ix_audit_records_subject", "subject", "number"),
    sa.Index("ix_audit_records_lease", "lease_id", "number"),
    sa.Index("ix_audit_records_action", "action", "number"),
)

saved_answers = sa.Table(
    "saved_answers",
    metadata,
    _text("actor", key=True),
    _text("key", key=True),
    _text("fingerprint"),
    sa.Column("status", sa.Integer, nullable=False),
    _text("body"),
    _int("at_ms"),
    sa.Index("ix_saved_answers_at", "at_ms"),
)

heartbeats = sa.Table("heartbeats", metadata, _text("name", key=True), _int("at_ms"), sqlite_with_rowid=False)

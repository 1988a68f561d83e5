"""Fill a database with history, so that a bench can show that history costs nothing.

The rows are made inside the database, from small tables of accounts and numbers: no row crosses a connection, which
is quicker than COPY. They are such as Sublet itself would have written by posting every 30 seconds, except that
hashes and MACs are made up (a hash names its account and number, so the ledger's chains do link up).

    python -m tests.bench.fill sqlite:////tmp/big.sqlite 100000 10000000
"""

from __future__ import annotations

import json
import sys
import time

import sqlalchemy as sa

from sublet_hub import storage
from sublet_hub.domain.amounts import GpuParts, Micros, cost, gpu_time
from sublet_hub.domain.windows import bucket_of
from sublet_hub.storage.sql.engine import parse_url
from sublet_hub.storage.sql.tables import metadata

POST_MS = 30_000
POSTS_PER_LEASE = 30
BATCH_ROWS = 1_000_000
ONE_GPU = GpuParts(7000)
PRICE = Micros(2_400_000)
"""Micro-units per GPU-hour: a post of 30 seconds costs a whole number of them."""

GPU_TIME = gpu_time(ONE_GPU, POST_MS)
MONEY = cost(ONE_GPU, POST_MS, PRICE)
FLAVOR = "gpu-1"
LIMITS = json.dumps(
    [
        {"what": "gpu_seconds", "limit": 10**9, "window": "month", "flavor": None},
        {"what": "money_microunits", "limit": 10**12, "window": "month", "flavor": None},
        {"what": "gpus", "limit": 8, "window": None, "flavor": None},
        {"what": "leases", "limit": 8, "window": None, "flavor": None},
    ]
)

_POSTED = f"n.number, 'post', {GPU_TIME}, {MONEY}, 0, a.name || n.lease, '{FLAVOR}'"
_HASHES = "CASE n.number WHEN 1 THEN '' ELSE a.mark || n.previous END, a.mark || n.mark"
_DEADLINE = '{"at_ms": 0, "reason": "limit", "binding": null}'

SOURCES = {
    "fill_accounts": "number bigint PRIMARY KEY, name text, mark text",
    "fill_numbers": "number bigint PRIMARY KEY, from_ms bigint, until_ms bigint, lease_number bigint, lease text, "
    "begins bigint, mark text, previous text",
    "fill_buckets": "bucket_ms bigint PRIMARY KEY, posts bigint",
}
STATEMENTS = {
    "quotas": f"SELECT 'user', a.name, 'UTC', '{LIMITS}' FROM fill_accounts a WHERE {{batch}}",
    "ledger_entries": f"""
        SELECT 'user', a.name, {_POSTED}, n.from_ms, n.from_ms + {POST_MS}, n.from_ms + {POST_MS}, 'slice',
            {_HASHES}, NULL, NULL
        FROM fill_accounts a CROSS JOIN fill_numbers n WHERE {{batch}}""",
    "chain_heads": """
        SELECT 'user', a.name, n.number, a.mark || n.mark
        FROM fill_accounts a CROSS JOIN fill_numbers n WHERE n.number = :entries AND {batch}""",
    "use_totals": f"""
        SELECT 'user', a.name, f.flavor, b.bucket_ms, b.posts * {GPU_TIME}, b.posts * {MONEY}, 0
        FROM fill_accounts a CROSS JOIN (SELECT '' AS flavor UNION ALL SELECT '{FLAVOR}') f CROSS JOIN fill_buckets b
        WHERE {{batch}}""",
    "leases": f"""
        SELECT a.name || n.lease, a.name, 'user', a.name, '{FLAVOR}', 'gpu', 'guaranteed', 'notebook', '', 'ended',
               {ONE_GPU}, {PRICE}, 'USD', {{false}}, '["GPU-0"]', n.from_ms, n.until_ms, n.until_ms, '{_DEADLINE}',
               n.from_ms, n.until_ms, NULL, (n.until_ms - n.from_ms) / {POST_MS} * {GPU_TIME},
               (n.until_ms - n.from_ms) / {POST_MS} * {MONEY}, 0, 'user', NULL, NULL
        FROM fill_accounts a CROSS JOIN fill_numbers n WHERE n.begins = 1 AND {{batch}}""",
    "audit_records": """
        SELECT a.number * :leases + n.lease_number + 1, n.from_ms, a.name, 'lease.granted', 'user:' || a.name,
               a.name || n.lease, 'null', 'null', '', a.mark || n.previous, a.mark || n.mark
        FROM fill_accounts a CROSS JOIN fill_numbers n WHERE n.begins = 1 AND {batch}""",
}


def account_name(number: int) -> str:
    """The user whose account has that number; they count from 0."""
    return f"account{number:06}"


def fill(store_url: str, accounts: int, entries: int, *, now_ms: int | None = None) -> None:
    """Migrate the database and give each account its share of the entries, the last of them at `now_ms`.

    Each account is a user's own and gets a quota, running totals, ended leases and audit records with them. Nothing
    else may use the database meanwhile.
    """
    storage.migrate(store_url)
    engine = sa.create_engine(parse_url(store_url))
    per_account = entries // accounts
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        on_sqlite = connection.dialect.name == "sqlite"
        if on_sqlite:  # a broken-off fill is thrown away, so nothing needs to survive
            for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -500000"):
                connection.exec_driver_sql(f"PRAGMA {pragma}")
        _make_sources(connection, accounts, per_account, now_ms or time.time_ns() // 1_000_000)
        _insert_all(connection, accounts, per_account)
        connection.exec_driver_sql("PRAGMA journal_mode = WAL" if on_sqlite else "VACUUM ANALYZE")
    engine.dispose()


def _make_sources(connection: sa.Connection, accounts: int, per_account: int, now_ms: int) -> None:
    """Temporary tables of accounts, of an account's entries by number, and of its buckets."""
    for table, columns in SOURCES.items():
        connection.exec_driver_sql(f"CREATE TEMPORARY TABLE {table} ({columns})")
    names = [{"number": i, "name": account_name(i), "mark": f"{i:032x}"} for i in range(accounts)]
    numbers, posts_until = [], {}
    for i in range(per_account):
        from_ms = now_ms - (per_account - i) * POST_MS
        posts_until[bucket_of(from_ms)] = i + 1
        in_lease = min(POSTS_PER_LEASE, per_account - i)
        numbers.append(
            {
                "number": i + 1,
                "from_ms": from_ms,
                "until_ms": from_ms + in_lease * POST_MS,
                "lease_number": i // POSTS_PER_LEASE,
                "lease": f"-{i // POSTS_PER_LEASE}",
                "begins": int(i % POSTS_PER_LEASE == 0),
                "mark": f"{i + 1:032x}",
                "previous": f"{i:032x}",
            }
        )
    buckets = [{"bucket_ms": bucket, "posts": posts} for bucket, posts in posts_until.items()]
    for table, rows in (("fill_accounts", names), ("fill_numbers", numbers), ("fill_buckets", buckets)):
        columns = ", ".join(rows[0])
        values = ", ".join(f":{column}" for column in rows[0])
        connection.execute(sa.text(f"INSERT INTO {table} ({columns}) VALUES ({values})"), rows)


def _insert_all(connection: sa.Connection, accounts: int, per_account: int) -> None:
    leases = -(-per_account // POSTS_PER_LEASE)
    batch = max(1, BATCH_ROWS // per_account)
    for table, select in STATEMENTS.items():
        columns = ", ".join(f'"{column.name}"' for column in metadata.tables[table].c)
        false = "0" if connection.dialect.name == "sqlite" else "false"
        batched = select.replace("{batch}", "a.number >= :low AND a.number < :high").replace("{false}", false)
        insert = sa.text(f"INSERT INTO {table} ({columns}) {batched}")
        wanted = {
            name: value for name, value in {"entries": per_account, "leases": leases}.items() if f":{name}" in select
        }
        for low in range(0, accounts, batch):
            connection.execute(insert, {"low": low, "high": low + batch, **wanted})
    head = "INSERT INTO chain_heads (kind, name, number, mark) SELECT 'audit', '', number, mac FROM audit_records"
    connection.exec_driver_sql(f"{head} ORDER BY number DESC LIMIT 1")


if __name__ == "__main__":
    fill(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))

"""Admission reads balances and what is open, never history: the databases' own plans say so."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from sublet_hub import storage
from sublet_hub.domain.acceptances import Acceptance
from sublet_hub.domain.accounts import user
from sublet_hub.domain.allowances import Allowance, ModelUse
from sublet_hub.domain.amounts import ZERO
from sublet_hub.domain.flavors import Tier
from sublet_hub.domain.lease import LeaseState
from sublet_hub.domain.ledger import BucketUse
from sublet_hub.domain.quota import Quota
from sublet_hub.domain.windows import BUCKET_MS
from sublet_hub.storage.sql import acceptances, activities, allowances, answers, balances, leases, ledger, quotas
from sublet_hub.storage.sql.engine import database_of, parse_url
from sublet_hub.storage.sql.statement import Statement
from tests.storage.examples import NOON_MS, amount, entry, lease

USERS = 20
PAST = 60
"""Ended leases and entries of each user; one lease of each is open."""

ALICE: dict[str, object] = {"kind": "user", "name": "u1"}
HOT: list[tuple[Statement, dict[str, object], str]] = [
    (quotas.ONE, ALICE, "quotas"),
    (balances.IN_ALL, {**ALICE, "of": ""}, "use_totals"),
    (balances.BEFORE, {**ALICE, "of": "", "at": 50 * BUCKET_MS}, "use_totals"),
    (balances.FIRST, {**ALICE, "of": "", "at": 50 * BUCKET_MS}, "use_totals"),
    (ledger.HEAD, ALICE, "chain_heads"),
    (answers.LAST_BEAT, {"of": "meter"}, "heartbeats"),
]
CALLS: list[tuple[Statement, dict[str, object], str]] = [
    (allowances.ONE, {"allowance_id": "1-1"}, "allowances"),
    (allowances.OPEN, ALICE, "ix_allowances_open_account"),
    (allowances.HELD, ALICE, "ix_allowances_open_account"),
    (allowances.EXPIRED, {"now": NOON_MS, "page": 9}, "ix_allowances_open_expiring"),
    (allowances.USE, {**ALICE, "at": 0, "until": BUCKET_MS}, "model_use"),
    (acceptances._of(1), {"kind_0": "user", "name_0": "u1"}, "ix_acceptances_subject"),
]
QUIET: dict[str, object] = {"in_pool": "pool-1", "since": 0, "use": 5, "memory": 10}
OPEN: list[tuple[frozenset[str], dict[str, object]]] = [
    (frozenset(), {}),
    (frozenset({"user"}), {"user": "u1"}),
    (frozenset({"account"}), ALICE),
    (frozenset({"pool"}), {"in_pool": "pool-1"}),
]


@pytest.fixture
def history(database_url: str) -> Iterator[sa.Connection]:
    """A connection to a database with some history, whose planner has looked at it."""
    store = storage.open_store(database_url)
    with store.transaction(write=True) as tx:
        tx.beat("meter", 1)
        for number in range(USERS):
            account = user(f"u{number}")
            tx.set_quota(account, Quota())
            tx.add_use(account, "f", [BucketUse(i * BUCKET_MS, amount(1)) for i in range(PAST)])
            tx.append_entries([entry(account, i) for i in range(1, PAST + 1)])
            tx.add_acceptance(Acceptance(number + 1, account, "llama", "1", str(account), 1))
            for i in range(PAST):
                closed_at_ms = None if i == PAST // 2 else NOON_MS
                tx.add_model_use(account, i * BUCKET_MS, {"llama": ModelUse(1, 1, 1)})
                tx.add_allowance(
                    Allowance(
                        f"{number}-{i}", "u", account, NOON_MS, NOON_MS + i, ZERO, NOON_MS, closed_at_ms=closed_at_ms
                    )
                )
            for i in range(PAST):
                state = LeaseState.ACTIVE if i == PAST // 2 else LeaseState.ENDED
                tx.add_lease(
                    lease(
                        f"{number}-{i}",
                        user=account.name,
                        account=account,
                        pool=f"pool-{number % 8}",
                        state=state,
                        requested_at_ms=NOON_MS + i,
                    )
                )
    store.close()
    engine = sa.create_engine(parse_url(database_url))
    with engine.connect() as connection:
        if connection.dialect.name == "postgresql":  # ours never run ANALYZE on SQLite; PostgreSQL does by itself
            connection.exec_driver_sql("ANALYZE")
        yield connection
    engine.dispose()


def plan(connection: sa.Connection, statement: Statement, params: dict[str, object]) -> str:
    compiled = statement.on(database_of(connection.engine.url))
    explain = "EXPLAIN QUERY PLAN " if connection.dialect.name == "sqlite" else "EXPLAIN "
    rows = connection.exec_driver_sql(explain + compiled.sql, {**compiled.fixed, **params}).all()
    return "\n".join(str(row[-1]) for row in rows)


def test_balances_are_read_by_key_and_open_leases_without_the_ended(history: sa.Connection) -> None:
    for statement, params, table in HOT:
        found = plan(history, statement, params)
        if history.dialect.name == "sqlite":
            assert f"SEARCH {table} USING" in found
            assert "SCAN" not in found
            assert "TEMP B-TREE" not in found
        elif table == "use_totals":
            assert f"pk_{table}" in found
            assert "Sort" not in found
        else:
            assert f"pk_{table}" in found or "Seq Scan" in found, "PostgreSQL reads a table of one page whole"
    quiet = plan(history, activities.quiet(frozenset({Tier.SURPLUS})), QUIET)
    if history.dialect.name == "sqlite":
        assert "SEARCH leases USING INDEX ix_leases_open_pool" in quiet
        assert "SEARCH activity USING PRIMARY KEY (lease_id=? AND minute_ms>?)" in quiet
    for statement, params, index in CALLS:
        found = plan(history, statement, params)
        if history.dialect.name == "sqlite":
            assert index in found
            assert "SCAN" not in found
        else:
            assert index in found or "Seq Scan" in found, "PostgreSQL reads a table of a few pages whole"
    everyone = plan(history, allowances.ALL_HELD, {})  # by either index that knows what is open
    assert any(index in everyone for index in ("ix_allowances_open_account", "ix_allowances_closed", "Seq Scan"))
    assert "TEMP B-TREE" not in everyone
    for conditions, params in OPEN:
        assert "ix_leases_open" in plan(history, leases._open(conditions), params)
        assert "ix_leases_open" in plan(history, leases._open(conditions, "user_name"), params)

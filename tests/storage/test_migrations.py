from __future__ import annotations

import hashlib
import json
import multiprocessing
import re
import stat
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from sublet_hub import storage
from sublet_hub.domain.acceptances import Acceptance
from sublet_hub.domain.accounts import user
from sublet_hub.domain.errors import Unavailable
from sublet_hub.domain.ledger import entry_hash
from sublet_hub.storage.sql import leases, ledger, migrate
from sublet_hub.storage.sql.engine import parse_url
from sublet_hub.storage.sql.tables import metadata
from sublet_hub.storage.store import Store
from tests.fixtures import postgres
from tests.fixtures.stores import text
from tests.storage.examples import entry, lease, record

CATALOG = {
    "sqlite": "SELECT name, sql FROM sqlite_master WHERE type IN ('table', 'index') AND sql IS NOT NULL",
    "postgresql": """
        SELECT table_name || '.' || column_name,
               concat_ws(' ', data_type, is_nullable, collation_name, column_default)
        FROM information_schema.columns WHERE table_schema = 'public'
        UNION ALL SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
    """,
}


def catalog(url: str) -> dict[str, str]:
    """What the database says of its tables and indexes, by name, less what Alembic keeps for itself."""
    engine = sa.create_engine(parse_url(url))
    with engine.connect() as connection:
        rows = connection.exec_driver_sql(CATALOG[connection.dialect.name]).all()
    engine.dispose()
    return {name: re.sub(r"\s+", " ", sql) for name, sql in rows if not name.startswith("alembic_version")}


@pytest.fixture
def empty_url(database_url: str) -> str:
    """A database with no tables of ours."""
    migrate.downgrade(database_url)
    return database_url


def test_migrations_make_exactly_the_tables_that_the_store_uses(empty_url: str) -> None:
    engine = sa.create_engine(parse_url(empty_url))
    metadata.create_all(engine)
    declared = catalog(empty_url)
    metadata.drop_all(engine)
    engine.dispose()
    migrate.upgrade(empty_url)
    assert catalog(empty_url) == declared
    assert len(declared) > 10


def test_downgrading_leaves_nothing(database_url: str) -> None:
    migrate.downgrade(database_url)
    assert catalog(database_url) == {}
    engine = sa.create_engine(parse_url(database_url))
    with engine.connect() as connection:
        if connection.dialect.name == "postgresql":
            assert connection.exec_driver_sql("SELECT 1 FROM pg_proc WHERE proname = 'refuse_change'").all() == []
        else:
            assert connection.exec_driver_sql("SELECT 1 FROM sqlite_master WHERE type = 'trigger'").all() == []
    engine.dispose()


def test_migrating_again_keeps_what_is_there(database_url: str) -> None:
    store = storage.open_store(database_url)
    with store.transaction(write=True) as tx:
        tx.append_entries([entry(user("alice"), 1)])
    storage.migrate(database_url)
    with store.transaction(write=False) as tx:
        assert tx.entries(user("alice"), after=0, limit=9) == [entry(user("alice"), 1)]
    store.close()


def test_leases_from_before_planned_stops_are_kept(empty_url: str) -> None:
    migrate.upgrade(empty_url, "0001")
    before = leases._row(lease("1"))
    for new in ("planned", "kept_at_ms"):
        assert before.pop(new) is None
    engine = sa.create_engine(parse_url(empty_url))
    with engine.begin() as connection:
        values = ", ".join(f":{name}" for name in before)
        connection.execute(sa.text(f"INSERT INTO leases ({', '.join(before)}) VALUES ({values})"), before)
    engine.dispose()
    migrate.upgrade(empty_url)
    store = storage.open_store(empty_url)
    with store.transaction(write=False) as tx:
        assert tx.lease("1") == lease("1")
    store.close()
    migrate.downgrade(empty_url, "0001")
    migrate.upgrade(empty_url)


def test_ledgers_from_before_allowances_are_kept_and_still_hold(empty_url: str) -> None:
    """The chain is the very one that a platform without models wrote: hashes without what it didn't know."""
    migrate.upgrade(empty_url, "0002")
    first = entry(user("alice"), 1, previous="", hash="")
    content = [
        "user:alice", 1, "post", 1, -1, 3, "lease-1", "h100-1", first.from_ms, first.to_ms, first.at_ms, "slice", "",
    ]  # fmt: skip
    first = replace(first, hash=hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest())
    before = ledger._row(first)
    for new in ("allowance_id", "model"):
        assert before.pop(new) is None
    engine = sa.create_engine(parse_url(empty_url))
    with engine.begin() as connection:
        values = ", ".join(f":{name}" for name in before)
        connection.execute(sa.text(f"INSERT INTO ledger_entries ({', '.join(before)}) VALUES ({values})"), before)
    engine.dispose()
    migrate.upgrade(empty_url)
    store = storage.open_store(empty_url)
    with store.transaction(write=False) as tx:
        (kept,) = tx.entries(user("alice"), after=0, limit=9)
    assert kept == first
    assert entry_hash(kept) == first.hash
    later = replace(first, allowance_id="a", model="tiny-llama", lease_id=None, flavor=None, number=2)
    assert len({entry_hash(later), entry_hash(replace(later, model="other")), entry_hash(replace(later, model=None)),
                entry_hash(replace(later, allowance_id=None))}) == 4  # fmt: skip
    store.close()
    migrate.downgrade(empty_url, "0002")
    migrate.upgrade(empty_url)
    store = storage.open_store(empty_url)
    with store.transaction(write=False) as tx:
        assert tx.entries(user("alice"), after=0, limit=9) == [first]
    store.close()
    assert_guarded(empty_url)


def assert_guarded(url: str) -> None:
    """A migration that makes a table anew would lose its triggers."""
    engine = sa.create_engine(parse_url(url))
    with pytest.raises(sa.exc.DBAPIError, match="is append-only"), engine.begin() as connection:
        connection.exec_driver_sql("UPDATE ledger_entries SET gpu_time = 0")
    engine.dispose()


def test_several_processes_may_migrate_at_once(empty_url: str) -> None:
    _at_once(empty_url)


def test_several_processes_may_make_the_file_at_once(tmp_path: Path) -> None:
    _at_once(f"sqlite:///{tmp_path}/new.sqlite")


def _at_once(url: str) -> None:
    with ProcessPoolExecutor(3, mp_context=multiprocessing.get_context("spawn")) as processes:
        for future in [processes.submit(storage.migrate, url) for _ in range(3)]:
            future.result(60)
    storage.open_store(url).close()


def test_only_the_owner_can_read_the_file(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/new.sqlite"
    storage.migrate(url)
    store = storage.open_store(url)
    with store.transaction(write=True) as tx:
        tx.beat("meter", 1)
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    store.close()
    assert modes == {"new.sqlite": 0o600, "new.sqlite-wal": 0o600, "new.sqlite-shm": 0o600}


def test_a_database_without_the_tables_is_not_opened(empty_url: str) -> None:
    with pytest.raises(Unavailable, match="sublet up"):
        storage.open_store(empty_url)


def test_a_missing_file_is_not_made_by_opening_it(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="sublet up"):
        storage.open_store(f"sqlite:///{tmp_path}/none.sqlite")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["mysql://localhost/x", "sqlite://", "sqlite:///:memory:", "sqlite+aiosqlite:///x"])
@pytest.mark.parametrize("use", [storage.migrate, storage.open_store])
def test_other_databases_are_refused(url: str, use: Callable[[str], object]) -> None:
    with pytest.raises(ValueError, match="no database that Sublet runs on"):
        use(url)


@pytest.mark.postgres
def test_a_url_may_leave_the_driver_out(postgres_server: URL, postgres_url: str) -> None:
    storage.open_store(postgres_url.replace("postgresql+psycopg://", "postgresql://")).close()


CHANGES = [
    "UPDATE ledger_entries SET gpu_time = 0",
    "UPDATE audit_records SET reason = ''",
    "DELETE FROM ledger_entries",
    "DELETE FROM audit_records",
    "UPDATE acceptances SET version = '2'",
    "DELETE FROM acceptances",
]


@pytest.mark.parametrize(
    "change", [*CHANGES, "TRUNCATE ledger_entries", "TRUNCATE audit_records", "TRUNCATE acceptances"]
)
def test_the_database_refuses_to_change_what_is_append_only(database_url: str, change: str) -> None:
    if change.startswith("TRUNCATE") and database_url.startswith("sqlite"):
        change = change.replace("TRUNCATE", "DELETE FROM")
    store = storage.open_store(database_url)
    with store.transaction(write=True) as tx:
        tx.append_entries([entry(user("alice"), 1)])
        tx.append_audit([record(1)])
        tx.add_acceptance(Acceptance(1, user("alice"), "llama", "1", "user:alice", 1))
    engine = sa.create_engine(parse_url(database_url))
    with pytest.raises(sa.exc.DBAPIError, match="is append-only"), engine.begin() as connection:
        connection.exec_driver_sql(change)
    engine.dispose()
    assert_unchanged(store)
    store.close()


def assert_unchanged(store: Store) -> None:
    with store.transaction(write=False) as tx:
        assert tx.entries(user("alice"), after=0, limit=9) == [entry(user("alice"), 1)]
        assert tx.audit_head().number == 1


@pytest.mark.postgres
def test_names_sort_by_code_point_whatever_the_databases_locale(postgres_server: URL) -> None:
    """The server's locale may sort `a` before `B`; the pages of all stores must agree with Python."""
    url = postgres.create_database(postgres_server, "sorting", template="template0")
    try:
        storage.migrate(text(url))
        store = storage.open_store(text(url))
        with store.transaction(write=True) as tx:
            tx.append_entries([entry(user(name), 1) for name in ("a", "B", "_", "é")])
            assert [account.name for account in tx.accounts(None, 9)] == sorted(["a", "B", "_", "é"])
        store.close()
    finally:
        postgres.drop_database(url)

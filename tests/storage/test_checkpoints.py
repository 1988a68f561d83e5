"""SQLite's log is moved into its file beside the commits, not in one of them."""

from __future__ import annotations

import sqlite3
import threading
import time

from sublet_hub import storage
from sublet_hub.storage.sql.checkpoints import COMMITS
from sublet_hub.storage.store import Store

PATIENCE_SECONDS = 20


def beat(store: Store, times: int) -> None:
    """Commit so many times."""
    for number in range(times):
        with store.transaction(write=True) as tx:
            tx.beat("meter", number + 1)


def in_file(url: str) -> int | None:
    """The last beat that the file itself knows of, whatever is in the log."""
    connection = sqlite3.connect(f"file:{url.removeprefix('sqlite:///')}?immutable=1", uri=True)
    try:
        found: int | None = connection.execute("SELECT max(at_ms) FROM heartbeats").fetchone()[0]
        return found
    finally:
        connection.close()


def test_the_log_is_moved_after_so_many_commits_and_not_before(sqlite_url: str) -> None:
    store = storage.open_store(sqlite_url)
    beat(store, COMMITS - 1)
    assert in_file(sqlite_url) is None
    beat(store, 1)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while in_file(sqlite_url) is None:
        assert time.monotonic() < deadline, "the log was not moved"
        time.sleep(0.01)
    store.close()


def test_the_thread_ends_with_the_store(sqlite_url: str) -> None:
    store = storage.open_store(sqlite_url)
    beat(store, COMMITS)
    assert "checkpoints" in {thread.name for thread in threading.enumerate()}
    store.close()
    assert "checkpoints" not in {thread.name for thread in threading.enumerate()}

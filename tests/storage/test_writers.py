"""Many writers at once, and writers that are killed."""

from __future__ import annotations

import multiprocessing
import signal
import sqlite3
import subprocess
import sys
import textwrap
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from sublet_hub import storage
from sublet_hub.domain.accounts import user
from sublet_hub.storage.store import Store
from tests.storage.examples import entry
from tests.storage.test_transactions import together

ALICE = user("alice")


def append(url: str, count: int) -> None:
    """Append so many entries to alice's ledger, each in its own transaction."""
    store = storage.open_store(url)
    for _ in range(count):
        append_one(store)
    store.close()


def append_one(store: Store) -> int:
    with store.transaction(write=True) as tx:
        tx.lock(str(ALICE))
        number = tx.ledger_head(ALICE).number + 1
        tx.append_entries([entry(ALICE, number)])
    return number


def test_fifty_threads_write_at_once(database_url: str) -> None:
    store = storage.open_store(database_url)

    def append_four(_number: int) -> None:
        for _ in range(4):
            append_one(store)

    together(50, append_four)
    assert numbers(store) == list(range(1, 201))
    store.close()


def test_several_processes_write_at_once(database_url: str) -> None:
    with ProcessPoolExecutor(3, mp_context=multiprocessing.get_context("spawn")) as processes:
        for future in [processes.submit(append, database_url, 40) for _ in range(3)]:
            future.result(60)
    store = storage.open_store(database_url)
    assert numbers(store) == list(range(1, 121))
    store.close()


def numbers(store: Store) -> list[int]:
    with store.transaction(write=False) as tx:
        found = [one.number for one in tx.entries(ALICE, after=0, limit=1000)]
        assert tx.ledger_head(ALICE).number == len(found)
    return found


WRITER = textwrap.dedent(
    """
    import sys
    from sublet_hub import storage
    from tests.storage.test_writers import append_one

    store = storage.open_store(sys.argv[1])
    while True:
        print(append_one(store), flush=True)
    """
)


def test_what_was_committed_outlives_a_killed_writer(database_url: str) -> None:
    """Kill a writer in mid-work a few times: all that it said it wrote is there, whole, and the next goes on."""
    said = 0
    for _ in range(2):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, database_url],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        ) as writer:
            assert writer.stdout is not None
            for _ in range(20):
                said = int(writer.stdout.readline())
            writer.send_signal(signal.SIGKILL)
            said = max([said, *(int(line) for line in writer.stdout if line.endswith("\n"))])
    store = storage.open_store(database_url)
    found = numbers(store)
    assert found == list(range(1, len(found) + 1))
    assert said <= len(found) <= said + 1
    store.close()
    if database_url.startswith("sqlite"):
        with sqlite3.connect(database_url.removeprefix("sqlite:///")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]

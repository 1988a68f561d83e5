"""Moving what SQLite has logged into its database, in a thread of its own.

SQLite would do it in whichever commit fills the log, and that one then waits for hundreds of pages to be written all
over the file: with ten million entries, one decision in fifty took 7 ms where the others took 1. This thread does it
ahead of that, and waits for nobody (PASSIVE). Where it doesn't come to it, SQLite still does it, later than usual.
"""

from __future__ import annotations

import logging
import sqlite3
import threading

COMMITS = 50
"""So many commits of one process, at some 20 pages each, are about what SQLite's own default allows."""

PAGES_MOST = 8_000
"""Length of the log, 32 MB, at which SQLite does it in a commit after all. For `PRAGMA wal_autocheckpoint`."""

STOP_SECONDS = 10

log = logging.getLogger(__name__)


class Checkpoints:
    """Sees to one database's log. Its thread begins with the first need, and ends with `stop` or the process."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._commits = 0
        self._due = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None

    def count_commit(self) -> None:
        """Note a commit. Called by one thread at a time: SQLite has one writer."""
        self._commits += 1
        if self._commits < COMMITS:
            return
        self._commits = 0
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="checkpoints", daemon=True)
            self._thread.start()
        self._due.set()

    def stop(self) -> None:
        """End the thread; a checkpoint that is under way is finished."""
        self._stopping = True
        self._due.set()
        if self._thread is not None:
            self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        connection = sqlite3.connect(self._path, timeout=0, isolation_level=None)
        try:
            while self._due.wait() and not self._stopping:
                self._due.clear()
                try:
                    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                except sqlite3.OperationalError as error:  # SQLite does it in a commit, then
                    log.warning("the database's log could not be moved into it: %s", error)
        finally:
            connection.close()

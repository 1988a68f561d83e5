"""Writers' turns within one process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sublet_hub.domain.errors import Unavailable

TIMEOUT_SECONDS = 30.0


class Turns:
    """Lets one thread write at a time, or (`alone` false) all, but none twice at once, which would wait for itself.

    SQLite could make writers wait by itself, but does so by sleeping and trying again; here the next is woken.
    """

    def __init__(self, *, alone: bool) -> None:
        self._lock = threading.Lock() if alone else None
        self._writing: set[int] = set()

    @contextmanager
    def take(self) -> Iterator[None]:
        """Unavailable if the turn doesn't come in time; RuntimeError if this thread is writing already."""
        thread = threading.get_ident()
        if thread in self._writing:
            raise RuntimeError("this thread is in a writing transaction already")
        if self._lock is not None and not self._lock.acquire(timeout=TIMEOUT_SECONDS):
            raise Unavailable("The database is busy; try again in a moment.")
        self._writing.add(thread)
        try:
            yield
        finally:
            self._writing.discard(thread)
            if self._lock is not None:
                self._lock.release()

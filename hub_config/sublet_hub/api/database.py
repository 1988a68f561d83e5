"""Where operations on the database run: in a few threads, so that a slow one holds up nobody else.

The one exception is a short read from SQLite: it is a local file and, in WAL mode, never waits for a writer, so it
is done on the spot. Measured on one core (read of a quota, all of the app): 220 µs so, 315 µs by way of a thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Concatenate, ParamSpec, TypeVar

from anyio import CapacityLimiter, to_thread

from sublet_hub.api.metrics import Metrics
from sublet_hub.storage.books import Books

P = ParamSpec("P")
R = TypeVar("R")

THREADS = 8
"""Operations at once; more wait. SQLite has one writer anyhow."""


class Database:
    """Runs operations on the books, and takes their time."""

    def __init__(self, books: Books, metrics: Metrics, *, inline_reads: bool) -> None:
        self.books = books
        self._metrics = metrics
        self._inline = inline_reads
        self._threads = CapacityLimiter(THREADS)
        self._thread_aside = CapacityLimiter(1)

    async def look_up(self, operation: Callable[Concatenate[Books, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """A read of a few rows by key."""
        if not self._inline:
            return await self.run(operation, *args, **kwargs)
        started = time.perf_counter()
        try:
            return operation(self.books, *args, **kwargs)
        finally:
            self._metrics.database_used(operation.__name__, time.perf_counter() - started)

    async def run(self, operation: Callable[Concatenate[Books, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Any other operation. It runs to its end though whoever asked goes away."""
        return await self._run_in(self._threads, operation.__name__, partial(operation, self.books, *args, **kwargs))

    async def run_aside(self, operation: Callable[Concatenate[Books, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """A read that must not wait for writers that have taken all threads: in a thread of its own."""
        whole = partial(operation, self.books, *args, **kwargs)
        return await self._run_in(self._thread_aside, operation.__name__, whole)

    async def _run_in(self, threads: CapacityLimiter, name: str, operation: Callable[[], R]) -> R:
        started = time.perf_counter()
        try:
            return await to_thread.run_sync(operation, limiter=threads)
        finally:
            self._metrics.database_used(name, time.perf_counter() - started)

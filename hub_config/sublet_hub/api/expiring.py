"""A small cache for answers of the hub: bounded, short-lived, and one question at a time for each key."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class ExpiringCache(Generic[K, V]):
    """Keeps at most `most` answers for `seconds` each; an answer is never given after that, come what may.

    Answers that `worth_keeping` refuses are given but not kept. Whoever asks for a key that is being fetched waits
    for that answer. A failure is raised to all who wait and is not kept. For one event loop.
    """

    def __init__(
        self,
        seconds: float,
        most: int,
        monotonic: Callable[[], float],
        worth_keeping: Callable[[V], bool] = lambda _: True,
    ) -> None:
        self._seconds = seconds
        self._most = most
        self._now = monotonic
        self._worth_keeping = worth_keeping
        self._kept: OrderedDict[K, tuple[float, V]] = OrderedDict()
        self._awaited: dict[K, asyncio.Future[V]] = {}

    def fresh(self, key: K) -> tuple[V] | None:
        """The kept answer, in a tuple since it may itself be None; None where there is none any more."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        until, value = kept
        if self._now() < until:
            return (value,)
        del self._kept[key]
        return None

    async def get(self, key: K, fetch: Callable[[], Awaitable[V]]) -> V:
        """The kept answer, or the one that `fetch` gives."""
        kept = self.fresh(key)
        if kept is not None:
            return kept[0]
        # The fetch is a task of its own: who asked first may go away, the others still want the answer.
        awaited = self._awaited.get(key)
        if awaited is None:
            awaited = asyncio.ensure_future(self._fetch(key, fetch, self._now() + self._seconds))
            self._awaited[key] = awaited
            awaited.add_done_callback(lambda done: self._forget(key, done))
        return await asyncio.shield(awaited)

    def _forget(self, key: K, done: asyncio.Future[V]) -> None:
        del self._awaited[key]
        if not done.cancelled():
            done.exception()  # taken note of, in case nobody waits any more

    async def _fetch(self, key: K, fetch: Callable[[], Awaitable[V]], until: float) -> V:
        value = await fetch()
        if not self._worth_keeping(value):
            return value
        self._kept[key] = (until, value)
        self._kept.move_to_end(key)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return value

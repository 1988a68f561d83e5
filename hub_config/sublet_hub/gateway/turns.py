"""Whose turn it is: so many calls of a model at once, and the rest wait, one account after the other.

An account that sends a hundred calls waits for its own hundred; another's first call is next.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from types import TracebackType
from typing import Self

from sublet_hub.gateway import metrics
from sublet_hub.gateway.errors import ModelBusy

RETRY_SECONDS = 5


class Turns:
    """The places of one model in this process."""

    def __init__(self, model: str, places: int, waiting_max: int, wait_seconds: float) -> None:
        self._model = model
        self._free = places
        self._waiting_max = waiting_max
        self._wait_seconds = wait_seconds
        self._queues: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self._waiting = 0
        self._running_now = metrics.running(model)
        self._waiting_now = metrics.waiting(model)

    async def take(self, account: str) -> Turn:
        """A place, once it is the account's turn. ModelBusy where too many wait, or it takes too long."""
        if self._free and not self._waiting:
            self._free -= 1
        else:
            await self._wait(account)
        self._running_now.inc()
        return Turn(self)

    def give_back(self) -> None:
        self._running_now.dec()
        self._pass_on()

    def _pass_on(self) -> None:
        """Give a free place to the next account's first call; that account is then the last."""
        while self._queues:
            account, queue = next(iter(self._queues.items()))
            if not queue:
                del self._queues[account]
                continue
            next_call = queue.popleft()
            self._queues.move_to_end(account)
            if not next_call.done():  # else it gave up
                next_call.set_result(None)
                return
        self._free += 1

    async def _wait(self, account: str) -> None:
        if self._waiting >= self._waiting_max:
            raise self._busy("too many calls wait for it already")
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(account, deque()).append(mine)
        self._waiting += 1
        self._waiting_now.set(self._waiting)
        try:
            async with asyncio.timeout(self._wait_seconds):
                await mine
        except BaseException as error:
            if mine.done() and not mine.cancelled():
                self._pass_on()  # our turn came just as we gave up
            if isinstance(error, TimeoutError):
                raise self._busy(f"no place came free in {self._wait_seconds:.0f} s") from None
            raise
        finally:
            mine.cancel()
            self._waiting -= 1
            self._waiting_now.set(self._waiting)

    def _busy(self, why: str) -> ModelBusy:
        retry_at_ms = round((time.time() + RETRY_SECONDS) * 1000)
        return ModelBusy(f"{self._model} is busy: {why}. Try again shortly.", retry_at_ms=retry_at_ms)


class Turn:
    """One place; given back once."""

    def __init__(self, turns: Turns) -> None:
        self._turns: Turns | None = turns

    def end(self) -> None:
        if self._turns is not None:
            self._turns.give_back()
            self._turns = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

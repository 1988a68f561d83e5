"""Models' servers that are started when they are first called, shared by calls, and ended when nobody has called for
a while or their lease is about to end. Where they run is a `Place`'s business.

One that is a lease is warned like any other, by its deadline coming near. From then on it takes no new calls: they go
to another server, if one can be had. Those that run may go on until shortly before the deadline.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from prometheus_client import Gauge

from sublet_hub.cluster.records import wall_ms
from sublet_hub.domain.models import Model, Upstream
from sublet_hub.gateway import metrics
from sublet_hub.gateway.errors import ModelAway
from sublet_hub.gateway.places import Address, Place, Running

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.05
ROUND_SECONDS = 1.0
TIDY_SECONDS = 5.0
LEAST_LEAVING_MS = 10_000
"""How long before its lease ends a server takes no new calls, where nobody is ever warned."""
STOP_BEFORE_MS = 4_000
"""How long before the deadline calls that still run are broken off: what the server's own end takes."""
LEAST_SERVING_MS = 30_000
"""A lease that would leave less than this for calls isn't worth a start."""
FIRST_PAUSE_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 60.0
"""Between two attempts to start a server: each leaves audit records, and costs the account something."""

STOPPED = "The gateway is being stopped. Try again shortly."

_Key = tuple[str, Upstream]


@dataclass(eq=False)
class Started:
    """A server, from when it answers. Implements `upstreams.Started`."""

    model: Model
    upstream: Upstream
    running: Running
    leaving_ms: int
    used_at: float
    monotonic: Callable[[], float]
    wall_ms: Callable[[], int]
    calls: int = 0
    is_ending: bool = False

    @property
    def address(self) -> Address:
        return self.running.address

    @property
    def left_ms(self) -> int | None:
        """What is left of its lease; None where it is none."""
        return None if self.running.ends_at_ms is None else self.running.ends_at_ms - self.wall_ms()

    @property
    def is_leaving(self) -> bool:
        return self.left_ms is not None and self.left_ms <= self.leaving_ms

    @property
    def counted(self) -> Gauge:
        return metrics.STARTED_SERVERS.labels(self.model.name, "lease" if self.upstream.flavor else "unmetered")

    @property
    def takes_calls(self) -> bool:
        return self.running.is_alive and not self.is_ending and not self.is_leaving

    def call_ended(self) -> None:
        self.calls -= 1
        self.used_at = self.monotonic()


@dataclass
class _Pause:
    """No server of a model was to be had: calls are told the same until another attempt is due."""

    seconds: float = 0.0
    until: float = 0.0
    error: ModelAway = field(default_factory=lambda: ModelAway(""))


class ModelServers:
    """All of them. Implements `upstreams.Starter`."""

    def __init__(
        self,
        place: Place,
        idle_seconds: float,
        notice_seconds: float,
        monotonic: Callable[[], float] = time.monotonic,
        wall_ms: Callable[[], int] = wall_ms,
    ) -> None:
        """`notice_seconds`: how long before their end leases are warned first."""
        self._place = place
        self._idle_seconds = idle_seconds
        self._leaving_ms = max(round(notice_seconds * 1000), LEAST_LEAVING_MS)
        self._monotonic = monotonic
        self._wall_ms = wall_ms
        self._there: list[Started] = []
        self._starting: dict[_Key, asyncio.Task[Started]] = {}
        self._pauses: dict[_Key, _Pause] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._is_closed = False

    async def server_of(self, model: Model, upstream: Upstream) -> Started:
        """A server that takes a call now, which counts on it until `call_ended`. NoRoomForModel where none can be
        had, ModelAway where none can be started."""
        key = (model.name, upstream)
        there = next((each for each in self._of(key) if each.takes_calls), None)
        if there is None:
            task = self._begun(key, model, upstream)
            try:
                there = await asyncio.shield(task)
            except asyncio.CancelledError:
                if task.cancelled():
                    raise ModelAway(STOPPED) from None
                raise
        there.calls += 1
        return there

    async def watch(self) -> None:
        """End who is idle or has to go, and clear up after gateways that are gone, for ever."""
        await asyncio.gather(self._every(ROUND_SECONDS, self.round), self._every(TIDY_SECONDS, self._place.tidy))

    async def round(self) -> None:
        """Look at each of them once."""
        for each in list(self._there):
            with suppress(OSError):  # what was last seen of it holds
                await each.running.look()
            if (why := self._why_over(each)) is not None:
                self._end(each, why)

    async def close(self) -> None:
        """End all of them, and whatever is being started."""
        self._is_closed = True
        for task in list(self._starting.values()):
            task.cancel()
        await asyncio.gather(*self._starting.values(), return_exceptions=True)
        for each in list(self._there):
            self._end(each, "The gateway was stopped.", shutdown=True)
        await asyncio.gather(*self._ending, return_exceptions=True)

    def _of(self, key: _Key) -> Iterator[Started]:
        return (each for each in self._there if (each.model.name, each.upstream) == key)

    # ---------------------------------------------------------------- starting

    def _begun(self, key: _Key, model: Model, upstream: Upstream) -> asyncio.Task[Started]:
        """The start that is under way, or a new one: whoever waits for it may go, and it goes on for the others."""
        task = self._starting.get(key)
        if task is None:
            pause = self._pauses.get(key)
            if pause is not None and self._monotonic() < pause.until:
                raise pause.error.with_traceback(None)  # else that would grow with each call
            if self._is_closed:
                raise ModelAway(STOPPED)
            task = self._starting[key] = asyncio.ensure_future(self._start(model, upstream))
            task.add_done_callback(lambda done: self._start_is_over(key, done))
        return task

    def _start_is_over(self, key: _Key, task: asyncio.Task[Started]) -> None:
        del self._starting[key]
        error = None if task.cancelled() else task.exception()
        if error is None:
            self._pauses.pop(key, None)
            return
        pause = self._pauses.setdefault(key, _Pause())
        pause.seconds = min(max(FIRST_PAUSE_SECONDS, 2 * pause.seconds), LONGEST_PAUSE_SECONDS)
        pause.until = self._monotonic() + pause.seconds
        pause.error = error if isinstance(error, ModelAway) else ModelAway(_not_started(key[0]))
        if pause.error.retry_at_ms is None:
            pause.error.retry_at_ms = self._wall_ms() + round(pause.seconds * 1000)

    async def _start(self, model: Model, upstream: Upstream) -> Started:
        begun = self._monotonic()
        log.info("starting a server of %s", model.name)
        running = await self._place.start(model, upstream, self._leaving_ms + LEAST_SERVING_MS)
        try:
            await self._until_it_answers(model, running, begun)
        except BaseException:
            self._in_background(running.end("It did not answer."))
            raise
        log.info("the server of %s answers, after %.1f s", model.name, self._monotonic() - begun)
        started = Started(
            model, upstream, running, self._leaving_ms, self._monotonic(), self._monotonic, self._wall_ms
        )
        self._there.append(started)
        started.counted.inc()
        return started

    async def _until_it_answers(self, model: Model, running: Running, begun: float) -> None:
        why, most = None, self._place.start_seconds
        while not await running.answers():
            if not running.is_alive:
                why = "it ended before it answered"
            elif self._monotonic() - begun > most:
                why = f"it did not answer within {most:.0f} s"
            if why is not None:
                # It has answered nobody yet, so that what it printed holds nothing that anybody asked.
                log.error("the server of %s was not started: %s\n%s", model.name, why, running.printed())
                raise ModelAway(_not_started(model.name))
            await asyncio.sleep(LOOK_SECONDS)

    # ---------------------------------------------------------------- ending

    def _why_over(self, each: Started) -> str | None:
        """Why a server is to be ended now; None while it isn't."""
        if not each.running.is_alive:
            return "It has ended."
        if each.is_leaving and each.left_ms is not None:
            if each.calls == 0:
                return "It was about to end, and no call ran on it any more."
            return "It was about to end." if each.left_ms <= STOP_BEFORE_MS else None
        idle = self._monotonic() - each.used_at
        if each.calls == 0 and idle > self._idle_seconds:
            return f"No call for {idle:.0f} s."
        return None

    def _end(self, each: Started, why: str, *, shutdown: bool = False) -> None:
        log.info("a server of %s is ended: %s", each.model.name, why)
        self._there.remove(each)
        each.counted.dec()
        each.is_ending = True
        self._in_background(each.running.end(why, shutdown=shutdown))

    def _in_background(self, doing: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(doing)
        self._ending.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._ending.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a model's server was not ended in order", exc_info=error)
            metrics.FAILURES.labels(type(error).__name__).inc()

    @staticmethod
    async def _every(seconds: float, do: Callable[[], Coroutine[None, None, None]]) -> None:
        while True:
            try:
                await do()
            except Exception as error:
                # The top of a loop: whatever it is, the next round looks anew.
                log.exception("looking after models' servers failed")
                metrics.FAILURES.labels(type(error).__name__).inc()
            await asyncio.sleep(seconds)


def _not_started(name: str) -> str:
    return f"The server of {name} could not be started; the gateway's log says why."

"""One event stream: what its client has been told, and what there is to tell.

It has no queue. When its bell rings it tells the difference between what it told and what is: a client that reads
slowly gets the newest state when it comes round, and costs no more than another.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from sublet_hub.api.event_text import ALIVE, BEGINNING, EventName, Shown, lease_event, withdrawn_event
from sublet_hub.api.metrics import Metrics
from sublet_hub.clock import Clock


@dataclass(frozen=True, slots=True)
class StreamTimes:
    """All in seconds.

    look: between two looks at the database. soonest: the same after a write of ours that many hear of. alive: after
    so long a silence a client is told that we are there. lifetime: a stream ends then, give or take a tenth, so that
    its token is checked anew. stuck: so long a client may read nothing. leaving: so long when its stream is to end.
    blind: without a look for so long all streams end, since they would say that nothing has changed.
    """

    look: float = 0.25
    soonest: float = 0.05
    alive: float = 15.0
    lifetime: float = 3600.0
    stuck: float = 60.0
    leaving: float = 1.0
    blind: float = 10.0


@dataclass(slots=True, eq=False)
class Channel:
    """A lease that streams are open for, oldest first, and how it was at the last look."""

    lease_id: str
    streams: list[Stream] = field(default_factory=list)
    mark: str = ""
    shown: Shown | None = None

    def show(self, mark: str, shown: Shown) -> None:
        """Tell the streams of the lease as it is now."""
        before = self.shown
        if before is not None and before.lease == shown.lease:
            shown = Shown(shown.lease, before.event, shown.notices)  # the same object: it has been told
        self.mark, self.shown = mark, shown
        for stream in self.streams:
            stream.ring()


class Stream:
    """One client of a channel."""

    def __init__(self, channel: Channel, times: StreamTimes, clock: Clock, metrics: Metrics) -> None:
        self.channel = channel
        self._times = times
        self._clock = clock
        self._metrics = metrics
        self._bell = asyncio.Event()
        self._is_closed = False
        self._patience: asyncio.Timeout | None = None
        self._told: bytes | None = None
        self._told_notices: frozenset[str] = frozenset()

    def ring(self) -> None:
        self._bell.set()

    def close(self) -> None:
        """End it, after what is being sent just now."""
        self._is_closed = True
        self._bell.set()
        if self._patience is not None and not self._patience.expired():
            soon = asyncio.get_running_loop().time() + self._times.leaving
            self._patience.reschedule(min(soon, self._patience.when() or soon))

    @asynccontextmanager
    async def patience(self) -> AsyncIterator[None]:
        """For as long as something is being sent; TimeoutError where the client doesn't read it."""
        try:
            async with asyncio.timeout(self._times.leaving if self._is_closed else self._times.stuck) as until:
                self._patience = until
                yield
        finally:
            self._patience = None

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """What to send, as it comes, until the stream or its lease is over."""
        loop = asyncio.get_running_loop()
        jitter = random.uniform(0.9, 1.1)  # noqa: S311 - so that those that came together don't come again together
        ends_at = loop.time() + self._times.lifetime * jitter
        yield BEGINNING
        while not self._is_closed and loop.time() < ends_at:
            self._bell.clear()
            shown = self.channel.shown
            if shown is not None:
                if news := b"".join(self._news(shown)):
                    yield news
                if not shown.lease.is_open:
                    return
            try:
                async with asyncio.timeout(min(self._times.alive, ends_at - loop.time())):
                    await self._bell.wait()
            except TimeoutError:
                yield ALIVE

    def _news(self, shown: Shown) -> Iterator[bytes]:
        if self._told is None:  # the event may be some seconds old, and use goes on
            yield self._counted("lease", lease_event(shown.lease, self._clock.now_ms()))
        elif shown.event is not self._told:
            yield self._counted("lease", shown.event)
        self._told = shown.event
        for notice_id, event in shown.notices.items():
            if notice_id not in self._told_notices:
                yield self._counted("notice", event)
        if shown.lease.is_open:
            for notice_id in sorted(self._told_notices - shown.notices.keys()):
                yield self._counted("withdrawn", withdrawn_event(notice_id))
        self._told_notices = frozenset(shown.notices)

    def _counted(self, name: EventName, event: bytes) -> bytes:
        self._metrics.event_sent(name)
        return event

"""All open event streams of the process, and the one watcher that looks at the database for them."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from sublet_hub.api.database import Database
from sublet_hub.api.following import Look, follow_leases
from sublet_hub.api.metrics import Metrics
from sublet_hub.api.problems import TooManyStreams
from sublet_hub.api.stream import Channel, Stream, StreamTimes
from sublet_hub.domain.errors import Unavailable

log = logging.getLogger(__name__)

MOST_OF_LEASE = 5
"""Streams of one lease: its server's, some tabs, somebody who helps. One more closes the oldest."""


class Streams:
    """Opens streams, and keeps them told. For one event loop.

    While there are any, the database is looked at in one short transaction for all of them, however many there are.
    """

    def __init__(self, database: Database, metrics: Metrics, most: int, times: StreamTimes | None = None) -> None:
        self._database = database
        self._metrics = metrics
        self._most = most
        self._times = times or StreamTimes()
        self._channels: dict[str, Channel] = {}
        self._count = 0
        self._is_closing = False
        self._watching: asyncio.Task[None] | None = None
        self._news = asyncio.Event()

    def must_have_room(self) -> None:
        """TooManyStreams where there is no room for one more, Unavailable where the process is about to end."""
        if self._is_closing:
            raise Unavailable("The api is being restarted. Try again shortly.")
        if self._count >= self._most:
            raise TooManyStreams(f"All {self._most} event streams of this api are taken. Try again shortly.")

    def open(self, lease_id: str) -> Stream:
        """One more stream; whoever opens it forgets it in the end."""
        channel = self._channels.setdefault(lease_id, Channel(lease_id))
        stream = Stream(channel, self._times, self._database.books.clock, self._metrics)
        channel.streams.append(stream)
        if len(channel.streams) > MOST_OF_LEASE:
            channel.streams.pop(0).close()
        self._counted(+1)
        if self._is_closing:
            stream.close()
        elif self._watching is None:
            self._watching = asyncio.create_task(self._watch())
        return stream

    def forget(self, stream: Stream) -> None:
        self._counted(-1)
        channel = stream.channel
        if stream in channel.streams:
            channel.streams.remove(stream)
        if not channel.streams and self._channels.get(channel.lease_id) is channel:
            del self._channels[channel.lease_id]

    def look_soon(self) -> None:
        """Something was written just now that many streams will tell of: don't wait for the next look's time."""
        self._news.set()

    def close(self) -> None:
        """End all streams, and open no more: the process is about to end."""
        self._is_closing = True
        self._end_all()

    def _counted(self, change: int) -> None:
        self._count += change
        self._metrics.event_streams.set(self._count)

    def _end_all(self) -> None:
        for channel in self._channels.values():
            for stream in channel.streams:
                stream.close()

    async def _watch(self) -> None:
        """Look, tell, and look again, until there is no stream left."""
        now = asyncio.get_running_loop().time
        looked_at = now()
        failed = False
        while self._channels:
            try:
                seen = {lease_id: channel.mark for lease_id, channel in self._channels.items()}
                self._tell(await self._database.run_aside(follow_leases, seen))
                looked_at, failed = now(), False
            except Exception as error:  # the top of a loop: whatever it was, the next look may succeed
                if not failed:
                    log.exception("event streams: the database could not be looked at")
                failed = True
                self._metrics.failed(error)
                if now() - looked_at > self._times.blind:
                    self._end_all()
            await self._rest()
        self._watching = None

    async def _rest(self) -> None:
        """Wait for the next look's time, or for news; a little in any case, so that many writes cost few looks."""
        await asyncio.sleep(min(self._times.soonest, self._times.look))
        with suppress(TimeoutError):
            async with asyncio.timeout(self._times.look - self._times.soonest):
                await self._news.wait()
        self._news.clear()

    def _tell(self, look: Look) -> None:
        for lease_id, (mark, shown) in look.changed.items():
            if channel := self._channels.get(lease_id):
                channel.show(mark, shown)
        for lease_id in look.missing:
            if channel := self._channels.get(lease_id):
                for stream in channel.streams:
                    stream.close()

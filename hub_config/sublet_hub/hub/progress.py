"""What a server's start has come to, as events for everybody who watches it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

Event = dict[str, object]


class LeaseProgress:
    """Events in JupyterHub's form, kept so that a page opened late sees them all."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._changed = asyncio.Event()
        self.closed = False

    def add(self, percent: int, message: str, html: str = "") -> None:
        """Tell one more thing. `message` is text; `html`, where given, is shown instead and must be escaped."""
        event: Event = {"progress": percent, "message": message}
        if html:
            event["html_message"] = html
        self._events.append(event)
        self._wake()

    def close(self) -> None:
        """There is nothing more to come."""
        self.closed = True
        self._wake()

    async def follow(self) -> AsyncIterator[Event]:
        """All events from the first on, each as soon as it is there, until `close`."""
        seen = 0
        while True:
            changed = self._changed
            while seen < len(self._events):
                yield dict(self._events[seen])
                seen += 1
            if self.closed:
                return
            await changed.wait()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

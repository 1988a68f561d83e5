"""HTTP as uvicorn speaks it, a way to hang up, and no patience with clients that keep a connection and say nothing.

Any code in a user's server reaches the api and the gateway, and needs no token to connect. The times and numbers here
are the api's; a service that takes longer bodies has a class of its own (`gateway/http_uploads.py`).
"""

from __future__ import annotations

import asyncio
from typing import Any
from weakref import WeakKeyDictionary

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

HANG_UP = "sublet.hang_up"
"""An extension of the ASGI scope. Its `now` drops the connection, with what its client never read."""

ARRIVE_SECONDS = 15.0
"""A request must have come whole so long after it began, and the first one after its connection was made. Enough for
64 KiB, the most that a body of the api's has."""

MOST_WAITING = 500
"""Connections that wait for a request, or for the rest of one. One more, and the one that waits longest is dropped: a
client of ours just connects anew, and those that only wait never take up all the files that may be open."""

SPARED_SECONDS = 2.0
"""Who waits no longer than that is not dropped: thousands of servers come at one moment when the api is back, and
what they ask is read after all of them are let in."""

Waiting = dict["HangingUp", float]
"""Those of one server, longest first, and since when."""

_waiting: WeakKeyDictionary[ServerState, Waiting] = WeakKeyDictionary()


class HangingUp(HttpToolsProtocol):
    """Tells the application how to hang up on a client that reads nothing, and hangs up on one that doesn't ask.

    Closing waits until all that was written is read: for whoever reads nothing, for ever.
    """

    _late: asyncio.TimerHandle | None = None
    _since: float = 0.0
    """When the request that is coming began, by the loop's clock."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._waiting = _waiting.setdefault(self.server_state, {})

    def arrive_seconds(self) -> float:
        """In how many seconds the request that is coming must have come whole, as far as is known now."""
        return ARRIVE_SECONDS

    def waiting_max(self) -> int:
        """How many connections may wait for a request, or for the rest of one."""
        return MOST_WAITING

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._wait()
        self._hurry()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait_no_more()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {HANG_UP: {"now": self.transport.abort}}
        self._hurry()

    def on_message_complete(self) -> None:
        self._wait_no_more()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.transport.is_closing():
            self._wait()

    def _hurry(self) -> None:
        if self._late is None:
            self._since = self.loop.time()
            self._late = self.loop.call_later(self.arrive_seconds(), self._is_late)

    def _is_late(self) -> None:
        """Hang up, unless what came meanwhile allows for more time."""
        left = self._since + self.arrive_seconds() - self.loop.time()
        if left > 0:
            self._late = self.loop.call_later(left, self._is_late)
        else:
            self.transport.abort()

    def _wait(self) -> None:
        """Be the one that waits the shortest."""
        self._waiting.pop(self, None)  # so that it stands last
        now = self._waiting[self] = self.loop.time()
        while len(self._waiting) > self.waiting_max():
            longest, since = next(iter(self._waiting.items()))
            if now - since < SPARED_SECONDS:
                return
            del self._waiting[longest]
            longest.transport.abort()

    def _wait_no_more(self) -> None:
        self._waiting.pop(self, None)
        if self._late is not None:
            self._late.cancel()
            self._late = None

"""Following the lease by the platform's event stream. Nothing is polled: thousands of servers do this."""

from __future__ import annotations

import asyncio
import json
import random
from collections import deque
from collections.abc import Callable
from logging import Logger
from typing import Any

from sublet_server.event_stream import Event
from sublet_server.loops import STEADY_SECONDS, Draw, pause
from sublet_server.platform_api import PlatformApi, PlatformAwayError, PlatformRefusedError
from sublet_server.state import Document, LeaseState

SILENCE_SECONDS = 45.0
"""The API says something every 15 s. After three times that a connection is taken for dead."""
RETRY_SECONDS = 3.0
REFUSED_PAUSE_SECONDS = 300.0
"""The longest pause where the platform says no: it is unlikely to change its mind."""
NOTICES_REMEMBERED = 200


class Following:
    """Keeps the state's lease and notices as the platform tells them."""

    def __init__(
        self, api: PlatformApi, state: LeaseState, on_notice: Callable[[Document], None], log: Logger,
        draw: Draw = random.uniform,
    ) -> None:  # fmt: skip
        self._api = api
        self._state = state
        self._on_notice = on_notice
        self._log = log
        self._draw = draw
        self._told: deque[str] = deque(maxlen=NOTICES_REMEMBERED)
        self._failures = 0

    async def run(self) -> None:
        """Until the lease is over."""
        while not self._state.is_over:
            wait = await self._connect()
            if not self._state.is_over:
                await asyncio.sleep(wait)

    async def _connect(self) -> float:
        """One connection to its end; gives how long to wait before the next one."""
        clock = asyncio.get_running_loop().time
        begun = clock()
        try:
            retry = await self._api.listen(self._api.lease_path("/events"), self._heed, SILENCE_SECONDS)
        except PlatformAwayError as away:
            self._count(clock() - begun)
            self._lost(str(away))
            return (away.retry_after or 0) + pause(self._failures, draw=self._draw)
        except PlatformRefusedError as refused:
            self._count(0)
            hint = " The token of this server is no longer good; start it again." if refused.status == 401 else ""
            self._lost(str(refused) + hint)
            return pause(self._failures, REFUSED_PAUSE_SECONDS, self._draw)
        # The platform closes each stream after about an hour, and when it is restarted: that is no trouble.
        self._state.connected = False
        self._state.changed()
        if clock() - begun > STEADY_SECONDS:
            self._failures = 0
            return self._draw(0, RETRY_SECONDS if retry is None else retry)
        self._failures += 1
        return pause(self._failures, draw=self._draw)

    def _count(self, lasted_seconds: float) -> None:
        self._failures = 0 if lasted_seconds > STEADY_SECONDS else self._failures + 1

    def _lost(self, sentence: str) -> None:
        if sentence != self._state.trouble:
            self._log.warning("Sublet: the lease can't be followed: %s It runs on by itself.", sentence)
        self._state.connected = False
        self._state.trouble = sentence
        self._state.changed()

    # ---------------------------------------------------------------- events

    def _heed(self, event: Event) -> None:
        try:
            document = json.loads(event.data)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            self._log.warning("Sublet: an event %r came that is not understood", event.name)
            return
        if not self._state.connected:
            self._begin()
        if event.name == "lease":
            self._state.lease = document
        elif event.name == "notice" and "id" in document:
            self._noticed(document)
        elif event.name == "withdrawn":
            self._state.notices.pop(str(document.get("id")), None)
        self._state.changed()

    def _begin(self) -> None:
        """A connection begins with the whole state: what it doesn't tell again is no more."""
        if self._state.trouble is not None:
            self._log.info("Sublet: the lease is followed again")
        self._state.connected = True
        self._state.trouble = None
        self._state.notices.clear()

    def _noticed(self, notice: dict[str, Any]) -> None:
        name = str(notice["id"])
        self._state.notices[name] = notice
        if name not in self._told:
            self._told.append(name)
            self._log.warning("Sublet: notice: %s", notice.get("message", ""))
            self._on_notice(notice)

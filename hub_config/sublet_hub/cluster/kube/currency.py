"""Up to when what is known of the cluster is known to be true."""

from __future__ import annotations

import time
from collections.abc import Callable

from sublet_hub.clock import Clock, SystemClock

SETTLE_SECONDS = 0.5
"""After a watch opens, what happened before is told first. Once nothing came for so long, all of it has been."""

SETTLED_SECONDS = 10.0
"""The longest that this is waited for where something happens all the time."""


class Currency:
    """The moment up to which a watched copy is current.

    That is now, while a watch is open on which something was heard within `silence_seconds` (the server sends a
    bookmark every minute; a broken connection shows earlier). Else it is the last moment at which something was
    heard: also when a connection turns out to have been dead for a while, so it may step back.
    """

    def __init__(
        self,
        silence_seconds: float,
        clock: Clock | None = None,
        steady_seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._silence_seconds = silence_seconds
        self._clock = clock or SystemClock()
        self._steady_seconds = steady_seconds
        self._frozen_ms: int | None = None
        self._heard_ms = 0
        self._heard_at = 0.0
        self._opened_at: float | None = None
        self._settled = False

    def listed(self, asked_at_ms: int) -> None:
        """A whole list was read, which the server was asked for at this moment."""
        self._opened_at = None
        self._frozen_ms = asked_at_ms

    def opened(self) -> None:
        """A watch from the known version on was accepted."""
        self._settled = False
        self._note()
        self._opened_at = self._heard_at

    def heard(self, *, all_told: bool = False) -> None:
        """Something came on the watch, and is taken account of; a bookmark means that all before it was told."""
        self._settle(told=all_told)
        self._note()
        if self._settled:
            self._frozen_ms = self._heard_ms

    def closed(self, doubt_seconds: float) -> None:
        """The watch ended, and may have been dead for so long before; but not since before it was last heard."""
        now_ms = self.at_ms()
        if now_ms is not None and self._frozen_ms is not None:
            self._frozen_ms = int(max(self._frozen_ms, now_ms - doubt_seconds * 1000))
        self._opened_at = None

    def at_ms(self) -> int | None:
        """The moment. None before the first list."""
        if self._opened_at is None or self._frozen_ms is None:
            return self._frozen_ms
        self._settle()
        if not self._settled or self._steady_seconds() - self._heard_at > self._silence_seconds:
            return self._frozen_ms
        return self._clock.now_ms()

    def _note(self) -> None:
        self._heard_at = self._steady_seconds()
        self._heard_ms = self._clock.now_ms()

    def _settle(self, *, told: bool = False) -> None:
        if self._settled or self._opened_at is None:
            return
        now = self._steady_seconds()
        if told or now - self._heard_at >= SETTLE_SECONDS or now - self._opened_at >= SETTLED_SECONDS:
            self._settled = True
            self._frozen_ms = self._heard_ms

"""Connections of callers: a call may have 16 MiB, which takes minutes on a slow line, and whoever sends on is not one
who keeps a connection for nothing."""

from __future__ import annotations

from sublet_hub import http_protocol
from sublet_hub.gateway.asked import BODY_BYTES_MAX
from sublet_hub.http_protocol import HangingUp

SLOWEST_BYTES_PER_SECOND = 32 * 1024
"""What a body must come at on average, `http_protocol.ARRIVE_SECONDS` for its beginning apart. That is a quarter of a
megabit; the longest body has under nine minutes."""

MOST_WAITING = 2_000
"""Connections that wait for a request, or for the rest of one: as many as calls that may run at once."""

PROGRESS_BYTES = 64 * 1024
"""Who has sent so much more of a body counts as one that has just begun to wait."""


class Uploading(HangingUp):
    """Gives a body time by what has come of it."""

    _came = 0
    _told = 0
    """Bytes of the body that is coming, and how many there were when it last counted as progress."""

    def arrive_seconds(self) -> float:
        # No longer than for the longest body, however much comes.
        came = min(self._came, BODY_BYTES_MAX)
        return http_protocol.ARRIVE_SECONDS + came / SLOWEST_BYTES_PER_SECOND

    def waiting_max(self) -> int:
        return MOST_WAITING

    def on_message_begin(self) -> None:
        self._came = self._told = 0
        super().on_message_begin()

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        self._came += len(body)
        if self._came - self._told >= PROGRESS_BYTES and self._came <= BODY_BYTES_MAX:
            self._told = self._came
            self._wait()

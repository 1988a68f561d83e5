"""Reading `text/event-stream` as it comes in.

https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation, without ids: the API's
stream begins anew with the whole state.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

LONGEST_EVENT_BYTES = 256 * 1024


class NoEventStreamError(Exception):
    """What comes in is no event stream of ours."""


@dataclass(frozen=True, slots=True)
class Event:
    name: str
    data: str


class EventStream:
    """Takes bytes as they come and gives whole events."""

    def __init__(self) -> None:
        self.retry_seconds: float | None = None
        """What the other side asked for between two connections."""
        self._rest = b""
        self._name = ""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """The events that this chunk completes. NoEventStreamError where one grows without end."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            event = self._line(line.removesuffix(b"\r").decode("utf-8", "replace"))
            if event is not None:
                yield event
        if len(self._rest) + sum(map(len, self._data)) > LONGEST_EVENT_BYTES:
            raise NoEventStreamError(f"an event is longer than {LONGEST_EVENT_BYTES} bytes")

    def _line(self, line: str) -> Event | None:
        if not line:
            event = Event(self._name or "message", "\n".join(self._data)) if self._data else None
            self._name, self._data = "", []
            return event
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            self._name = value
        elif field == "data":
            self._data.append(value)
        elif field == "retry" and value.isdecimal():
            self.retry_seconds = int(value) / 1000
        return None

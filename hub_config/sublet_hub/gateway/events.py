"""A model server's event stream on its way to the caller: passed on as it comes, looked into only where it must be.

Format: server-sent events (HTML Living Standard, 9.2), with OpenAI's JSON in `data`. Almost every event goes through
as the bytes that it came as; those that may hold the record of use are parsed. That costs what it must: thousands of
events a second pass here.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from sublet_hub.gateway.amounts import Counts
from sublet_hub.gateway.errors import ModelFailed
from sublet_hub.gateway.usage import counts_in

EVENT_BYTES_MAX = 4 * 2**20
DONE = b"data: [DONE]\n\n"
_END = b"\n\n"
_SEPARATOR = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_FIELDS = (b"data:", b"event:", b"id:", b"retry:", b":")
_FINISHED = re.compile(rb'"finish_reason": ?"|"type": ?"response\.(completed|incomplete|failed)"')

DELTA = b'.delta"'
"""Ends the type of events with a piece of an answer in the Responses API. Within what a model says the quote would be
escaped."""

_ERROR = re.compile(rb'^data: ?\{"error":', re.MULTILINE)
"""A server's own word that it failed, which is passed on."""


@dataclass(slots=True)
class Events:
    """The reader of one stream.

    `hides_usage`: the caller had not asked for the record of use, so it is taken out again. `renames` are pairs of
    bytes: the model's name as its server writes it, and as the caller knows it.
    """

    hides_usage: bool = True
    renames: tuple[tuple[bytes, bytes], ...] = ()
    counts: Counts | None = None
    """The last record of use."""
    events: int = 0
    """Events with a piece of an answer, about one for each token."""
    piece: bytes = _END
    """By what those are told: in most streams each event is one."""
    output_bytes: int = 0
    is_finished: bool = False
    """Whether the answer came to its end: a finish reason was seen, or `[DONE]`."""
    is_done: bool = False
    _rest: bytes = field(default=b"", repr=False)

    def feed(self, data: bytes) -> bytes:
        """Take what came, give what is to be sent. ModelFailed where this is no event stream."""
        self.output_bytes += len(data)
        if not self._rest and self._is_plain(data):
            self.events += data.count(self.piece)
            return self._renamed(data)
        return self._slowly(data)

    def end(self) -> bytes:
        """The stream is over: give what is missing. ModelFailed where the answer was cut short."""
        last = self._event(self._rest) if self._rest.strip() else b""
        self._rest = b""
        if not self.is_finished:
            raise ModelFailed("The model's server broke off in the middle of its answer.")
        if not self.is_done:
            self.is_done = True
            return last + DONE
        return last

    def _is_plain(self, data: bytes) -> bool:
        """Whether all of it is whole events without anything that matters to us."""
        return (
            data.endswith(_END)
            and data.startswith(_FIELDS)
            and b'"usage"' not in data
            and b"\r" not in data
            and not data.endswith(DONE)
            and b'"error"' not in data
            and _FINISHED.search(data) is None
        )

    def _slowly(self, data: bytes) -> bytes:
        *whole, self._rest = _SEPARATOR.split(self._rest + data)
        if len(self._rest) > EVENT_BYTES_MAX or not _may_begin(self._rest):
            raise ModelFailed("The model's server sent what is no event stream.")
        return b"".join(self._event(event) for event in whole)

    def _event(self, event: bytes) -> bytes:
        if not event.strip():
            return b""
        if not event.lstrip().startswith(_FIELDS):
            raise ModelFailed("The model's server sent what is no event stream.")
        if event.rstrip().endswith(b"[DONE]") and event.lstrip().startswith((b"data: [DONE]", b"data:[DONE]")):
            self.is_finished = self.is_done = True
            return DONE
        finished = _FINISHED.search(event)
        if finished is not None or _ERROR.search(event) is not None:
            self.is_finished = True
        if finished is not None and finished[1] is not None:
            self.is_done = True  # the Responses API has no [DONE]: that event is the last, with the record
        if b'"usage"' in event:
            return self._measured(event)
        self.events += b"data:" in event and self.piece in event + _END
        return self._renamed(event.replace(b"\r\n", b"\n") + _END)

    def _measured(self, event: bytes) -> bytes:
        """An event that may hold a record of use."""
        said = _data(event)
        if not isinstance(said, dict):
            raise ModelFailed("The model's server sent an event that is not valid JSON.")
        found = counts_in(said)
        if found is not None:
            self.counts = found
        if said.get("choices") or (self.piece is DELTA and DELTA in event):
            self.events += 1
        elif found is not None and self.hides_usage and "choices" in said:
            return b""
        if not self.hides_usage or "usage" not in said:
            return self._renamed(event.replace(b"\r\n", b"\n") + _END)
        del said["usage"]
        head = b"".join(line + b"\n" for line in event.splitlines() if not line.startswith(b"data:"))
        return self._renamed(head + b"data: " + json.dumps(said, separators=(",", ":")).encode() + _END)

    def _renamed(self, event: bytes) -> bytes:
        for theirs, ours in self.renames:
            event = event.replace(theirs, ours)
        return event


def renames(theirs: tuple[str, ...], ours: str) -> tuple[tuple[bytes, bytes], ...]:
    """Replacements for a model's names. Within a JSON string quotes are escaped, so that these bytes are never part
    of what a model says."""
    new = json.dumps(ours).encode()
    return tuple(
        (b'"model":' + space + json.dumps(name).encode(), b'"model":' + space + new)
        for name in theirs
        if name != ours
        for space in (b"", b" ")
    )


def _may_begin(rest: bytes) -> bool:
    """Whether this may become an event."""
    rest = rest.lstrip(b"\r\n")
    return not rest or any(rest.startswith(name[: len(rest)]) for name in _FIELDS)


def _data(event: bytes) -> Any:
    """The JSON in an event's data; None where there is none."""
    lines = [line[5:].lstrip() for line in event.splitlines() if line.startswith(b"data:")]
    try:
        return json.loads(b"\n".join(lines))
    except (ValueError, RecursionError):
        return None

"""Events as text: the format of `text/event-stream` (HTML Living Standard, 9.2.6), and what ours hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel

from sublet_hub.api import present
from sublet_hub.domain.lease import Lease
from sublet_hub.domain.notices import Notice

MEDIA_TYPE = "text/event-stream"
EventName = Literal["lease", "notice", "withdrawn"]

BEGINNING = b"retry: 3000\n\n"
"""How many milliseconds a client waits before it comes again."""

ALIVE = b": alive\n\n"
"""A comment, so that proxies and clients know that nobody has gone."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A lease as its streams show it: the lease's own event, and those of its current notices by their ids."""

    lease: Lease
    event: bytes
    notices: Mapping[str, bytes]


def shown(lease: Lease, notices: Iterable[Notice], now_ms: int) -> Shown:
    """`notices` of a lease that is over are left out: what they warn of has happened."""
    current = notices if lease.is_open else ()
    return Shown(lease, lease_event(lease, now_ms), {each.id: notice_event(each) for each in current})


def lease_event(lease: Lease, now_ms: int) -> bytes:
    return _event("lease", _json(present.lease(lease, now_ms)))


def notice_event(notice: Notice) -> bytes:
    return _event("notice", _json(present.notice(notice)))


def withdrawn_event(notice_id: str) -> bytes:
    return _event("withdrawn", b'{"id":"%s"}' % notice_id.encode())


def _json(model: BaseModel) -> bytes:
    """On one line, as an event's data must be: JSON escapes line ends in texts."""
    return model.__pydantic_serializer__.to_json(model)


def _event(name: EventName, data: bytes) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), data)

"""A client of an event stream, in this process: it reads as slowly as a test wants, and goes when it wants."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI
from starlette.types import Message

from tests.api.conftest import API

WAIT_SECONDS = 20.0
"""The longest that a test waits for what must come."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event; a comment or a field is one as well, without data."""

    name: str
    data: dict[str, Any] = field(default_factory=dict)


def parse(block: str) -> Event:
    """One block between two blank lines, as a browser would take it."""
    if not block.startswith("event: "):
        return Event(block)
    name, data = block.split("\n")
    return Event(name.removeprefix("event: "), json.loads(data.removeprefix("data: ")))


class EventClient:
    """One request for a stream, as an ASGI server would make it."""

    def __init__(self, app: FastAPI, path: str, headers: Mapping[str, str]) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.reads = asyncio.Event()
        """While it is not set, nothing more is taken from the api."""
        self.reads.set()
        self._gone = asyncio.Event()
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()
        sent = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        self._scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
            "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "headers": sent,
            "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
        }  # fmt: skip
        self.answering = asyncio.create_task(app(self._scope, self._receive, self._send))

    async def _receive(self) -> Message:
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        await self.reads.wait()
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            return
        for block in message.get("body", b"").decode().split("\n\n")[:-1]:
            self._events.put_nowait(parse(block))
        if not message.get("more_body"):
            self._events.put_nowait(None)

    async def next(self) -> Event:
        """The next event; comments and fields are passed over."""
        while True:
            event = await asyncio.wait_for(self._events.get(), WAIT_SECONDS)
            assert event is not None, "the stream has ended"
            if event.data:
                return event

    async def comment(self) -> str:
        """The next comment."""
        while True:
            event = await asyncio.wait_for(self._events.get(), WAIT_SECONDS)
            assert event is not None, "the stream has ended"
            if event.name.startswith(":"):
                return event.name

    async def rest(self) -> list[Event]:
        """All events until the end of the stream, which must come."""
        found = []
        while (event := await asyncio.wait_for(self._events.get(), WAIT_SECONDS)) is not None:
            found.append(event)
        await asyncio.wait_for(self.answering, WAIT_SECONDS)
        return [event for event in found if event.data]

    async def leave(self) -> None:
        """Hang up, and wait until the api is done with it."""
        self._gone.set()
        await asyncio.wait_for(self.answering, WAIT_SECONDS)


def events_path(lease_id: str) -> str:
    return f"{API}/leases/{lease_id}/events"


@asynccontextmanager
async def follow(
    app: FastAPI, lease_id: str, token: str = "alice", headers: Mapping[str, str] | None = None
) -> AsyncIterator[EventClient]:
    """A stream of a lease until the end of the block."""
    shown = {"Authorization": f"token {token}"} if headers is None else headers
    client = EventClient(app, events_path(lease_id), shown)
    try:
        yield client
    finally:
        client.reads.set()
        await client.leave()

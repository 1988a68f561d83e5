"""The caller's side of one call: what they sent, and what they are sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus

from starlette.types import Receive, Scope, Send

from sublet_hub.domain.errors import PublicError
from sublet_hub.gateway.errors import CallTooLarge, body_of, headers_of, status_of
from sublet_hub.http_protocol import HANG_UP

PROBLEM_BASE = "https://sublet.dev/problems/"
CLIENT_SECONDS = 60.0
"""How long a caller may leave unread what was sent."""

Headers = list[tuple[bytes, bytes]]

ALWAYS: Headers = [
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
JSON: Headers = [(b"content-type", b"application/json")]
EVENT_STREAM: Headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"x-accel-buffering", b"no")]


class Gone(Exception):
    """The caller went away while the call was being read."""


class Client:
    """One request of ASGI's, and its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self._receive = receive
        self._send = send
        self._watching: asyncio.Task[None] | None = None
        self._on_gone: Callable[[], None] | None = None
        self.status: int | None = None
        """Of the answer, once it has begun."""
        self.is_gone = False

    def header(self, name: bytes) -> str:
        return next((value.decode("latin-1") for key, value in self.scope["headers"] if key == name), "")

    async def read(self, most: int, take: Callable[[int], None]) -> bytes:
        """The whole body; `take` is told of each piece's size, and may raise. CallTooLarge, or Gone."""
        said = self.header(b"content-length")
        if said.isdecimal() and int(said) > most:
            raise self._too_large(most)
        pieces: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise Gone
            piece = message.get("body", b"")
            size += len(piece)
            if size > most:
                raise self._too_large(most)
            take(len(piece))
            pieces.append(piece)
            if not message.get("more_body"):
                return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def watch(self) -> None:
        """From here on notice when the caller goes away."""
        self._watching = asyncio.ensure_future(self._watch())

    def when_gone(self, act: Callable[[], None] | None) -> None:
        """What to do when the caller goes away, at once where that has happened."""
        self._on_gone = act
        if self.is_gone and act is not None:
            act()

    async def begin(self, headers: Headers, status: int = HTTPStatus.OK) -> None:
        self.status = status
        await self._send({"type": "http.response.start", "status": status, "headers": [*headers, *ALWAYS]})

    async def write(self, data: bytes) -> None:
        """Send a piece, when there is room. A caller that reads nothing is hung up on."""
        try:
            async with asyncio.timeout(CLIENT_SECONDS):
                await self._send({"type": "http.response.body", "body": data, "more_body": True})
        except TimeoutError:
            self.scope["extensions"][HANG_UP]["now"]()
            self._has_gone()

    async def end(self, data: bytes = b"") -> None:
        await self._send({"type": "http.response.body", "body": data})

    async def answer(self, body: bytes, headers: Headers, status: int = HTTPStatus.OK) -> None:
        """The whole answer at once."""
        await self.begin([*headers, (b"content-length", str(len(body)).encode())], status)
        await self.end(body)

    async def refuse(self, error: PublicError) -> None:
        """Tell of an error: as the answer, or in a stream that has begun as its last event."""
        path = str(self.scope["path"])[:200]
        body = body_of(error, PROBLEM_BASE, path)
        if self.status is None:
            await self.answer(body, headers_of(error), status_of(error))
        else:
            await self.end(b"data: " + body + b"\n\n")

    def close(self) -> None:
        self._on_gone = None
        if self._watching is not None:
            self._watching.cancel()

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._has_gone()

    def _has_gone(self) -> None:
        if not self.is_gone:
            self.is_gone = True
            if self._on_gone is not None:
                self._on_gone()

    @staticmethod
    def _too_large(most: int) -> CallTooLarge:
        return CallTooLarge(f"A call may have {most // 2**20} MiB at most.")

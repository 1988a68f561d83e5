"""Callers of a model, many at once, by raw sockets so that they cost little; the address and what to do as JSON on
standard input, what was measured as JSON on standard output:

    python -m tests.bench.model_callers
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlsplit

WARM_UP_SECONDS = 1.0
TAIL_BYTES = 64 * 1024
"""What is kept of an answer to see its end; a whole answer must fit, with its head."""
PROMPT = "Tell me of the sea, in a few words. " * 6


@dataclass
class Counted:
    """What was measured once it was warm."""

    answers: int = 0
    tokens: int = 0
    seconds: float = 0.0
    waits: list[float] = field(default_factory=list)
    """Seconds until the first token of a stream, or until a whole answer."""
    wrong: str = ""
    """The beginning of the first answer that was not good."""


class Caller(asyncio.Protocol):
    """One connection that calls over and over."""

    def __init__(self, request: bytes, counted: Counted, *, stream: bool) -> None:
        self._request, self._counted, self._stream = request, counted, stream
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._call()

    def _call(self) -> None:
        assert self._transport is not None
        self._begun, self._waited, self._tail = time.perf_counter(), False, b""
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if not self._tail and not data.startswith(b"HTTP/1.1 200") and not self._counted.wrong:
            self._counted.wrong = data[:600].decode(errors="replace")
        tokens = data.count(b'"content":" token"') + data.count(b'"content": " token"')
        self._counted.tokens += tokens
        self._tail = (self._tail + data)[-TAIL_BYTES:]
        if self._stream:
            if tokens and not self._waited:
                self._waited = True
                self._counted.waits.append(time.perf_counter() - self._begun)
            if self._tail.endswith(b"0\r\n\r\n") and b"[DONE]" in self._tail:
                self._counted.answers += 1
                self._call()
        elif self._is_whole():
            self._counted.waits.append(time.perf_counter() - self._begun)
            self._counted.answers += 1
            self._call()

    def _is_whole(self) -> bool:
        head, separator, body = self._tail.partition(b"\r\n\r\n")
        if not separator:
            return False
        if b"chunked" in head.lower():
            return self._tail.endswith(b"0\r\n\r\n")
        length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        return bool(length.strip()) and len(body) >= int(length)


async def call(told: dict[str, Any]) -> Counted:
    parts = urlsplit(told["url"])
    body = {"model": told["model"], "messages": [{"role": "user", "content": PROMPT}], "max_tokens": 200}
    if told["stream"]:
        body["stream"] = True
    content = json.dumps(body).encode()
    request = (
        f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {told['key']}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    ).encode() + content
    counted = Counted()
    loop = asyncio.get_running_loop()
    for _ in range(told["callers"]):
        # One after another, so that they don't all wait for their first tokens at the same moment.
        await loop.create_connection(
            lambda: Caller(request, counted, stream=told["stream"]), parts.hostname, parts.port
        )
        await asyncio.sleep(told["apart_seconds"])
    await asyncio.sleep(WARM_UP_SECONDS)
    counted.answers, counted.tokens, counted.waits = 0, 0, []
    begun = time.perf_counter()
    await asyncio.sleep(told["seconds"])
    counted.seconds = time.perf_counter() - begun
    return counted


if __name__ == "__main__":
    json.dump(asdict(asyncio.run(call(json.load(sys.stdin)))), sys.stdout)

"""A model's server without a model, as quick as can be, so that what stands before it is what is measured:

    python -m tests.bench.model_server      says its port, then serves

It answers as vLLM would. Streams have a token every 20 ms after a first one at 40 ms, the pace of a 70B model; whole
answers come at once. Requests are taken to arrive with their bodies behind one another, in any number of pieces.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys

FIRST_SECONDS = 0.04
PACE_SECONDS = 0.02
TOKENS = 100
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
_COMMON = {"id": "chatcmpl-1", "created": 1, "model": "there"}


def _chunk(said: object) -> bytes:
    event = (
        b"data: " + (said if isinstance(said, bytes) else json.dumps(said, separators=(",", ":")).encode()) + b"\n\n"
    )
    return b"%x\r\n%b\r\n" % (len(event), event)


def _token(delta: dict[str, str], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return _chunk({**_COMMON, "object": "chat.completion.chunk", "choices": [choice]})


USAGE = {"prompt_tokens": 50, "completion_tokens": TOKENS, "total_tokens": 50 + TOKENS}
TOKEN = _token({"content": " token"})
END = _token({}, "length")
LAST = _chunk({**_COMMON, "object": "chat.completion.chunk", "choices": [], "usage": USAGE})
DONE = _chunk(b"[DONE]") + b"0\r\n\r\n"
_MESSAGE = {"role": "assistant", "content": "a short answer"}
_WHOLE = json.dumps(
    {
        **_COMMON,
        "object": "chat.completion",
        "choices": [{"index": 0, "message": _MESSAGE, "finish_reason": "stop"}],
        "usage": USAGE,
    }
).encode()
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(_WHOLE), _WHOLE)
_LIST = b'{"object":"list","data":[{"id":"there","object":"model","owned_by":"bench"}]}'
MODELS = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(_LIST), _LIST)


class Serving(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._buffer = b""
        self._loop = asyncio.get_running_loop()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        length = _LENGTH.search(head)
        if length is not None and len(body) < int(length[1]):
            return
        self._buffer = b""
        if head.startswith(b"GET"):
            self._transport.write(MODELS)
        elif re.search(rb'"stream": ?true', body) is None:
            self._transport.write(WHOLE)
        else:
            self._transport.write(_HEAD)
            now = self._loop.time()
            self._loop.call_at(now + FIRST_SECONDS, self._next, now + FIRST_SECONDS, 1)

    def _next(self, at: float, number: int) -> None:
        """Send a token at its time, however late the one before was."""
        if self._transport.is_closing():
            return
        if number > TOKENS:
            self._transport.write(END + LAST + DONE)
            return
        self._transport.write(TOKEN)
        self._loop.call_at(at + PACE_SECONDS, self._next, at + PACE_SECONDS, number + 1)


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(Serving, "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve())

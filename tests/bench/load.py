"""A load generator in a process of its own: a few connections that each ask again as soon as they are answered.

    python -m tests.bench.load http://127.0.0.1:8082/path 6 < headers.json     measure; a JSON object comes out
    python -m tests.bench.load --serve                                         a server that does next to nothing

The second answers any request with 500 bytes that are made beforehand: how often it can be asked is the most that
the generator can do, so a server that is asked less often was measured itself. Standard library only.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from dataclasses import asdict, dataclass, field
from urllib.parse import urlsplit

CONNECTIONS = 16
WARM_UP_SECONDS = 1.0
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_END = b"\r\n\r\n"

TRIVIAL = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n" + b" " * 500


@dataclass
class Counts:
    """What was measured once it was warm."""

    answers: int = 0
    refused: int = 0
    seconds: float = 0.0
    busy_seconds: float = 0.0
    """Processor time of the generator itself."""
    first_body: str = ""
    waits: list[float] = field(default_factory=list, repr=False)


class Asker(asyncio.Protocol):
    """One connection that asks over and over. Answers must have a Content-Length."""

    def __init__(self, request: bytes, counts: Counts) -> None:
        self._request, self._counts = request, counts
        self._buffer = b""
        self._asked_at = 0.0
        self._transport: asyncio.Transport | None = None
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        assert self._transport is not None
        self._asked_at = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        head, separator, body = self._buffer.partition(_END)
        if not separator:
            return
        length = _LENGTH.search(head)
        if length is None:
            raise ValueError(f"an answer without a length: {head!r}")
        if len(body) < int(length[1]):
            return
        self._counts.answers += 1
        self._counts.waits.append(time.perf_counter() - self._asked_at)
        if not head.startswith(b"HTTP/1.1 200"):
            self._counts.refused += 1
        if not self._counts.first_body:
            self._counts.first_body = body.decode(errors="replace")
        self._buffer = b""
        self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)


async def ask(url: str, headers: dict[str, str], seconds: float) -> Counts:
    """Ask for so long, after a warm-up; every connection must last."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    host, port = parts.hostname, parts.port
    counts = Counts()
    said = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    request = f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n{said}\r\n".encode()
    loop = asyncio.get_running_loop()
    made = [await loop.create_connection(lambda: Asker(request, counts), host, port) for _ in range(CONNECTIONS)]
    await asyncio.sleep(WARM_UP_SECONDS)
    counts.answers, counts.refused, counts.waits = 0, 0, []
    begun, busy = time.perf_counter(), time.process_time()
    await asyncio.sleep(seconds)
    counts.seconds, counts.busy_seconds = time.perf_counter() - begun, time.process_time() - busy
    lost = [asker for _, asker in made if asker.lost.done()]
    if lost:
        raise ConnectionError(f"{len(lost)} connections were closed meanwhile")
    for transport, _ in made:
        transport.abort()
    return counts


class Trivial(asyncio.Protocol):
    """Answers each request, which is taken to arrive whole, with the same bytes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, _data: bytes) -> None:
        self._transport.write(TRIVIAL)


async def serve() -> None:
    """Say the port, then serve until killed."""
    server = await asyncio.get_running_loop().create_server(Trivial, "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        asyncio.run(serve())
    else:
        counted = asyncio.run(ask(sys.argv[1], json.load(sys.stdin), float(sys.argv[2])))
        waits = sorted(counted.waits)
        summary = {name: value for name, value in asdict(counted).items() if name != "waits"}
        summary["p99_seconds"] = waits[int(len(waits) * 0.99)] if waits else None
        json.dump(summary, sys.stdout)

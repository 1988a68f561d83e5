"""Clients of event streams, as many as are named, in a process of their own.

    python -m tests.bench.stream_clients http://127.0.0.1:8082 < streams.txt

Each of the first lines names a stream, as `path token`; an empty line ends them. A line comes out when each stream
has told its first event. Then each line that comes in, such as `notice 3`, is answered with a line once every stream
has had so many of those events: the moments of the last of them, a JSON list, by the clock that is the same in all
processes of the machine (CLOCK_MONOTONIC). Standard library only.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections import defaultdict
from urllib.parse import urlsplit

AT_ONCE = 50
"""Streams that are being opened at a time, as their servers would not all start at one moment either."""

_EVENT = re.compile(rb"event: (\w+)\r?\n")
_LONGEST_NAME = 32


class Client(asyncio.Protocol):
    """One stream: the moments of its events, by their names."""

    def __init__(self, request: bytes) -> None:
        self.moments: defaultdict[str, list[float]] = defaultdict(list)
        self.news = asyncio.Event()
        self._request = request
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        text = self._rest + data
        end = 0
        for found in _EVENT.finditer(text):
            self.moments[found[1].decode()].append(now)
            end = found.end()
        self._rest = text[max(end, len(text) - _LONGEST_NAME) :]
        self.news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        sys.exit(f"a stream has ended: {exc or self._rest!r}")

    async def moment_of(self, name: str, number: int) -> float:
        while len(self.moments[name]) < number:
            self.news.clear()
            await self.news.wait()
        return self.moments[name][number - 1]


async def follow(url: str) -> None:
    loop = asyncio.get_running_loop()
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    host, port = parts.hostname, parts.port
    turn = asyncio.Semaphore(AT_ONCE)

    async def open_one(path: str, token: str) -> Client:
        request = f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: token {token}\r\n\r\n"
        async with turn:
            _, client = await loop.create_connection(lambda: Client(request.encode()), host, port)
            await client.moment_of("lease", 1)
        return client

    clients = await asyncio.gather(*[open_one(*line.split()) for line in iter(sys.stdin.readline, "\n")])
    _say(len(clients))
    while line := await asyncio.to_thread(sys.stdin.readline):
        name, number = line.split()
        _say(await asyncio.gather(*[client.moment_of(name, int(number)) for client in clients]))


def _say(what: object) -> None:
    sys.stdout.write(f"{json.dumps(what)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(follow(sys.argv[1]))

"""A call may be long and its line slow: who sends on is waited for, and who doesn't is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from sublet_hub import http_protocol
from sublet_hub.gateway import http_uploads
from sublet_hub.gateway.answering import JSON, Client
from sublet_hub.gateway.serve import server_config
from sublet_hub.settings import Settings
from tests.gateway.running import free_port

PIECE = b" " * 64 * 1024
MEBIBYTE = 2**20
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
ENDLESS = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
WAIT_SECONDS = 30.0

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Sink:
    """An application that reads what comes, with the gateway's own reader, and says how much it was."""

    def __init__(self) -> None:
        self.came = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def counted() -> dict[str, object]:
            message = dict(await receive())
            self.came += len(bytes(message.get("body", b"")))
            return message

        client = Client(scope, counted, send)
        await client.answer(str(len(await client.read(64 * MEBIBYTE, lambda _size: None))).encode(), JSON)


class Served:
    """The sink behind connections as `sublet gateway` has them."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.sink = Sink()

    async def connect(self, says: bytes) -> Connection:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(says)
        await writer.drain()
        return reader, writer

    async def until_came(self, size: int) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            while self.sink.came < size:  # noqa: ASYNC110 - the sink tells nobody
                await asyncio.sleep(0.005)


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Served]:
    served = Served(free_port())
    server = uvicorn.Server(server_config(served.sink, Settings(data=folder, gateway_port=served.port)))
    running = asyncio.create_task(server.serve())
    async with asyncio.timeout(WAIT_SECONDS):
        while not server.started:  # noqa: ASYNC110 - uvicorn tells nobody
            await asyncio.sleep(0.005)
    try:
        yield served
    finally:
        server.should_exit = server.force_exit = True
        await asyncio.wait_for(running, WAIT_SECONDS)


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(tmp_path) as found:
        yield found


async def has_gone(connection: Connection) -> bool:
    """Whether the gateway has hung up, once it has."""
    try:
        return await asyncio.wait_for(connection[0].read(1), WAIT_SECONDS) == b""
    except ConnectionResetError:
        return True


async def test_a_long_body_on_a_slow_line_arrives(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """2 MiB in two seconds or more, where one without a body has one second."""
    monkeypatch.setattr(http_protocol, "ARRIVE_SECONDS", 1.0)
    reader, writer = await served.connect(HEAD + b"Content-Length: %d\r\n\r\n" % (2 * MEBIBYTE))
    begun = asyncio.get_running_loop().time()
    for _ in range(2 * MEBIBYTE // len(PIECE)):
        writer.write(PIECE)
        await writer.drain()
        await asyncio.sleep(0.065)  # the line's slowness is what is looked at
    assert asyncio.get_running_loop().time() - begun > 2 * http_protocol.ARRIVE_SECONDS
    assert (await asyncio.wait_for(reader.readline(), WAIT_SECONDS)).startswith(b"HTTP/1.1 200")
    assert (await asyncio.wait_for(reader.read(1000), WAIT_SECONDS)).endswith(b"%d" % (2 * MEBIBYTE))
    writer.close()


@pytest.mark.parametrize("says", [b"", HEAD, HEAD + b"Content-Length: 1000\r\n\r\n{"])
async def test_who_says_too_little_is_hung_up_on(
    served: Served, says: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_protocol, "ARRIVE_SECONDS", 0.05)
    assert await has_gone(await served.connect(says))


async def test_who_sends_for_ever_is_hung_up_on(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """However fast: there is time for the longest body and no longer."""
    monkeypatch.setattr(http_protocol, "ARRIVE_SECONDS", 0.2)
    monkeypatch.setattr(http_uploads, "BODY_BYTES_MAX", 64 * 1024)
    monkeypatch.setattr(http_uploads, "SLOWEST_BYTES_PER_SECOND", 640 * 1024)
    _, writer = await served.connect(ENDLESS)

    async def send_for_ever() -> None:
        while True:
            writer.write(b"2000\r\n" + b" " * 0x2000 + b"\r\n")
            await writer.drain()
            await asyncio.sleep(0.01)

    with pytest.raises(ConnectionError):
        await asyncio.wait_for(send_for_ever(), WAIT_SECONDS)


async def test_of_those_that_only_wait_some_are_dropped_and_none_that_send(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_uploads, "MOST_WAITING", 10)
    monkeypatch.setattr(http_protocol, "SPARED_SECONDS", 0.0)
    reader, writer = await served.connect(HEAD + b"Content-Length: %d\r\n\r\n" % (3 * len(PIECE)))
    idle = []
    for number in range(1, 4):
        idle += [await served.connect(HEAD) for _ in range(8)]
        writer.write(PIECE)
        await writer.drain()
        await served.until_came(number * len(PIECE))
    assert (await asyncio.wait_for(reader.readline(), WAIT_SECONDS)).startswith(b"HTTP/1.1 200")
    assert all([await has_gone(each) for each in idle[:14]]), "those that waited longest are dropped"

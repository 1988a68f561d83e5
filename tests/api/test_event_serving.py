"""Event streams over real connections: a restart of the api, clients that read nothing, clients that vanish."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest

from sublet_hub.api import stream
from sublet_hub.api.stream import StreamTimes
from sublet_hub.credentials import ensure_secrets
from sublet_hub.domain.lease import Lease
from sublet_hub.run.parts import Part, environment, proxy_part
from sublet_hub.settings import Settings
from sublet_hub.storage import open_store
from sublet_hub.storage.memory import MemoryStore
from tests.api.conftest import Running, running
from tests.api.event_client import WAIT_SECONDS, Event, events_path, parse
from tests.api.serving import serving
from tests.fixtures.books import limit
from tests.run.conftest import free_ports

TIMES = StreamTimes(look=0.01, leaving=0.2)
MORE_THAN_BUFFERS_HOLD = 20_000_000
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
ALICE = {"Authorization": "token alice"}


async def events(response: httpx.Response) -> AsyncIterator[Event]:
    block = ""
    async for line in response.aiter_lines():
        if line:
            block = f"{block}\n{line}" if block else line
            continue
        event, block = parse(block), ""
        if event.data:
            yield event


async def streams_become(site: Running, number: int) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while site.api.metrics.event_streams._value.get() != number:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.005)


async def test_a_restart_ends_streams_at_once_and_they_begin_anew(sqlite_url: str, tmp_path: Path) -> None:
    store = open_store(sqlite_url)
    lease: Lease | None = None
    port = 0
    for expected in (["lease"], ["lease", "notice"]):
        async with running(store, stream_times=TIMES) as site, httpx.AsyncClient(timeout=WAIT_SECONDS) as http:
            lease = lease or site.lease()
            if len(expected) > 1:
                limit(site.books, gpu_seconds=(400, "day"))  # while nobody served
            listener = socket.create_server(("127.0.0.1", port))
            port = listener.getsockname()[1]
            async with AsyncExitStack() as answers:
                async with serving(site, listener, tmp_path) as url:
                    asked = http.stream("GET", url + events_path(lease.id), headers=ALICE)
                    response = await answers.enter_async_context(asked)
                    coming = events(response)
                    assert [(await anext(coming)).name for _ in expected] == expected
                assert [event async for event in coming] == [], "it ends in order, not with a broken connection"
    store.close()


async def test_a_client_that_reads_nothing_holds_up_no_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(MemoryStore(), stream_times=TIMES) as site:
        async with serving(site, small_buffers(), tmp_path) as url:
            client = await open_and_read_nothing(site, url, monkeypatch)
        client[1].close()
        assert site.api.metrics.event_streams._value.get() == 0


async def test_a_client_that_reads_nothing_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = StreamTimes(look=0.01, stuck=0.1)
    async with running(MemoryStore(), stream_times=times) as site, serving(site, small_buffers(), tmp_path) as url:
        reader, writer = await open_and_read_nothing(site, url, monkeypatch)
        await streams_become(site, 0)
        assert len(await asyncio.wait_for(reader.read(), WAIT_SECONDS)) < MORE_THAN_BUFFERS_HOLD
        writer.close()


async def test_a_client_that_vanishes_is_noticed(tmp_path: Path) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    async with running(MemoryStore(), stream_times=TIMES) as site, serving(site, listener, tmp_path) as url:
        path = events_path(site.lease().id)
        async with (
            httpx.AsyncClient(timeout=WAIT_SECONDS) as http,
            http.stream("GET", url + path, headers=ALICE) as response,
        ):
            assert (await anext(events(response))).name == "lease"
            await streams_become(site, 1)
        await streams_become(site, 0)


async def test_the_proxy_passes_each_event_on_as_it_comes(tmp_path: Path) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    async with running(MemoryStore(), stream_times=TIMES) as site, serving(site, listener, tmp_path) as url:
        lease = site.lease()
        async with (
            proxy(url, tmp_path) as front,
            httpx.AsyncClient(timeout=WAIT_SECONDS) as http,
            http.stream("GET", front + events_path(lease.id), headers=ALICE) as response,
        ):
            coming = events(response)
            assert (await anext(coming)).name == "lease"
            limit(site.books, gpu_seconds=(400, "day"))
            assert [(await anext(coming)).name, (await anext(coming)).name] == ["lease", "notice"]
            await streams_become(site, 1)
        await streams_become(site, 0)  # it hangs up as soon as its own client does


@asynccontextmanager
async def proxy(target: str, folder: Path) -> AsyncIterator[str]:
    """The proxy as `sublet up` starts it."""
    if not Settings().proxy_script.exists():
        pytest.skip("the proxy is not installed: make run does")
    ports = free_ports(2)
    settings = Settings(data=folder, port=ports[0], proxy_api_port=ports[1])
    part = proxy_part(settings, ensure_secrets(folder))
    process = await asyncio.create_subprocess_exec(*part.argv, env=environment(settings, part))
    try:
        async with asyncio.timeout(WAIT_SECONDS), httpx.AsyncClient() as http:
            while not await has_route(http, settings, part, target):  # noqa: ASYNC110 - it tells only who asks
                await asyncio.sleep(0.05)
        yield settings.public_url
    finally:
        process.kill()
        await process.wait()


async def has_route(http: httpx.AsyncClient, settings: Settings, part: Part, target: str) -> bool:
    """Give it the api's route, as the hub does."""
    route = f"{settings.proxy_api_url}/api/routes/services/sublet"
    try:
        return (await http.post(route, headers=part.ready_headers, json={"target": target})).is_success
    except httpx.TransportError:
        return False


def small_buffers() -> socket.socket:
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    return listener


async def open_and_read_nothing(site: Running, url: str, monkeypatch: pytest.MonkeyPatch) -> Connection:
    """A stream whose client took nothing of more than what all buffers on the way hold."""
    monkeypatch.setattr(stream, "BEGINNING", b":" + b"x" * MORE_THAN_BUFFERS_HOLD + b"\n\n")
    client = socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])))
    reader, writer = await asyncio.open_connection(sock=client, limit=1024)
    writer.write(
        f"GET {events_path(site.lease().id)} HTTP/1.1\r\nHost: x\r\nAuthorization: token alice\r\n\r\n".encode()
    )
    assert await asyncio.wait_for(reader.readline(), WAIT_SECONDS) == b"HTTP/1.1 200 OK\r\n"
    await streams_become(site, 1)
    return reader, writer

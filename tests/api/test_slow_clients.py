"""Clients that connect and say little keep nobody out: any code in a user's server can be one, without a token."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from sublet_hub import http_protocol
from sublet_hub.api import edge
from sublet_hub.storage.memory import MemoryStore
from tests.api.conftest import API, running
from tests.api.event_client import WAIT_SECONDS
from tests.api.serving import serving

ALICE = {"Authorization": "token alice"}
HEAD = f"POST {API}/leases HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n"
SLOW = {"nothing": "", "half a head": HEAD, "half a body": HEAD + "\r\n{"}
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def slow_clients(url: str, says: str, number: int) -> AsyncIterator[list[Connection]]:
    """So many connections, each of which says that much and waits."""
    host, port = url.removeprefix("http://").split(":")
    made = [await asyncio.open_connection(host, int(port)) for _ in range(number)]
    for _, writer in made:
        writer.write(says.encode())
        await writer.drain()
    try:
        yield made
    finally:
        for _, writer in made:
            writer.close()


@pytest.fixture
async def url(tmp_path: Path) -> AsyncIterator[str]:
    listener = socket.create_server(("127.0.0.1", 0))
    async with running(MemoryStore()) as site, serving(site, listener, tmp_path) as served:
        yield served


async def has_gone(connection: Connection) -> bool:
    """Whether the api has hung up, once it has."""
    try:
        return await asyncio.wait_for(connection[0].read(1), WAIT_SECONDS) == b""
    except ConnectionResetError:
        return True


async def is_answered(url: str) -> None:
    async with httpx.AsyncClient(timeout=WAIT_SECONDS, headers=ALICE) as http:
        assert (await http.get(f"{url}{API}/leases")).status_code == 200
        assert (await http.post(f"{url}{API}/leases", json={})).status_code == 422


async def test_bodies_that_are_still_coming_are_no_requests_in_flight(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge, "MOST_IN_FLIGHT", 5)
    async with slow_clients(url, SLOW["half a body"], 40) as clients:
        await is_answered(url)
        clients[0][1].write(b" " * 999)
        assert (await asyncio.wait_for(clients[0][0].readline(), WAIT_SECONDS)).startswith(b"HTTP/1.1 4")


@pytest.mark.parametrize("says", SLOW.values(), ids=SLOW)
async def test_of_those_that_only_wait_there_are_not_too_many(
    url: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_protocol, "MOST_WAITING", 20)
    monkeypatch.setattr(http_protocol, "SPARED_SECONDS", 0.0)
    async with slow_clients(url, says, 40) as clients:
        await is_answered(url)
        assert all([await has_gone(client) for client in clients[:20]]), "those that waited longest are dropped"


async def test_many_that_come_at_one_moment_are_all_answered(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "MOST_WAITING", 5)
    monkeypatch.setattr(http_protocol, "SPARED_SECONDS", WAIT_SECONDS)
    head = f"GET {API}/leases HTTP/1.1\r\nHost: x\r\nAuthorization: token alice\r\n\r\n"
    async with slow_clients(url, head, 100) as clients:
        for reader, _ in clients:
            assert (await asyncio.wait_for(reader.readline(), WAIT_SECONDS)).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("says", SLOW.values(), ids=SLOW)
async def test_who_says_too_little_is_hung_up_on(url: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "ARRIVE_SECONDS", 0.05)
    async with slow_clients(url, says, 1) as (client,):
        assert await has_gone(client)
    monkeypatch.setattr(http_protocol, "ARRIVE_SECONDS", 15.0)
    await is_answered(url)


async def test_a_connection_that_is_kept_may_wait_between_requests(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "ARRIVE_SECONDS", 0.2)
    head = f"GET {API}/leases HTTP/1.1\r\nHost: x\r\nAuthorization: token alice\r\n\r\n"
    async with slow_clients(url, head, 1) as ((reader, writer),):
        for _ in range(2):
            assert (await asyncio.wait_for(reader.readline(), WAIT_SECONDS)).startswith(b"HTTP/1.1 200")
            while (line := await reader.readline()) != b"\r\n":
                assert line
            assert await reader.readexactly(2) == b"[]"
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.read(1), 0.5)  # the wait itself is what is looked at
            writer.write(head.encode())

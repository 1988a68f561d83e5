"""The way to a cluster's pods, before an API server of its own: each connection has a line to itself."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import WSMsgType, web

from tests.kube.relay import DATA, ERRORS, Relay

NAMESPACE, POD, PORT, POD_PORT = "here", "echo-1", 80, 8000
SECONDS = 20.0


class ApiServer(threading.Thread):
    """What an API server and a kubelet do of it: pods that say everything back."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.pods = [POD]
        self.lines: list[str] = []
        self.port = 0
        self._is_ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def begin(self) -> None:
        self.start()
        assert self._is_ready.wait(SECONDS)

    def end(self) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._loop.stop)
        self.join(SECONDS)

    def run(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._loop.run_until_complete(self._listen())
        self._is_ready.set()
        self._loop.run_forever()

    async def _listen(self) -> None:
        app = web.Application()
        base = f"/api/v1/namespaces/{NAMESPACE}"
        app.router.add_get(f"{base}/services/echo", self._service)
        app.router.add_get(f"{base}/endpoints/echo", self._endpoints)
        app.router.add_get(f"{base}/pods/{{pod}}/portforward", self._line)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.port = runner.addresses[0][1]

    async def _service(self, _request: web.Request) -> web.Response:
        return web.json_response({"spec": {"ports": [{"name": "http", "port": PORT}, {"name": "more", "port": 81}]}})

    async def _endpoints(self, _request: web.Request) -> web.Response:
        addresses = [{"ip": "10.0.0.1", "targetRef": {"kind": "Pod", "name": pod}} for pod in self.pods]
        ports = [{"name": "more", "port": 8001}, {"name": "http", "port": POD_PORT}]
        subsets: list[dict[str, Any]] = [{"addresses": addresses, "ports": ports}] if addresses else []
        return web.json_response({"subsets": subsets})

    async def _line(self, request: web.Request) -> web.WebSocketResponse:
        line = web.WebSocketResponse(protocols=["v4.channel.k8s.io"])
        await line.prepare(request)
        self.lines.append(f"{request.match_info['pod']}:{request.query['ports']}")
        for channel in (DATA, ERRORS):
            await line.send_bytes(bytes([channel]) + struct.pack("<H", POD_PORT))
        async for message in line:
            assert message.type is WSMsgType.BINARY
            assert message.data[0] == DATA
            if message.data[1:] == b"end":
                break
            await line.send_bytes(message.data)
        return line


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    made = ApiServer()
    made.begin()
    configuration = {
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "clusters": [{"name": "test", "cluster": {"server": f"http://127.0.0.1:{made.port}"}}],
        "users": [{"name": "test", "user": {}}],
    }  # fmt: skip
    (tmp_path / "kubeconfig").write_text(json.dumps(configuration))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    yield made
    made.end()


def connect(relay: Relay) -> socket.socket:
    return socket.create_connection(("127.0.0.1", relay.port), SECONDS)


def said_back(client: socket.socket, text: bytes) -> bytes:
    client.sendall(text)
    heard = b""
    while len(heard) < len(text):
        heard += client.recv(65536)
    return heard


def test_who_hangs_up_disturbs_nobody(server: ApiServer) -> None:
    large = bytes(range(256)) * 1024
    with Relay(NAMESPACE, "service/echo", PORT) as relay, closing(connect(relay)) as stays:
        assert said_back(stays, b"first") == b"first"
        with closing(connect(relay)) as leaves:
            assert said_back(leaves, b"short") == b"short"
            leaves.sendall(large)  # and doesn't wait for what comes back
        assert said_back(stays, large) == large
        assert server.lines == [f"{POD}:{POD_PORT}"] * 2


def test_a_pod_that_hangs_up_is_told_and_its_successor_is_led_to(server: ApiServer) -> None:
    with Relay(NAMESPACE, "service/echo", PORT) as relay:
        with closing(connect(relay)) as first:
            first.sendall(b"end")
            assert first.recv(1) == b""
        server.pods = []
        with closing(connect(relay)) as nobody:
            assert nobody.recv(1) == b""
        server.pods = ["echo-2"]
        with closing(connect(relay)) as second:
            assert said_back(second, b"hello") == b"hello"
    assert server.lines == [f"{POD}:{POD_PORT}", f"echo-2:{POD_PORT}"]


def test_a_pod_can_be_named(server: ApiServer) -> None:
    with Relay(NAMESPACE, f"pod/{POD}", 5432) as relay, closing(connect(relay)) as client:
        assert said_back(client, b"hello") == b"hello"
    assert server.lines == [f"{POD}:5432"]

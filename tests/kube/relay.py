"""A port of this machine that leads to one of the cluster's, with a line of its own for each connection.

`kubectl port-forward` carries all connections on one line. Where a page hangs up, that may stall or break the others.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from typing import Any, Self

import aiohttp
from kubernetes_asyncio.client import ApiClient, Configuration, CoreV1Api
from kubernetes_asyncio.client.exceptions import ApiException
from kubernetes_asyncio.config import load_kube_config
from kubernetes_asyncio.stream import WsApiClient

log = logging.getLogger(__name__)

CHUNK_BYTES = 32 * 1024
LINES_MAX = 1000
START_SECONDS = 20.0
DATA, ERRORS = 0, 1
"""Channels of a line, the first byte of each of its messages. Source: the subprotocol v4.channel.k8s.io, as in
https://github.com/kubernetes-client/python, `stream/ws_client.py`, `PortForward`."""

HEADER_BYTES = 2
"""Of each channel's first message: the port once more."""


class NoWay(Exception):
    """There is no pod to lead to just now."""


class Relay(threading.Thread):
    """Leads to a port of `pod/NAME` or `service/NAME`; of a service, to a pod that is ready when a client connects.

    While there is none, a client is hung up on. The API server is the one of KUBECONFIG.
    """

    def __init__(self, namespace: str, target: str, port: int) -> None:
        super().__init__(name=f"relay to {target}", daemon=True)
        self._namespace, self._target, self._target_port = namespace, target, port
        self._is_ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: asyncio.Event | None = None
        self.port = 0
        """On 127.0.0.1, once it has begun."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def begin(self) -> Self:
        """Listen."""
        self.start()
        assert self._is_ready.wait(START_SECONDS), f"no way to {self._target}"
        return self

    def __enter__(self) -> Self:
        return self.begin()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Hang up on everybody."""
        if self._loop is not None and self._ended is not None and self.is_alive():
            self._loop.call_soon_threadsafe(self._ended.set)
            self.join(START_SECONDS)

    def run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        configuration = Configuration()
        await load_kube_config(os.environ.get("KUBECONFIG"), client_configuration=configuration)
        configuration.connection_pool_maxsize = LINES_MAX
        async with ApiClient(configuration) as api, WsApiClient(configuration) as lines:
            way = _Way(CoreV1Api(api), CoreV1Api(lines), self._namespace, self._target, self._target_port)
            server = await asyncio.start_server(way.carry, "127.0.0.1", 0)
            self.port = server.sockets[0].getsockname()[1]
            self._is_ready.set()
            await self._ended.wait()
            server.close()
            await way.close()


class _Way:
    """The connections of a relay."""

    def __init__(self, api: CoreV1Api, lines: CoreV1Api, namespace: str, target: str, port: int) -> None:
        self._api, self._lines = api, lines
        self._namespace = namespace
        self._kind, _, self._name = target.partition("/")
        self._port = port
        self._carried: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        for task in self._carried:
            task.cancel()
        await asyncio.gather(*self._carried, return_exceptions=True)

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until either end hangs up."""
        task = asyncio.current_task()
        assert task is not None
        self._carried.add(task)
        try:
            pod, port = await self._pod()
            opened: Any = await self._lines.connect_get_namespaced_pod_portforward(
                pod, self._namespace, ports=port, _preload_content=False
            )
            async with opened as line:
                await _either(_up(reader, line), _down(line, writer))
        except (NoWay, ApiException, aiohttp.ClientError, OSError, TimeoutError) as error:
            log.warning("no way to %s %s: %s", self._kind, self._name, error)
        finally:
            self._carried.discard(task)
            writer.close()

    async def _pod(self) -> tuple[str, int]:
        """A pod's name, and its own port."""
        if self._kind == "pod":
            return self._name, self._port
        service = await self._api.read_namespaced_service(self._name, self._namespace)
        (name,) = (each.name for each in service.spec.ports if each.port == self._port)
        found = await self._api.read_namespaced_endpoints(self._name, self._namespace)
        for subset in found.subsets or ():
            ports = [each.port for each in subset.ports or () if each.name == name]
            pods = [each.target_ref.name for each in subset.addresses or ()]
            if ports and pods:
                return pods[0], ports[0]
        raise NoWay("none of its pods is ready")


async def _either(*ways: Any) -> None:
    """Until one of them ends; what it failed with is raised."""
    tasks = [asyncio.ensure_future(way) for way in ways]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _up(reader: asyncio.StreamReader, line: aiohttp.ClientWebSocketResponse) -> None:
    while chunk := await reader.read(CHUNK_BYTES):
        await line.send_bytes(bytes([DATA]) + chunk)


async def _down(line: aiohttp.ClientWebSocketResponse, writer: asyncio.StreamWriter) -> None:
    begun: set[int] = set()
    async for message in line:
        content: bytes = message.data
        channel, data = content[0], content[1:]
        if channel not in begun:
            begun.add(channel)
            data = data[HEADER_BYTES:]
        if channel == ERRORS and data:
            raise NoWay(data.decode(errors="replace"))
        writer.write(data)
        await writer.drain()

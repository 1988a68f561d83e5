"""The servers of a model: which of them is asked, and which are left alone for a while since they failed."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Protocol

import aiohttp

from sublet_hub.domain.models import Model, Upstream
from sublet_hub.gateway import metrics
from sublet_hub.gateway.errors import ModelAway
from sublet_hub.gateway.places import Address
from sublet_hub.settings import SettingsError

log = logging.getLogger(__name__)

CONNECT_SECONDS = 5.0
KEEP_SECONDS = 3.0
"""How long an unused connection is kept: less than any server keeps it, so that no call goes into a closing one."""
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0
LOOK_SECONDS = 5.0
LOOK_TIMEOUT = aiohttp.ClientTimeout(total=5)
CONNECTIONS_MAX = 2_000
COUNTS_RUNNING = "vllm"
"""What vLLM calls itself in `owned_by` of its models: its streams can tell the counts so far with each event."""


class Started(Protocol):
    """A model's server that was started for calls, and ends when there are none, or its lease ends."""

    @property
    def address(self) -> Address:
        """Where it listens."""

    @property
    def takes_calls(self) -> bool:
        """Whether new calls may go to it."""

    def call_ended(self) -> None: ...


class Starter(Protocol):
    """Starts models' servers when they are needed."""

    async def server_of(self, model: Model, upstream: Upstream) -> Started:
        """One that takes a call now, which counts on it until `call_ended`. ModelAway where there is none to be
        had."""


@dataclass(eq=False)
class Server:
    """One server of one model."""

    model: Model
    upstream: Upstream
    number: int
    session: aiohttp.ClientSession
    headers: Mapping[str, str]
    running: int = 0
    counts_running: bool = False
    """Whether its streams can tell how many tokens there are so far."""
    pause_seconds: float = FIRST_PAUSE_SECONDS
    down_until: float = 0.0
    doubtful_until: float = 0.0
    is_known: bool = field(default=False)
    """Whether it was asked what it is."""
    started: Started | None = None
    """What was started, where it is such a one; None until then. Another one in its place is another Server."""

    @property
    def is_cold(self) -> bool:
        """Whether it would have to be started for a call."""
        return self.upstream.start is not None and (self.started is None or not self.started.takes_calls)

    @property
    def base(self) -> str:
        if self.started is not None and isinstance(self.started.address, str):
            return f"{self.started.address}/v1"
        return self.upstream.url or "http://localhost/v1"  # of a socket the name means nothing

    @property
    def names(self) -> tuple[str, ...]:
        """What it may call the model in its answers. Transformers' server adds the revision."""
        return (self.upstream.model, f"{self.upstream.model}@main")

    def stumbled(self, kind: str, now: float) -> None:
        """It failed one call, which may have been that call's fault: for a while, others come first."""
        metrics.UPSTREAM_FAILURES.labels(self.model.name, kind).inc()
        self.doubtful_until = now + LONGEST_PAUSE_SECONDS

    def fell(self, kind: str, now: float) -> None:
        """It can't be reached, as the next call couldn't either: leave it alone for a while, ever longer."""
        metrics.UPSTREAM_FAILURES.labels(self.model.name, kind).inc()
        if self.down_until <= now:
            log.warning(
                "server %d of %s failed (%s); next try in %.0f s",
                self.number,
                self.model.name,
                kind,
                self.pause_seconds,
            )
            self.down_until = now + self.pause_seconds
            self.pause_seconds = min(2 * self.pause_seconds, LONGEST_PAUSE_SECONDS)
        metrics.UPSTREAM_UP.labels(self.model.name, str(self.number)).set(0)

    def works(self) -> None:
        if self.pause_seconds != FIRST_PAUSE_SECONDS:
            self.down_until, self.pause_seconds = 0.0, FIRST_PAUSE_SECONDS
            metrics.UPSTREAM_UP.labels(self.model.name, str(self.number)).set(1)


class Servers:
    """All servers of all models of the catalogue."""

    def __init__(
        self, models: Sequence[Model], starter: Starter, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._starter = starter
        self._monotonic = monotonic
        self._shared = _session(_connector_to(None))
        self._replaced: list[Server] = []
        self._servers = {model.name: [self._server(model, number) for number in _numbers(model)] for model in models}

    async def close(self) -> None:
        there = [each for servers in self._servers.values() for each in servers]
        for session in {self._shared, *(each.session for each in (*there, *self._replaced))}:
            await session.close()

    async def pick(self, model: Model, tried: Sequence[Server]) -> Server:
        """The least busy server that can be reached and was not tried. One is started only where no other is there.
        ModelAway where there is none left."""
        now = self._monotonic()
        numbers = {each.number for each in tried}
        left = [each for each in self._servers[model.name] if each.number not in numbers]
        up = [each for each in left if each.is_cold or each.down_until <= now]
        refusal: ModelAway | None = None
        for chosen in sorted(
            up, key=lambda each: (each.is_cold, each.doubtful_until > now, each.running, each.number)
        ):
            if chosen.upstream.start is None:
                return chosen
            try:
                return await self._started(chosen)
            except ModelAway as error:
                refusal = refusal or error
        raise refusal or self._none_left(model, now)

    def _none_left(self, model: Model, now: float) -> ModelAway:
        back = min((each.down_until for each in self._servers[model.name]), default=now)
        wait = max(1.0, back - now)
        return ModelAway(
            f"No server of {model.name} answers just now. Try again shortly.",
            retry_at_ms=round((time.time() + wait) * 1000),
        )

    def ended(self, server: Server) -> None:
        """A call of it has ended."""
        server.running -= 1
        if server.started is not None:
            server.started.call_ended()

    async def watch(self) -> None:
        """Look, for ever, at servers that failed, so that they are used again soon; and at new ones for what they
        are."""
        while True:
            await asyncio.gather(*(self._look(each) for each in self._to_look_at()))
            await self._close_replaced()
            await asyncio.sleep(LOOK_SECONDS)

    def _to_look_at(self) -> list[Server]:
        there = [each for servers in self._servers.values() for each in servers if each.upstream.start is None]
        return [each for each in there if not each.is_known or each.pause_seconds != FIRST_PAUSE_SECONDS]

    async def _look(self, server: Server) -> None:
        """Ask for its models: any answer but a failure says that it works."""
        try:
            async with server.session.get(
                f"{server.base}/models", headers=server.headers, timeout=LOOK_TIMEOUT
            ) as answer:
                said = await answer.content.read(2**20)
        except (aiohttp.ClientError, TimeoutError, OSError):
            server.fell("connect", self._monotonic())
            return
        if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            server.fell("status", self._monotonic())
            return
        server.is_known = True
        server.counts_running = b'"owned_by":"' + COUNTS_RUNNING.encode() in said.replace(b" ", b"")
        server.works()

    async def _started(self, server: Server) -> Server:
        """The server itself, or the one that was started in its place."""
        started = await self._starter.server_of(server.model, server.upstream)
        servers = self._servers[server.model.name]
        there = servers[server.number]
        if there.started is started:
            return there
        self._replaced.append(there)  # calls that run on it go on
        connector = _connector_to(started.address)
        fresh = Server(
            server.model, server.upstream, server.number, _session(connector), server.headers, started=started
        )
        fresh.counts_running = server.upstream.start == COUNTS_RUNNING
        servers[server.number] = fresh
        return fresh

    async def _close_replaced(self) -> None:
        for each in [each for each in self._replaced if each.running == 0]:
            self._replaced.remove(each)
            if each.session is not self._shared:
                await each.session.close()

    def _server(self, model: Model, number: int) -> Server:
        assert model.serving is not None
        upstream = model.serving.upstreams[number]
        metrics.UPSTREAM_UP.labels(model.name, str(number)).set(1)
        return Server(model, upstream, number, self._shared, _headers(model, upstream))


def _numbers(model: Model) -> range:
    assert model.serving is not None
    return range(len(model.serving.upstreams))


def _headers(model: Model, upstream: Upstream) -> dict[str, str]:
    """What goes with every call: never anything that a caller sent."""
    headers = {"Content-Type": "application/json", "Accept-Encoding": "identity", "User-Agent": "sublet-gateway"}
    if upstream.api_key_variable is not None:
        key = os.environ.get(upstream.api_key_variable, "")
        if not key:
            raise SettingsError(
                f"The model {model.name} needs the key of its server in the environment: {upstream.api_key_variable}."
            )
        headers["Authorization"] = f"Bearer {key}"
    return headers


def _connector_to(address: Address | None) -> aiohttp.BaseConnector:
    """Connections to one server's socket, or to whichever addresses are asked for."""
    if isinstance(address, Path):
        return aiohttp.UnixConnector(str(address), limit=CONNECTIONS_MAX, keepalive_timeout=KEEP_SECONDS)
    return aiohttp.TCPConnector(limit=CONNECTIONS_MAX, keepalive_timeout=KEEP_SECONDS)


def _session(connector: aiohttp.BaseConnector) -> aiohttp.ClientSession:
    """No cookies, no redirects followed to where a server sends us, no proxies from the environment."""
    return aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False, auto_decompress=False
    )

"""The api in this process: its app on the memory store, a fake hub, clocks that tests turn."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from sublet_hub.api.app import Options, create_app
from sublet_hub.api.asking import Api
from sublet_hub.domain import accounts
from sublet_hub.domain.accounts import Subject
from sublet_hub.domain.admission import LeaseRequest
from sublet_hub.domain.flavors import Tier
from sublet_hub.domain.lease import Lease
from sublet_hub.storage import leasing, metering
from sublet_hub.storage.books import Books
from sublet_hub.storage.memory import MemoryStore
from sublet_hub.storage.store import Store
from tests.api.fake_hub import FakeHub
from tests.fixtures.books import TurnedClock, books, limit
from tests.fixtures.stores import postgres_server, postgres_url, sqlite_url, store, store_url

__all__ = ["postgres_server", "postgres_url", "sqlite_url", "store", "store_url"]

API = "/services/sublet/api"
QUOTAS = "/hub/api/quotas"


@dataclass
class Running:
    """An api to ask, and what is behind it."""

    app: FastAPI
    http: httpx.AsyncClient
    hub: FakeHub
    books: Books
    clock: TurnedClock
    seconds: list[float]
    """The monotonic clock of the caches; turn it by changing its one item."""

    @property
    def api(self) -> Api:
        api = self.app.state.api
        assert isinstance(api, Api)
        return api

    async def ask(
        self, method: str, path: str, token: str | None = None, headers: Mapping[str, str] | None = None, **more: Any
    ) -> httpx.Response:
        shown = {} if token is None else {"Authorization": f"token {token}"}
        return await self.http.request(method, path, headers={**shown, **(headers or {})}, **more)

    def lease(self, user: str = "alice", account: Subject | None = None, *, start: bool = True, **more: Any) -> Lease:
        """A lease as a spawner would get it, running unless not to be started."""
        wanted = LeaseRequest(
            user=user,
            account=account or accounts.user(user),
            flavor=more.pop("flavor", "gpu-1x"),
            tier=Tier.GUARANTEED,
            groups=("lab",),
            **more,
        )
        granted = leasing.request(self.books, wanted, actor="service:sublet-spawner")
        return metering.start(self.books, granted.id, self.clock.now_ms()) if start else granted


@pytest.fixture
async def platform() -> AsyncIterator[Running]:
    async with running(MemoryStore()) as made:
        yield made


@asynccontextmanager
async def running(on: Store, **more: Any) -> AsyncIterator[Running]:
    """A platform whose default quota is ten GPU-hours a day, four GPUs, eight leases. `more`: the app's options."""
    clock, hub, seconds = TurnedClock(), FakeHub(), [1000.0]
    kept = books(on, clock)
    limit(kept, gpu_seconds=(36000, "day"), gpus=4, leases=8)
    client = hub.client()
    options = Options(session_key=b"k" * 32, monotonic=lambda: seconds[0], **more)
    app = create_app(kept, client, options)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as http:
        yield Running(app, http, hub, kept, clock, seconds)
    await client.close()


def problem(response: httpx.Response, status: int, type_name: str) -> dict[str, Any]:
    """The problem document of an answer that must be one."""
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json"), (
        response.text
    )
    document: dict[str, Any] = response.json()
    assert document["type"] == f"https://sublet.dev/problems/{type_name}", document
    assert document["status"] == status
    assert document["title"]
    assert document["detail"].endswith((".", "…"))
    assert document["instance"] == response.request.url.path
    return document

"""The extension against the real api: the two share nothing but HTTP, so a difference would show here."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from sublet.asking import Surroundings
from sublet_hub.domain.lease import Lease
from sublet_server.gpus import GpuSample
from sublet_server.minutes import MINUTE_SECONDS, Minute
from sublet_server.outbox import Outbox
from sublet_server.platform_api import PlatformApi
from tests.extension.server.jupyter import PYTHON, jupyter
from tests.extension.server.stand_in import moment
from tests.fixtures.api_platform import ApiPlatform, api_platform
from tests.fixtures.books import limit

API = "/services/sublet/api"


@pytest.fixture
def platform() -> Iterator[ApiPlatform]:
    with api_platform() as running:
        limit(running.books, gpu_seconds=(36000, "week"), gpus=2)
        yield running


@pytest.fixture
def lease(platform: ApiPlatform) -> Lease:
    return platform.lease("alice", ago_ms=600_000)


def read(platform: ApiPlatform, path: str) -> object:
    headers = {"Authorization": "token alice-token"}
    return httpx.get(f"{platform.url}{API}{path}", headers=headers).raise_for_status().json()


async def test_its_records_are_taken(platform: ApiPlatform, lease: Lease, tmp_path: Path) -> None:
    now = time.time()
    minute = Minute(now - now % MINUTE_SECONDS - MINUTE_SECONDS, is_whole=True)
    minute.saw_kernels(3, {"a", "b"})
    minute.saw_gpus((GpuSample("GPU-1", 40, 2**33, 2**36, ()), GpuSample("MIG-1", None, 2**32, 2**35, ())))
    record = minute.record()
    api = PlatformApi(Surroundings(platform.url + API, "alice-token", lease.id))
    outbox = Outbox(api, tmp_path / "records.jsonl", 10, logging.getLogger("test"))
    outbox.put(record)
    async with asyncio.timeout(30):
        await outbox.drain()
    assert await asyncio.to_thread(read, platform, f"/leases/{lease.id}/activity") == [record]


@pytest.mark.slow
def test_a_server_and_its_lease(platform: ApiPlatform, lease: Lease, tmp_path: Path) -> None:
    if not PYTHON.exists():
        pytest.skip("no .venv-notebook: run `make setup`")
    environment = {
        "SUBLET_API_URL": platform.url + API, "SUBLET_LEASE_ID": lease.id, "JUPYTERHUB_API_TOKEN": "alice-token",
    }  # fmt: skip
    with jupyter(tmp_path, environment) as server:
        state = server.until(lambda state: state["connected"])
        assert state["lease"]["id"] == lease.id
        before = state["lease"]["deadline_at"]
        assert server.client.get("sublet/quota").json()["user"] == "alice"
        assert server.client.get("sublet/flavors").status_code == 200
        at = moment(1800)
        assert server.client.post("sublet/stop", json={"at": at}).raise_for_status().json()["deadline_at"] == at
        state = server.until(lambda state: state["lease"]["deadline_at"] == at)
        assert state["lease"]["deadline_reason"] == "user"
        assert state["accepting"]
        server.client.post("sublet/keep", json={}).raise_for_status()
        server.until(lambda state: state["lease"]["deadline_at"] == before)
        admin = {"Authorization": "token root-token"}
        httpx.post(f"{platform.url}{API}/leases/{lease.id}/stop", headers=admin, json={}).raise_for_status()
        state = server.until(lambda state: state["notices"])
        assert state["notices"][0]["reason"] == "admin"
        assert server.client.post("sublet/stop", json={}).status_code == 200
        server.until(lambda state: state["ending"])
        assert server.client.post("api/kernels").status_code == 409

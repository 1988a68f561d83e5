"""The idle end of a Dask worker's lease: a spawner plans it, with notice, and takes it back; so may its user."""

from __future__ import annotations

from typing import Any

from sublet_hub.storage import metering
from tests.api.conftest import API, Running
from tests.api.test_leases import ask_for


async def a_worker(platform: Running, **changes: Any) -> str:

    granted = (await ask_for(platform, kind="worker", server_name="c" * 32, **changes)).json()
    metering.start(platform.books, granted["id"], platform.clock.now_ms())
    return str(granted["id"])


async def stop(platform: Running, lease: str, who: str, **body: object) -> Any:
    return await platform.ask("POST", f"{API}/leases/{lease}/stop", who, json=body)


async def test_a_spawner_plans_the_idle_end_of_a_worker_with_notice_and_takes_it_back(platform: Running) -> None:
    lease = await a_worker(platform)
    before = (await platform.ask("GET", f"{API}/leases/{lease}", "alice")).json()
    planned = (await stop(platform, lease, "spawner", reason="idle", why="computes nothing")).json()
    assert (planned["state"], planned["deadline_reason"]) == ("active", "idle")
    assert planned["deadline_at"] < before["deadline_at"]
    notices = (await platform.ask("GET", f"{API}/notices?lease={lease}", "alice")).json()
    assert [each["reason"] for each in notices] == ["idle"]
    again = (await stop(platform, lease, "spawner", reason="idle")).json()
    assert again["deadline_at"] == planned["deadline_at"]
    kept = (await platform.ask("POST", f"{API}/leases/{lease}/keep", "spawner", json={"why": "in use"})).json()
    assert (kept["deadline_at"], kept["deadline_reason"]) == (before["deadline_at"], before["deadline_reason"])


async def test_its_user_keeps_it_and_may_not_call_it_idle(platform: Running) -> None:
    lease = await a_worker(platform)
    assert (await stop(platform, lease, "alice", reason="idle")).status_code == 403
    await stop(platform, lease, "spawner", reason="idle")
    kept = await platform.ask("POST", f"{API}/leases/{lease}/keep", "alice", json={})
    assert (kept.status_code, kept.json()["deadline_reason"] == "idle") == (200, False)


async def test_a_server_is_not_for_spawners_to_call_idle_or_to_keep(platform: Running) -> None:
    lease = platform.lease().id
    assert (await stop(platform, lease, "spawner", reason="idle")).status_code == 403
    assert (await platform.ask("POST", f"{API}/leases/{lease}/keep", "spawner", json={})).status_code == 403

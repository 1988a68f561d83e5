"""Stopping at a moment, and keeping a lease after all, over HTTP."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sublet_hub.domain import accounts
from sublet_hub.domain.activity import MINUTE_MS, Activity, GpuUse
from sublet_hub.domain.flavors import IdlePolicy, Tier
from sublet_hub.domain.keeping import MOST_STOPS
from sublet_hub.domain.lease import EndReason
from sublet_hub.storage import activity, leasing, metering, planned
from tests.api.conftest import API, Running, problem
from tests.fixtures.books import limit
from tests.fixtures.factories import HOUR

AT_ONE = "2027-01-15T01:00:00.000Z"
AT_TWO = "2027-01-15T02:00:00.000Z"
LOOP: list[tuple[str, dict[str, str]]] = [("stop", {"at": AT_TWO}), ("keep", {})]


async def post(platform: Running, lease_id: str, what: str, token: str = "alice", **body: Any) -> Any:
    return await platform.ask("POST", f"{API}/leases/{lease_id}/{what}", token, json=body)


async def test_a_user_stops_at_a_moment_and_keeps_it_after_all(platform: Running) -> None:
    lease = platform.lease("alice")
    before = (await platform.ask("GET", f"{API}/leases/{lease.id}", "alice")).json()
    stopping = await post(platform, lease.id, "stop", at="2027-01-15T02:00:00+01:00", why="lunch")
    assert stopping.status_code == 200, stopping.text
    shown = stopping.json()
    assert (shown["state"], shown["deadline_at"], shown["deadline_reason"]) == ("active", AT_ONE, "user")
    assert shown["deadline_limit"] is None
    assert (await platform.ask("GET", f"{API}/notices", "alice")).json() == []
    kept = await post(platform, lease.id, "keep")
    assert kept.status_code == 200, kept.text
    assert kept.json() == {name: value for name, value in before.items() if name != "devices"}
    records = (await platform.ask("GET", f"{API}/audit?lease={lease.id}", "alice")).json()
    assert [(each["action"], each["actor"], each["reason"]) for each in records[:2]] == [
        ("lease.kept", "user:alice", ""), ("lease.stopped", "user:alice", "lunch"),
    ]  # fmt: skip


async def test_planning_in_a_loop_leaves_a_bounded_record(platform: Running) -> None:
    lease, other = platform.lease("alice"), platform.lease("alice", server_name="other")
    answers = [await post(platform, lease.id, what, **body) for what, body in LOOP * (MOST_STOPS + 2)]
    assert [each.status_code for each in answers[: 2 * MOST_STOPS]] == [200, 200] * MOST_STOPS
    document = problem(answers[2 * MOST_STOPS], 429, "too-many-changes")
    assert document["retry_at"] == AT_ONE
    problem(answers[2 * MOST_STOPS + 1], 409, "deadline-stands")
    audit = f"{API}/audit?lease={lease.id}&limit=200"
    assert len((await platform.ask("GET", audit, "alice")).json()) <= 2 * MOST_STOPS + 2  # granted and started too
    assert (await post(platform, other.id, "stop", at=AT_TWO)).status_code == 200
    platform.clock.turn(HOUR)
    assert (await post(platform, lease.id, "stop", at=AT_TWO)).status_code == 200
    assert (await post(platform, lease.id, "stop")).status_code == 200


async def test_a_moment_that_can_not_be(platform: Running) -> None:
    lease = platform.lease("alice")
    for at in ("2027-01-14T23:59:59Z", "2027-01-15T00:00:00Z", "2027-01-15T10:00:00Z", "9999-01-01T00:00:00Z", "now"):
        assert problem(await post(platform, lease.id, "stop", at=at), 422, "invalid-request")["field"] == "at"
    assert (await platform.ask("GET", f"{API}/leases/{lease.id}", "alice")).json()["deadline_reason"] == "quota"


@pytest.mark.parametrize("token", ["boss", "spawner"])
async def test_only_its_user_plans_or_keeps(platform: Running, token: str) -> None:
    lease = platform.lease("alice")
    problem(await post(platform, lease.id, "stop", token, at=AT_ONE), 403, "not-allowed")
    problem(await post(platform, lease.id, "keep", token), 403, "not-allowed")
    problem(await post(platform, lease.id, "stop", "bob", at=AT_ONE), 404, "not-found")
    problem(await post(platform, lease.id, "keep", "bob"), 404, "not-found")
    problem(await post(platform, lease.id, "stop", at=AT_ONE, reason="user"), 403, "not-allowed")


async def test_a_limit_stands_and_is_named(platform: Running) -> None:
    lease = platform.lease("alice")
    document = problem(await post(platform, lease.id, "keep"), 409, "deadline-stands")
    assert document["limit"] == {"what": "gpu_seconds", "limit": 36000, "window": "day", "flavor": None}
    assert (document["subject"], document["retry_at"]) == ("user:alice", "2027-01-16T00:00:00.000Z")
    assert "36000 GPU-seconds (day) of user:alice" in document["detail"]
    limit(platform.books, accounts.user("alice"), lease_seconds=60)
    document = problem(await post(platform, lease.id, "keep"), 409, "deadline-stands")
    assert document["limit"]["what"] == "lease_seconds"


async def test_an_admins_stop_stands(platform: Running) -> None:
    lease = platform.lease("alice")
    await post(platform, lease.id, "stop", "boss")
    assert "An admin" in problem(await post(platform, lease.id, "keep"), 409, "deadline-stands")["detail"]
    assert (await post(platform, lease.id, "stop", at="2027-01-15T00:03:00Z")).status_code == 200
    kept = (await post(platform, lease.id, "keep")).json()
    assert (kept["deadline_at"], kept["deadline_reason"]) == ("2027-01-15T00:05:00.000Z", "admin")


async def test_what_is_stopping_or_over_is_not_kept(platform: Running) -> None:
    lease = platform.lease("alice")
    await post(platform, lease.id, "stop", at=AT_ONE)
    platform.clock.turn(HOUR - 1000)
    problem(await post(platform, lease.id, "keep"), 409, "conflict")
    metering.end(platform.books, lease.id, lease.started_at_ms or 0, platform.clock.turn(1000), EndReason.USER)
    problem(await post(platform, lease.id, "keep"), 409, "conflict")
    problem(await post(platform, lease.id, "stop", at="2027-01-15T02:00:00Z"), 409, "conflict")


async def test_an_idle_leases_end_is_told_and_kept_off(platform: Running) -> None:
    catalog = platform.books.catalog
    pool = replace(catalog.pools["gpu"], idle=IdlePolicy(5, tiers=frozenset(Tier)))
    of = replace(platform.books, catalog=replace(catalog, pools={**catalog.pools, "gpu": pool}))
    lease = platform.lease("alice")
    for _ in range(5):
        at_ms = platform.clock.turn(MINUTE_MS)
        activity.report(of, lease.id, [Activity(at_ms, 60, (GpuUse("SIM-0", 0, 0, 1),), 1, 0)])
    planned.settle_idleness(of, lease.id)
    (notice,) = (await platform.ask("GET", f"{API}/notices?current=true", "alice")).json()
    assert (notice["reason"], notice["lead_seconds"], notice["deadline_at"]) == (
        "idle",
        300,
        "2027-01-15T00:10:00.000Z",
    )
    kept = (await post(platform, lease.id, "keep")).json()
    assert kept["deadline_reason"] == "quota"
    assert (await platform.ask("GET", f"{API}/notices?current=true", "alice")).json() == []


async def test_pools_tell_their_policy(platform: Running) -> None:
    pools = platform.books.catalog.pools
    assert isinstance(pools, dict)
    pools["gpu"] = replace(pools["gpu"], idle=IdlePolicy(30))
    shown = {each["name"]: each["idle"] for each in (await platform.ask("GET", f"{API}/pools", "bob")).json()}
    told = {"after_minutes": 30, "utilisation_percent": 5, "memory_percent": 10, "tiers": ["surplus"]}
    assert shown == {"gpu": told, "mig": None, "cpu": None}


async def test_stopping_now_is_no_plan(platform: Running) -> None:
    lease = platform.lease("alice")
    await post(platform, lease.id, "stop")
    problem(await post(platform, lease.id, "keep"), 409, "conflict")
    with platform.books.store.transaction(write=False) as tx:
        assert leasing.stored(tx, lease.id).planned == ()

"""The quota resource: reading, setting, changing and removing, and what it does to running leases."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.conftest import API, QUOTAS, Running, problem

TEN_HOURS = {"what": "gpu_seconds", "limit": 36000, "window": "day"}


async def test_a_quota_that_was_set_is_read_back_with_its_use(platform: Running) -> None:
    body = {"limits": [TEN_HOURS, {"what": "gpus", "limit": 1}], "time_zone": "Europe/Berlin", "why": "a test"}
    written = await platform.ask("PUT", f"{QUOTAS}/users/alice", "admin", json=body)
    assert written.status_code == 200
    assert written.json()["leases"] == []
    platform.lease()
    platform.clock.turn(1500)
    read = (await platform.ask("GET", f"{QUOTAS}/users/alice", "alice")).json()
    assert read == {
        "subject": "user:alice",
        "own": True,
        "time_zone": "Europe/Berlin",
        "limits": [
            {
                "what": "gpu_seconds", "limit": 36000, "window": "day", "flavor": None, "used": 0, "held": 600,
                "left": 35400, "resets_at": "2027-01-15T23:00:00.000Z",
            },
            {
                "what": "gpus", "limit": 1, "window": None, "flavor": None, "used": 1, "held": 0, "left": 0,
                "resets_at": None,
            },
        ],
    }  # fmt: skip


async def test_a_reading_can_be_sent_back(platform: Running) -> None:
    reading = (await platform.ask("GET", f"{QUOTAS}/users/alice", "admin")).json()
    assert reading["own"] is False
    written = await platform.ask("PUT", f"{QUOTAS}/users/alice", "admin", json=reading)
    assert written.status_code == 200, written.text
    again = written.json()
    again_written = await platform.ask("PUT", f"{QUOTAS}/users/alice", "admin", json=again)
    assert again_written.json() == {**reading, "own": True, "leases": []}


async def test_patch_starts_from_the_default_and_replaces_adds_and_removes(platform: Running) -> None:
    body = {
        "limits": [
            {"what": "gpus", "limit": 2},
            {"what": "leases", "limit": None},
            {"what": "lease_seconds", "limit": 60},
        ]
    }
    patched = await platform.ask("PATCH", f"{QUOTAS}/groups/lab", "boss", json=body)
    limits = {(each["what"], each["limit"]) for each in patched.json()["limits"]}
    assert limits == {("gpu_seconds", 36000), ("gpus", 2), ("lease_seconds", 60)}
    assert patched.json()["subject"] == "group:lab"


async def test_lowering_a_quota_gives_a_running_lease_notice_and_raising_moves_it_out(platform: Running) -> None:
    lease = platform.lease()
    low = {"limits": [{"what": "gpu_seconds", "limit": 700, "window": "day"}]}
    moved = (await platform.ask("PUT", f"{QUOTAS}/users/alice", "admin", json=low)).json()["leases"]
    assert [each["id"] for each in moved] == [lease.id]
    assert moved[0]["deadline_reason"] == "quota"
    assert moved[0]["deadline_limit"]["limit"] == 700
    high = {"limits": [{"what": "gpu_seconds", "limit": 7000, "window": "day"}]}
    raised = (await platform.ask("PUT", f"{QUOTAS}/users/alice", "admin", json=high)).json()["leases"]
    assert raised[0]["deadline_at"] > moved[0]["deadline_at"]


async def test_a_removed_quota_gives_way_to_the_default(platform: Running) -> None:
    await platform.ask("PUT", f"{QUOTAS}/users/alice", "admin", json={"limits": []})
    removed = await platform.ask("DELETE", f"{QUOTAS}/users/alice", "admin")
    assert (removed.status_code, removed.content) == (204, b"")
    assert (await platform.ask("GET", f"{QUOTAS}/users/alice", "admin")).json()["own"] is False
    again = await platform.ask("DELETE", f"{QUOTAS}/users/alice", "admin")
    assert problem(again, 404, "not-found")["field"] == "name"


async def test_without_any_quota_reading_says_so(platform: Running) -> None:
    assert (await platform.ask("DELETE", f"{QUOTAS}/default", "admin")).status_code == 204
    problem(await platform.ask("GET", f"{QUOTAS}/default", "admin"), 403, "no-quota")
    problem(await platform.ask("GET", f"{QUOTAS}/users/alice", "alice"), 403, "no-quota")
    problem(await platform.ask("GET", f"{QUOTAS}/users/nobody", "admin"), 404, "not-found")
    assert (await platform.ask("GET", f"{API}/quota", "alice")).json()["accounts"] == []


@pytest.mark.parametrize(
    ("path", "there"),
    [
        ("users/alice", True),
        ("users/a%20b%2F%C3%BC", False),  # a slash is no part of a user's name in the hub; it ends the segment
        ("users/nobody", False),
        ("groups/lab", True),
        ("groups/%2Fdeep%2Fer", True),
        ("groups/nothing", False),
    ],
)
async def test_only_names_that_the_hub_knows_have_quotas(platform: Running, path: str, *, there: bool) -> None:
    for method in ("GET", "PUT", "PATCH"):
        body: dict[str, Any] = {} if method == "GET" else {"json": {"limits": []}}
        response = await platform.ask(method, f"{QUOTAS}/{path}", "admin", **body)
        if there:
            assert response.status_code == 200, response.text
        else:
            problem(response, 404, "not-found")


async def test_a_quota_outlives_its_user_and_can_still_be_read_and_removed(platform: Running) -> None:
    await platform.ask("PUT", f"{QUOTAS}/users/bob", "admin", json={"limits": []})
    del platform.hub.users["bob"]
    platform.seconds[0] += 60
    assert (await platform.ask("GET", f"{QUOTAS}/users/bob", "admin")).status_code == 200
    problem(await platform.ask("PUT", f"{QUOTAS}/users/bob", "admin", json={"limits": []}), 404, "not-found")
    assert (await platform.ask("DELETE", f"{QUOTAS}/users/bob", "admin")).status_code == 204


async def test_a_group_made_a_moment_after_it_was_missed_is_found_at_once(platform: Running) -> None:
    problem(await platform.ask("PUT", f"{QUOTAS}/groups/new", "admin", json={"limits": []}), 404, "not-found")
    platform.hub.groups.add("new")
    assert (await platform.ask("PUT", f"{QUOTAS}/groups/new", "admin", json={"limits": []})).status_code == 200


@pytest.mark.parametrize("path", [QUOTAS, f"{QUOTAS}/", f"{API}/quotas", f"{API}/quotas/"])
async def test_the_list_has_the_default_first_and_is_at_every_address(platform: Running, path: str) -> None:
    for name in ("groups/lab", "users/bob", "users/alice"):
        await platform.ask("PUT", f"{QUOTAS}/{name}", "admin", json={"limits": []})
    listed = await platform.ask("GET", path, "reader")
    assert [each["subject"] for each in listed.json()] == ["default", "group:lab", "user:alice", "user:bob"]


async def test_every_change_is_audited_with_actor_before_after_and_why(platform: Running) -> None:
    await platform.ask("PUT", f"{API}/quotas/users/alice", "boss", json={"limits": [], "why": "for the paper"})
    record = (await platform.ask("GET", f"{API}/audit?subject=user:alice", "boss")).json()[0]
    assert record["actor"] == "user:boss"
    assert record["action"] == "quota.set"
    assert (record["before"], record["reason"]) == (None, "for the paper")
    assert record["after"] == {"limits": [], "time_zone": "UTC"}


@pytest.mark.parametrize("address", [QUOTAS, f"{API}/quotas"])
@pytest.mark.parametrize(
    ("method", "name", "allowed"),
    [
        ("GET", "users/alice", {"alice", "boss", "admin", "reader"}),
        ("GET", "users/bob", {"bob", "boss", "admin", "reader"}),
        ("GET", "groups/lab", {"alice", "boss", "admin", "reader"}),
        ("GET", "default", {"boss", "admin", "reader"}),
        ("GET", "", {"boss", "admin", "reader"}),
        ("PUT", "users/alice", {"boss", "admin"}),
        ("PATCH", "groups/lab", {"boss", "admin"}),
        ("PUT", "default", {"boss", "admin"}),
        ("DELETE", "default", {"boss", "admin"}),
    ],
)
async def test_who_may(platform: Running, address: str, method: str, name: str, allowed: set[str]) -> None:
    body: dict[str, Any] = {"json": {"limits": []}} if method in {"PUT", "PATCH"} else {}
    for token in ("alice", "bob", "reader", "spawner"):
        response = await platform.ask(method, f"{address}/{name}", token, **body)
        if token in allowed:
            assert response.status_code == 200, (token, response.text)
        else:
            problem(response, 403, "not-allowed")
    for token in allowed & {"boss", "admin"}:
        response = await platform.ask(method, f"{address}/{name}", token, **body)
        assert response.status_code in {200, 204, 404}, (token, response.text)

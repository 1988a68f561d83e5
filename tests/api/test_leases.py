"""Leases: asking, refusals, who sees which, stopping."""

from __future__ import annotations

from typing import Any

import pytest

from sublet_hub.domain import accounts
from sublet_hub.domain.lease import EndReason
from sublet_hub.storage import metering
from tests.api.conftest import API, Running, problem
from tests.fixtures.books import limit
from tests.fixtures.factories import HOUR

WANTED: dict[str, Any] = {
    "user": "alice",
    "groups": ["lab"],
    "account": "user:alice",
    "flavor": "gpu-2x",
    "tier": "surplus",
    "kind": "notebook",
    "server_name": "",
}


async def ask_for(platform: Running, **changes: Any) -> Any:
    return await platform.ask("POST", f"{API}/leases", "spawner", json={**WANTED, **changes})


async def test_a_granted_lease_has_devices_a_hold_and_a_deadline(platform: Running) -> None:
    response = await ask_for(platform)
    assert response.status_code == 201
    lease = response.json()
    assert (lease["state"], lease["devices"], lease["held_seconds"]) == ("granted", ["SIM-0", "SIM-1"], 600)
    assert (lease["gpus_milli"], lease["simulated"], lease["currency"]) == (2000, True, "USD")
    assert lease["deadline_at"] == "2027-01-15T04:59:59.000Z"  # 36,000 GPU-seconds on two GPUs, less the margin
    assert lease["deadline_limit"] == {
        "subject": "user:alice", "what": "gpu_seconds", "limit": 36000, "window": "day", "flavor": None,
        "resets_at": "2027-01-16T00:00:00.000Z",
    }  # fmt: skip


async def test_of_an_open_lease_use_is_shown_up_to_now(platform: Running) -> None:
    lease = platform.lease(flavor="mig-1x")
    platform.clock.turn(HOUR)
    shown = (await platform.ask("GET", f"{API}/leases/{lease.id}", "alice")).json()
    assert (shown["gpu_seconds"], shown["cost_microunits"], shown["gpus_milli"]) == (514, 285714, 143)
    metering.end(platform.books, lease.id, platform.clock.now_ms() - HOUR, platform.clock.now_ms(), EndReason.USER)
    platform.clock.turn(HOUR)
    ended = (await platform.ask("GET", f"{API}/leases/{lease.id}", "alice")).json()
    assert (ended["state"], ended["end_reason"], ended["gpu_seconds"]) == ("ended", "user", 514)


async def test_only_spawners_ask_for_leases(platform: Running) -> None:
    for token in ("alice", "boss", "admin", "reader"):
        problem(await platform.ask("POST", f"{API}/leases", token, json=WANTED), 403, "not-allowed")


async def test_a_refusal_names_the_binding_limit_and_is_audited_and_counted(platform: Running) -> None:
    limit(platform.books, accounts.user("alice"), gpu_seconds=(1, "day"))
    document = problem(await ask_for(platform), 403, "quota-exceeded")
    assert document["limit"] == {"what": "gpu_seconds", "limit": 1, "window": "day", "flavor": None}
    assert document["subject"] == "user:alice"
    assert document["retry_at"] == "2027-01-16T00:00:00.000Z"
    record = (await platform.ask("GET", f"{API}/audit?action=lease.refused", "alice")).json()[0]
    assert record["after"]["type"] == "quota-exceeded"
    metrics = (await platform.ask("GET", "/services/sublet/metrics")).text
    assert 'sublet_decisions_total{outcome="refused",reason="quota-exceeded"} 1.0' in metrics


async def test_every_kind_of_refusal(platform: Running) -> None:
    problem(await ask_for(platform, account="group:ops"), 403, "not-allowed")
    problem(await ask_for(platform, account="user:bob"), 403, "not-allowed")
    problem(await ask_for(platform, flavor="gpu-9x"), 404, "not-found")
    for name in ("a", "b"):
        assert (await ask_for(platform, server_name=name, user="bob", account="user:bob")).status_code == 201
    problem(await ask_for(platform, flavor="gpu-1x"), 409, "no-capacity")
    platform.clock.turn(20_000)
    problem(await ask_for(platform, flavor="cpu", tier="guaranteed"), 503, "meter-away")
    metering.beat(platform.books)
    await platform.ask("DELETE", "/hub/api/quotas/default", "admin")
    problem(await ask_for(platform, flavor="cpu", tier="guaranteed"), 403, "no-quota")


async def test_each_sees_what_concerns_them(platform: Running) -> None:
    mine, theirs = platform.lease("alice"), platform.lease("bob")
    for token, seen in (("alice", {mine.id}), ("boss", {mine.id, theirs.id}), ("spawner", {mine.id, theirs.id})):
        listed = await platform.ask("GET", f"{API}/leases", token)
        assert {each["id"] for each in listed.json()} == seen
    problem(await platform.ask("GET", f"{API}/leases?user=bob", "alice"), 403, "not-allowed")
    problem(await platform.ask("GET", f"{API}/leases/{theirs.id}", "alice"), 404, "not-found")
    problem(await platform.ask("GET", f"{API}/leases/{'0' * 32}", "boss"), 404, "not-found")
    for token, devices in (("alice", ["SIM-0"]), ("spawner", ["SIM-0"]), ("boss", None)):
        assert (await platform.ask("GET", f"{API}/leases/{mine.id}", token)).json()["devices"] == devices


async def test_filters(platform: Running) -> None:
    first = platform.lease("alice")
    platform.clock.turn(1000)
    second = platform.lease("alice", accounts.group("lab"), server_name="x", start=False)
    metering.end(platform.books, first.id, first.started_at_ms or 0, platform.clock.now_ms(), EndReason.EXITED)
    platform.clock.turn(1000)
    third = platform.lease("bob")

    async def found(query: str) -> list[str]:
        return [each["id"] for each in (await platform.ask("GET", f"{API}/leases?{query}", "reader")).json()]

    assert await found("") == [third.id, second.id, first.id]
    assert await found("user=alice") == [second.id, first.id]
    assert await found("account=group:lab") == [second.id]
    assert await found("state=ended") == [first.id]
    assert await found("state=granted&state=active") == [third.id, second.id]
    assert await found("since=2027-01-15T00:00:01.5Z") == [third.id, second.id]
    assert await found("since=2027-01-15T02:00:00.5%2B02:00") == [third.id, second.id, first.id]


@pytest.mark.parametrize(
    ("token", "body", "reason", "in_ms"),
    [
        ("alice", None, "user", 6_000),
        ("alice", {"why": "done"}, "user", 6_000),
        ("boss", {"why": "maintenance"}, "admin", 300_000),
        ("boss", {"immediately": True}, "admin", 6_000),
        ("spawner", {"reason": "shutdown"}, "shutdown", 6_000),
        ("spawner", {}, "user", 6_000),
    ],
)
async def test_stopping(platform: Running, token: str, body: Any, reason: str, in_ms: int) -> None:
    lease = platform.lease("alice")
    sent = {} if body is None else {"json": body}
    stopped = await platform.ask("POST", f"{API}/leases/{lease.id}/stop", token, **sent)
    assert stopped.status_code == 200, stopped.text
    shown = stopped.json()
    assert shown["deadline_reason"] == reason
    assert shown["state"] == ("active" if in_ms > platform.books.policy.stop_ms else "ending")
    kept = await platform.ask("GET", f"{API}/leases/{lease.id}", "alice")
    assert kept.json()["deadline_at"] == f"2027-01-15T00:0{in_ms // 60_000}:0{in_ms % 60_000 // 1000}.000Z"
    record = (await platform.ask("GET", f"{API}/audit?lease={lease.id}&action=lease.stopped", "alice")).json()[0]
    assert record["reason"] == (body or {}).get("why", "")


async def test_a_stop_at_once_can_only_bring_the_end_nearer(platform: Running) -> None:
    lease = platform.lease("alice")
    stop, given_ms = f"{API}/leases/{lease.id}/stop", platform.books.policy.stop_ms
    first = (await platform.ask("POST", stop, "alice", json={})).json()
    platform.clock.turn(given_ms // 2)
    assert (await platform.ask("POST", stop, "alice", json={})).json()["deadline_at"] == first["deadline_at"]
    assert (await platform.ask("POST", stop, "boss", json={})).json()["deadline_at"] == first["deadline_at"]


async def test_an_admin_who_stops_at_once_still_says_so(platform: Running) -> None:
    lease = platform.lease("alice")
    await platform.ask("POST", f"{API}/leases/{lease.id}/stop", "boss", json={"immediately": True})
    notices = (await platform.ask("GET", f"{API}/notices?current=true", "alice")).json()
    assert [(each["reason"], each["lead_seconds"]) for each in notices] == [("admin", 6)]


async def test_an_admins_stop_gives_notice(platform: Running) -> None:
    lease = platform.lease("alice")
    await platform.ask("POST", f"{API}/leases/{lease.id}/stop", "boss", json={})
    notices = (await platform.ask("GET", f"{API}/notices?current=true", "alice")).json()
    assert [(each["lease_id"], each["reason"], each["lead_seconds"]) for each in notices] == [
        (lease.id, "admin", 300)
    ]
    assert (await platform.ask("GET", f"{API}/notices", "bob")).json() == []
    assert len((await platform.ask("GET", f"{API}/notices?lease={lease.id}", "reader")).json()) == 1


async def test_who_may_not_stop(platform: Running) -> None:
    lease = platform.lease("alice")
    stop = f"{API}/leases/{lease.id}/stop"
    problem(await platform.ask("POST", stop, "bob", json={}), 404, "not-found")
    problem(await platform.ask("POST", stop, "reader", json={}), 403, "not-allowed")
    problem(await platform.ask("POST", stop, "alice", json={"reason": "shutdown"}), 403, "not-allowed")
    metering.end(platform.books, lease.id, lease.started_at_ms or 0, platform.clock.turn(1000), EndReason.EXITED)
    problem(await platform.ask("POST", stop, "alice", json={}), 409, "conflict")


async def test_offers_are_for_oneself_or_for_a_spawners_user(platform: Running) -> None:
    own = (await platform.ask("GET", f"{API}/flavors", "alice")).json()
    assert [each["flavor"] for each in own] == ["gpu-1x", "gpu-2x", "mig-1x", "cpu"]
    assert {each["account"] for each in own[0]["choices"]} == {"user:alice", "group:lab"}
    assert (own[1]["free"], own[3]["free"], own[1]["gpus"]) == (2, None, 2)
    assert own[1]["tiers"][0] == {
        "tier": "guaranteed", "price_microunits_per_gpu_hour": 2_000_000, "price_microunits_per_hour": 4_000_000,
    }  # fmt: skip
    choice = own[1]["choices"][0]
    assert choice.pop("fits_problem")["limit"]["what"] == "gpus"
    assert choice == {
        "account": "user:alice", "tier": "guaranteed", "available": True, "lasts_seconds": 18000, "held_seconds": 600,
        "problem": None, "fits": 2,
    }  # fmt: skip
    for_bob = await platform.ask("GET", f"{API}/flavors?user=bob&group=ops&group=lab", "spawner")
    assert {each["account"] for each in for_bob.json()[0]["choices"]} == {"user:bob", "group:ops", "group:lab"}
    problem(await platform.ask("GET", f"{API}/flavors?user=bob", "alice"), 403, "not-allowed")
    problem(await platform.ask("GET", f"{API}/flavors?group=ops", "alice"), 403, "not-allowed")
    problem(await platform.ask("GET", f"{API}/flavors", "spawner"), 422, "invalid-request")


async def test_an_offer_that_can_not_be_had_says_why(platform: Running) -> None:
    limit(platform.books, accounts.user("alice"), gpus=1)
    offers = (await platform.ask("GET", f"{API}/flavors", "alice")).json()
    choice = offers[1]["choices"][0]
    assert (choice["available"], choice["problem"]["type"].rpartition("/")[2]) == (False, "quota-exceeded")
    assert choice["problem"]["limit"]["what"] == "gpus"


async def test_own_quota_usage_and_pools(platform: Running) -> None:
    lease = platform.lease("alice", accounts.group("lab"))
    platform.clock.turn(HOUR)
    metering.post(platform.books, lease.id, platform.clock.now_ms())
    own = (await platform.ask("GET", f"{API}/quota", "alice")).json()
    assert [each["subject"] for each in own["accounts"]] == ["user:alice", "group:lab"]
    assert own["accounts"][1]["limits"][0]["used"] == 3600
    assert [each["id"] for each in own["leases"]] == [lease.id]
    used = (await platform.ask("GET", f"{API}/usage?account=group:lab&days=2", "alice")).json()
    assert (used["gpu_seconds"], used["cost_microunits"], used["time_zone"]) == (3600, 2_000_000, "UTC")
    assert [each["gpu_seconds"] for each in used["days"]] == [0, 3600]
    assert (await platform.ask("GET", f"{API}/usage", "bob")).json()["gpu_seconds"] == 0
    problem(await platform.ask("GET", f"{API}/usage?account=group:lab", "bob"), 403, "not-allowed")
    assert (await platform.ask("GET", f"{API}/usage?account=group:lab", "reader")).json()["gpu_seconds"] == 3600
    pool = (await platform.ask("GET", f"{API}/pools", "bob")).json()[0]
    assert pool == {
        "name": "gpu", "gpu_model": "Simulated GPU", "capacity_gpus_milli": 4000, "leased_gpus_milli": 1000,
        "free_gpus_milli": 3000, "simulated": True, "leases": 1, "idle": None,
    }  # fmt: skip

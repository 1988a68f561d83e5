"""A write that is sent twice with the same key has one effect."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from sublet_hub.api import writing
from sublet_hub.storage.idempotency import KEPT_MS
from tests.api.conftest import API, QUOTAS, Running, problem
from tests.api.test_activity import RECORD
from tests.api.test_leases import WANTED


async def actions(platform: Running, action: str) -> int:
    return len((await platform.ask("GET", f"{API}/audit?action={action}", "reader")).json())


async def test_the_same_request_gets_the_same_answer_and_has_no_second_effect(platform: Running) -> None:
    key = {"Idempotency-Key": "k1"}
    first = await platform.ask("POST", f"{API}/leases", "spawner", key, json=WANTED)
    platform.clock.turn(5000)
    second = await platform.ask("POST", f"{API}/leases", "spawner", key, json=WANTED)
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.content == second.content
    assert await actions(platform, "lease.granted") == 1


async def test_at_the_same_instant_too(platform: Running) -> None:
    key = {"Idempotency-Key": "k1"}
    asked = [platform.ask("POST", f"{API}/leases", "spawner", key, json=WANTED) for _ in range(10)]
    answers = await asyncio.gather(*asked)
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert await actions(platform, "lease.granted") == 1


async def test_another_request_with_the_same_key_is_refused(platform: Running) -> None:
    key, path = {"Idempotency-Key": "k1"}, f"{QUOTAS}/users/alice"
    assert (await platform.ask("PUT", path, "admin", key, json={"limits": []})).status_code == 200
    for other, body in ((path, {"limits": [], "why": "x"}), (f"{QUOTAS}/users/bob", {"limits": []})):
        problem(await platform.ask("PUT", other, "admin", key, json=body), 409, "conflict")
    problem(await platform.ask("PATCH", path, "admin", key, json={"limits": []}), 409, "conflict")
    assert await actions(platform, "quota.set") == 2  # the default's, and the first


async def test_keys_are_each_askers_own(platform: Running) -> None:
    key = {"Idempotency-Key": "k1"}
    for token, limit in (("admin", 1), ("boss", 2)):
        body = {"limits": [{"what": "gpus", "limit": limit}]}
        written = await platform.ask("PUT", f"{QUOTAS}/users/alice", token, key, json=body)
        assert written.json()["limits"][0]["limit"] == limit


async def test_a_refusal_is_not_remembered_but_audited_each_time(platform: Running) -> None:
    key, wanted = {"Idempotency-Key": "k1"}, {**WANTED, "account": "group:ops"}
    for _ in range(2):
        problem(await platform.ask("POST", f"{API}/leases", "spawner", key, json=wanted), 403, "not-allowed")
    assert await actions(platform, "lease.refused") == 2


async def test_an_empty_answer_is_given_again(platform: Running) -> None:
    key = {"Idempotency-Key": "k1"}
    for _ in range(2):
        removed = await platform.ask("DELETE", f"{QUOTAS}/default", "admin", key)
        assert (removed.status_code, removed.content) == (204, b"")


async def test_a_user_makes_up_so_many_keys_a_day(platform: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "MOST_OF_USER", 3)
    lease = platform.lease("alice")
    path, body = f"{API}/leases/{lease.id}/activity", {"records": [RECORD]}

    async def tell(token: str, key: str | None) -> httpx.Response:
        return await platform.ask("POST", path, token, {} if key is None else {"Idempotency-Key": key}, json=body)

    assert [(await tell("alice", f"k{number}")).status_code for number in range(3)] == [204] * 3
    document = problem(await tell("alice", "k3"), 429, "too-many-changes")
    assert document["retry_at"] == "2027-01-16T00:00:00.000Z"
    assert [(await tell("alice", key)).status_code for key in ("k0", None)] == [204, 204]
    for number in range(5):
        quota = {"limits": [], "why": str(number)}
        set_ = await platform.ask("PUT", f"{QUOTAS}/users/bob", "boss", {"Idempotency-Key": str(number)}, json=quota)
        assert set_.status_code == 200, "whoever sets quotas may do so for many"
    platform.clock.turn(KEPT_MS + 1)
    assert (await tell("alice", "k3")).status_code == 204


@pytest.mark.parametrize("key", [b"", b"x" * 256, b"a\tb", "ü".encode()])
async def test_a_key_that_is_none_is_refused(platform: Running, key: bytes) -> None:
    headers = [(b"authorization", b"token admin"), (b"idempotency-key", key)]
    response = await platform.http.put(f"{QUOTAS}/default", json={"limits": []}, headers=headers)
    assert problem(response, 422, "invalid-request")["field"] == "Idempotency-Key"

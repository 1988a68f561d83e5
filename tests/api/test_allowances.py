"""What the gateway asks of the api: who calls, holds for calls, and posts of what they used."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from sublet_hub.domain import accounts
from sublet_hub.domain.lease import EndReason
from sublet_hub.storage import accepting, metering
from sublet_hub.storage.verification import verify_account
from tests.api.conftest import API, Running, problem
from tests.fixtures.books import limit

ALICE, LAB = accounts.user("alice"), accounts.group("lab")
ASKED: dict[str, Any] = {
    "user": "alice", "account": "user:alice", "tokens": 50_000, "tokens_min": 100,
    "money_microunits": 40_000, "money_min_microunits": 80, "seconds": 60,
}  # fmt: skip
USE: dict[str, Any] = {"model": "tiny-llama", "calls": 2, "input_tokens": 700, "output_tokens": 11}
PRICE = 140 + 9
"""Of USE: 0.2 micro-units a token in, 0.8 out, each rounded up."""


async def identify(platform: Running, token: str, by: str = "gateway") -> httpx.Response:
    return await platform.ask("POST", f"{API}/model-callers", by, json={"token": token})


async def allow(platform: Running, by: str = "gateway", **changes: Any) -> httpx.Response:
    return await platform.ask("POST", f"{API}/allowances", by, json={**ASKED, **changes})


async def post(platform: Running, allowance_id: str, number: int, *uses: Any, **more: Any) -> httpx.Response:
    body = {"number": number, "uses": list(uses), **more}
    return await platform.ask("POST", f"{API}/allowances/{allowance_id}/posts", "gateway", json=body)


# ------------------------------------------------------------ who calls


async def test_a_users_own_token_pays_with_the_users_account(platform: Running) -> None:
    for token in ("alice", "alice-own"):
        found = (await identify(platform, token)).json()
        assert (found["user"], found["account"], found["lease_id"]) == ("alice", "user:alice", None)
        assert found["models"] == [
            {"name": "tiny-llama", "accepted": True}, {"name": "llama-big", "accepted": False},
        ]  # fmt: skip
        assert found["valid_seconds"] == 30


async def test_a_servers_token_pays_with_its_leases_account_and_stops_with_it(platform: Running) -> None:
    assert problem(await identify(platform, "alice-train"), 401, "caller-unknown")["detail"].endswith("is over.")
    other = platform.lease("alice")
    lease = platform.lease("alice", LAB, server_name="train")
    found = (await identify(platform, "alice-train")).json()
    assert (found["user"], found["account"], found["lease_id"]) == ("alice", "group:lab", lease.id)
    default = (await identify(platform, "alice-server")).json()
    assert (default["account"], default["lease_id"]) == ("user:alice", other.id)
    metering.end(platform.books, lease.id, lease.started_at_ms or 0, platform.clock.now_ms(), EndReason.EXITED)
    problem(await identify(platform, "alice-train"), 401, "caller-unknown")
    assert (await identify(platform, "alice-server")).status_code == 200


async def test_unknown_tokens_and_services_are_no_callers(platform: Running) -> None:
    for token in ("nobodys", "spawner", "bare", "other"):
        problem(await identify(platform, token), 401, "caller-unknown")
    platform.hub.unreachable = True
    problem(await identify(platform, "bob"), 503, "unavailable")


async def test_what_is_accepted_is_by_who_pays(platform: Running) -> None:
    def accepted(found: httpx.Response) -> bool:
        return bool({each["name"]: each["accepted"] for each in found.json()["models"]}["llama-big"])

    platform.lease("alice", LAB, server_name="train")
    platform.lease("alice")
    accepting.accept(platform.books, LAB, "llama-3.2", "2020", actor="user:boss")
    assert not accepted(await identify(platform, "alice-train"))
    accepting.accept(platform.books, LAB, "llama-3.2", "2024-09-25", actor="user:boss")
    assert accepted(await identify(platform, "alice-train"))
    assert not accepted(await identify(platform, "alice-server"))
    accepting.accept(platform.books, ALICE, "llama-3.2", "2024-09-25", actor="user:alice")
    assert accepted(await identify(platform, "alice-server"))


async def test_only_the_gateway_asks_and_tells(platform: Running) -> None:
    granted = (await allow(platform)).json()
    for token in ("alice", "boss", "admin", "spawner", "lab-admin"):
        problem(await identify(platform, "alice", token), 403, "not-allowed")
        problem(await allow(platform, token), 403, "not-allowed")
        path = f"{API}/allowances/{granted['id']}/posts"
        problem(await platform.ask("POST", path, token, json={"number": 1}), 403, "not-allowed")
    for path in ("leases", "audit", "usage?account=user:alice", "acceptances"):
        problem(await platform.ask("GET", f"{API}/{path}", "gateway"), 403, "not-allowed")


async def test_a_token_is_in_no_answer_and_no_record(platform: Running) -> None:
    for token in ("alice", "a-secret-that-nobody-knows"):
        answer = await identify(platform, token)
        assert "a-secret" not in answer.text
    assert "a-secret" not in (await platform.ask("GET", "/services/sublet/metrics")).text


# ------------------------------------------------------------ holding and posting


async def test_hold_post_renew_release(platform: Running) -> None:
    limit(platform.books, ALICE, model_tokens=(60_000, "day"), money_microunits=(1_000_000, "week"))
    response = await allow(platform)
    assert response.status_code == 201
    granted = response.json()
    assert (granted["tokens"], granted["money_microunits"], granted["posts"]) == (50_000, 40_000, 0)
    assert granted["expires_at"] == "2027-01-15T00:01:00.000Z"
    assert granted["limits"][0] == {
        "subject": "user:alice", "what": "model_tokens", "limit": 60_000, "left": 10_000, "window": "day",
        "resets_at": "2027-01-16T00:00:00.000Z",
    }  # fmt: skip
    after = (await post(platform, granted["id"], 1, USE)).json()
    assert (after["tokens"], after["money_microunits"], after["posts"]) == (50_000 - 711, 40_000 - PRICE, 1)
    quota = (await platform.ask("GET", "/hub/api/quotas/users/alice", "alice")).json()
    tokens = quota["limits"][0]
    assert (tokens["what"], tokens["used"], tokens["held"], tokens["left"]) == ("model_tokens", 711, 49_289, 10_000)
    platform.clock.turn(30_000)
    renewed = await post(platform, granted["id"], 2, USE, renew={"tokens": 59_000, "seconds": 60})
    assert (renewed.json()["tokens"], renewed.json()["money_microunits"]) == (60_000 - 2 * 711, 0)
    assert renewed.json()["expires_at"] == "2027-01-15T00:01:30.000Z"
    done = (await post(platform, granted["id"], 3, release=True)).json()
    assert (done["open"], done["tokens"], done["posts"]) == (False, 0, 3)
    assert done["limits"][0]["left"] == 60_000 - 2 * 711
    assert verify_account(platform.books.store, ALICE) == []


async def test_what_is_left_is_granted_down_to_what_is_needed(platform: Running) -> None:
    limit(platform.books, ALICE, model_tokens=(50_100, "day"))
    await allow(platform)
    assert (await allow(platform)).json()["tokens"] == 100
    refused = problem(await allow(platform), 429, "quota-exceeded")
    assert refused["limit"] == {"what": "model_tokens", "limit": 50_100, "window": "day", "flavor": None}
    assert (refused["subject"], refused["retry_at"]) == ("user:alice", "2027-01-16T00:00:00.000Z")
    platform.clock.turn(60_000)
    assert (await allow(platform)).json()["tokens"] == 50_000, "what has expired is held no more"


async def test_money_binds_as_well(platform: Running) -> None:
    limit(platform.books, ALICE, money_microunits=(40_100, "day"))
    assert (await allow(platform)).status_code == 201
    assert (await allow(platform)).json()["money_microunits"] == 100
    assert problem(await allow(platform), 429, "quota-exceeded")["limit"]["what"] == "money_microunits"
    free = await allow(platform, money_microunits=0, money_min_microunits=0)
    assert free.json()["tokens"] == 50_000


async def test_a_limit_of_a_flavor_is_not_for_calls_and_without_a_quota_nothing_is(platform: Running) -> None:
    from sublet_hub.storage import quotas

    assert (await allow(platform)).json()["limits"] == []
    quotas.delete_quota(platform.books, accounts.DEFAULT, actor="admin", why="")
    problem(await allow(platform), 403, "no-quota")


async def test_a_post_is_booked_once(platform: Running) -> None:
    granted = (await allow(platform)).json()
    first = await post(platform, granted["id"], 1, USE)
    again = await post(platform, granted["id"], 1, USE)
    assert first.json() == again.json()
    problem(await post(platform, granted["id"], 1, {**USE, "calls": 3}), 409, "conflict")
    problem(await post(platform, granted["id"], 3, USE), 409, "conflict")
    await post(platform, granted["id"], 2, USE)
    assert (await post(platform, granted["id"], 1, {**USE, "calls": 3})).json()["posts"] == 2
    use = (await platform.ask("GET", f"{API}/model-use", "alice")).json()
    assert (use["calls"], use["input_tokens"], use["output_tokens"], use["cost_microunits"]) == (
        4,
        1400,
        22,
        2 * PRICE,
    )
    metrics = (await platform.ask("GET", "/services/sublet/metrics")).text
    assert 'sublet_model_tokens_total{kind="output",model="tiny-llama"} 22.0' in metrics


async def test_use_is_a_fact_also_beyond_the_hold_and_after_the_end(platform: Running) -> None:
    limit(platform.books, ALICE, model_tokens=(1000, "day"))
    granted = (await allow(platform)).json()
    assert granted["tokens"] == 1000
    large = {**USE, "input_tokens": 5000, "output_tokens": 0}
    over = (await post(platform, granted["id"], 1, large)).json()
    assert (over["tokens"], over["limits"][0]["left"]) == (0, 0)
    platform.clock.turn(3_600_000)
    from sublet_hub.storage import allowing

    assert allowing.void_expired(platform.books) == 1
    late = (await post(platform, granted["id"], 2, USE, renew={"tokens": 10, "seconds": 60})).json()
    assert (late["open"], late["tokens"], late["posts"]) == (False, 0, 2)
    platform.clock.turn(24 * 3_600_000 + 1)
    problem(await post(platform, granted["id"], 3, USE), 409, "conflict")
    assert verify_account(platform.books.store, ALICE) == []
    problem(await post(platform, "0" * 32, 1, USE), 404, "not-found")


async def test_a_model_that_left_the_catalogue_is_booked_without_a_price(platform: Running) -> None:
    granted = (await allow(platform)).json()
    await post(platform, granted["id"], 1, {**USE, "model": "gone-1"})
    (day,) = (await platform.ask("GET", f"{API}/model-use", "alice")).json()["days"]
    assert (day["model"], day["input_tokens"], day["cost_microunits"]) == ("gone-1", 700, 0)
    assert (
        'sublet_model_calls_total{model="unknown"} 2.0'
        in (await platform.ask("GET", "/services/sublet/metrics")).text
    )


async def test_a_repeated_request_for_an_allowance_holds_once(platform: Running) -> None:
    limit(platform.books, ALICE, model_tokens=(1000, "day"))
    headers = {"Idempotency-Key": "k"}
    answers = [await platform.ask("POST", f"{API}/allowances", "gateway", headers, json=ASKED) for _ in range(2)]
    assert answers[0].json() == answers[1].json()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"tokens": 0}, "tokens"),
        ({"tokens": 1.5}, "tokens"),
        ({"tokens_min": 50_001}, "body"),
        ({"money_min_microunits": 40_001}, "body"),
        ({"account": "default"}, "account"),
        ({"seconds": 3601}, "seconds"),
        ({"prompt": "hello"}, "prompt"),
    ],
)
async def test_only_counts_are_taken(platform: Running, changes: Any, field: str) -> None:
    assert problem(await allow(platform, **changes), 422, "invalid-request")["field"] == field


@pytest.mark.parametrize(
    ("use", "field"),
    [
        ({"model": "No Such"}, "uses[0].model"),
        ({"input_tokens": -1}, "uses[0].input_tokens"),
        ({"output_tokens": True}, "uses[0].output_tokens"),
        ({"completion": "x"}, "uses[0].completion"),
    ],
)
async def test_uses_are_counts_of_a_model(platform: Running, use: Any, field: str) -> None:
    granted = (await allow(platform)).json()
    document = problem(await post(platform, granted["id"], 1, {**USE, **use}), 422, "invalid-request")
    assert document["field"] == field


async def test_an_allowance_is_renewed_or_released(platform: Running) -> None:
    granted = (await allow(platform)).json()
    both = {"renew": {"tokens": 1, "seconds": 1}, "release": True}
    problem(await post(platform, granted["id"], 1, **both), 422, "invalid-request")

"""Who gets in: by the hub's word, for a few seconds, and by nothing else."""

from __future__ import annotations

import asyncio

import pytest

from sublet_hub.api import auth
from sublet_hub.api.app import OAUTH
from sublet_hub.api.session import CALLBACK, PREFIX
from sublet_hub.hub import access
from tests.api.conftest import API, QUOTAS, Running, problem

EVERY_READ = [
    f"{QUOTAS}/users/alice", QUOTAS, f"{API}/leases", f"{API}/leases/{'0' * 32}", f"{API}/flavors", f"{API}/pools",
    f"{API}/quota", f"{API}/usage", f"{API}/notices", f"{API}/audit", f"{API}/platform",
]  # fmt: skip


def test_the_hub_is_configured_with_the_names_that_the_api_goes_by() -> None:
    assert (access.QUOTAS_READ, access.QUOTAS_WRITE, access.LEASES_WRITE) == (
        auth.QUOTAS_READ,
        auth.QUOTAS_WRITE,
        auth.LEASES_WRITE,
    )
    assert access.ACCESS_API in auth.ACCESS
    assert (PREFIX, OAUTH.client_id) == (access.API_PREFIX, access.API_OAUTH_CLIENT)
    assert CALLBACK == OAUTH.redirect_uri == f"{access.API_PREFIX}oauth_callback"


@pytest.mark.parametrize("path", EVERY_READ)
async def test_nobody_gets_in_without_a_token_or_with_a_wrong_one(platform: Running, path: str) -> None:
    for headers in (
        {},
        {"Authorization": "token nonsense"},
        {"Authorization": "Basic YTpi"},
        {"Authorization": "token"},
    ):
        response = await platform.ask("GET", path, headers=headers)
        problem(response, 401, "not-signed-in")
        assert response.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("path", EVERY_READ)
@pytest.mark.parametrize("token", ["bare", "other"])
async def test_a_token_without_access_to_this_service_is_refused(platform: Running, path: str, token: str) -> None:
    assert "access:services" in problem(await platform.ask("GET", path, token), 403, "not-allowed")["detail"]


@pytest.mark.parametrize("scheme", ["token", "Bearer", "bearer", "Token"])
async def test_either_way_to_show_a_token_works(platform: Running, scheme: str) -> None:
    response = await platform.ask("GET", f"{API}/quota", headers={"Authorization": f"{scheme} alice"})
    assert response.json()["user"] == "alice"


@pytest.mark.parametrize("token", ["x" * 501, "naïve", "a\tb"])
async def test_what_can_be_no_token_is_not_even_asked_about(platform: Running, token: str) -> None:
    headers = [(b"authorization", b"token " + token.encode())]
    response = await platform.http.get(f"{API}/quota", headers=headers)
    problem(response, 401, "not-signed-in")
    assert platform.hub.calls["/hub/api/user"] == 0


async def test_the_hub_is_asked_once_in_ten_seconds(platform: Running) -> None:
    for _ in range(5):
        assert (await platform.ask("GET", f"{API}/pools", "alice")).status_code == 200
    assert platform.hub.calls["/hub/api/user"] == 1
    platform.seconds[0] += 10
    await platform.ask("GET", f"{API}/pools", "alice")
    assert platform.hub.calls["/hub/api/user"] == 2


async def test_requests_at_the_same_instant_ask_the_hub_once(platform: Running) -> None:
    answers = await asyncio.gather(*(platform.ask("GET", f"{API}/pools", "alice") for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert platform.hub.calls["/hub/api/user"] == 1


async def test_a_revoked_token_works_no_longer_than_the_cache(platform: Running) -> None:
    assert (await platform.ask("GET", f"{API}/pools", "alice")).status_code == 200
    del platform.hub.tokens["alice"]
    platform.seconds[0] += 9.9
    assert (await platform.ask("GET", f"{API}/pools", "alice")).status_code == 200
    platform.seconds[0] += 0.2
    problem(await platform.ask("GET", f"{API}/pools", "alice"), 401, "not-signed-in")


@pytest.mark.parametrize(
    "fault",
    [
        {"unreachable": True},
        {"status": 500},
        {"status": 502},
        {"status": 404},
        {"status": 302},
        {"status": 200, "body": b"<html>"},
        {"status": 200, "body": b'{"scopes": ["custom:quotas:write"]}'},
        {"status": 200, "body": b'{"name": "alice", "kind": "robot", "scopes": []}'},
    ],
)
async def test_while_the_hub_is_out_of_order_nobody_gets_in(platform: Running, fault: dict[str, object]) -> None:
    assert (await platform.ask("GET", f"{QUOTAS}/default", "admin")).status_code == 200
    for name, value in fault.items():
        setattr(platform.hub, name, value)
    platform.seconds[0] += 10
    for _ in range(2):
        problem(await platform.ask("GET", f"{QUOTAS}/default", "admin"), 503, "unavailable")
    platform.hub.unreachable, platform.hub.status, platform.hub.body = False, None, None
    assert (await platform.ask("GET", f"{QUOTAS}/default", "admin")).status_code == 200


async def test_a_quota_is_not_written_while_the_hub_can_not_say_who_there_is(platform: Running) -> None:
    await platform.ask("GET", f"{API}/pools", "admin")  # the token is known for ten seconds
    platform.hub.unreachable = True
    written = await platform.ask("PUT", f"{QUOTAS}/users/alice", "admin", json={"limits": []})
    problem(written, 503, "unavailable")


async def test_groups_are_looked_up_where_the_hub_left_them_out(platform: Running) -> None:
    platform.hub.shows_groups = False
    accounts = (await platform.ask("GET", f"{API}/quota", "alice")).json()["accounts"]
    assert [each["subject"] for each in accounts] == ["user:alice", "group:lab"]
    assert platform.hub.calls["/hub/api/users/alice"] == 1


async def test_a_service_is_no_user_of_its_name(platform: Running) -> None:
    platform.hub.tokens["fake"] = ("service", "alice", ["access:services"])
    platform.lease("alice")
    for path in ("quota", "leases", "notices", "audit", "flavors"):
        problem(await platform.ask("GET", f"{API}/{path}", "fake"), 403, "not-allowed")
    problem(await platform.ask("GET", f"{QUOTAS}/users/alice", "fake"), 403, "not-allowed")
    problem(await platform.ask("GET", f"{API}/usage?account=user:alice", "fake"), 403, "not-allowed")

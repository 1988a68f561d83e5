"""The quick way to a user's quota answers as the documented one does."""

from __future__ import annotations

import pytest

from sublet_hub.api.routers import quick
from tests.api.conftest import QUOTAS, Running


@pytest.mark.parametrize(
    "path",
    [
        "users/alice",
        "users/nobody",
        "users/bob",
        "users/a%00b",
        f"users/{'a' * 256}",
        "users/alice?x=1",
        "users/a%20b",
    ],
)
@pytest.mark.parametrize("token", ["alice", "admin", "spawner", "bare", "nonsense", None])
async def test_both_ways_agree(platform: Running, path: str, token: str | None) -> None:
    quickly = await platform.ask("GET", f"{QUOTAS}/users/{path}", token)
    platform.app.router.routes.remove(quick.ROUTE)
    documented = await platform.ask("GET", f"{QUOTAS}/users/{path}", token)
    first, second = quickly.json(), documented.json()
    if quickly.status_code == 422:
        first.pop("detail"), second.pop("detail")  # the same field, in other words
    assert (quickly.status_code, first) == (documented.status_code, second)
    assert dict(quickly.headers).keys() == dict(documented.headers).keys()


async def test_only_reads_are_quick(platform: Running) -> None:
    head = await platform.ask("HEAD", f"{QUOTAS}/users/alice", "alice")
    assert (head.status_code, head.headers["allow"]) == (405, "DELETE, GET, PATCH, PUT")
    assert (await platform.ask("PUT", f"{QUOTAS}/users/alice", "admin", json={"limits": []})).status_code == 200

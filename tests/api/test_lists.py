"""Paging by the Link header (RFC 8288)."""

from __future__ import annotations

import pytest

from tests.api.conftest import API, QUOTAS, Running, problem


async def pages(platform: Running, path: str, token: str) -> list[list[dict[str, object]]]:
    """All pages of a list, by following the links."""
    found = []
    while True:
        response = await platform.ask("GET", path, token)
        assert response.status_code == 200, response.text
        found.append(response.json())
        following = response.links.get("next")
        if following is None:
            return found
        path = following["url"]


@pytest.mark.parametrize("size", [1, 2, 3, 200])
async def test_following_the_links_gives_every_quota_once(platform: Running, size: int) -> None:
    for name in ("users/alice", "users/bob", "groups/lab", "groups/%2Fdeep%2Fer"):
        await platform.ask("PUT", f"{QUOTAS}/{name}", "admin", json={"limits": []})
    got = await pages(platform, f"{QUOTAS}?limit={size}", "admin")
    subjects = [each["subject"] for page in got for each in page]
    assert subjects == ["default", "group:/deep/er", "group:lab", "user:alice", "user:bob"]
    assert all(len(page) == size for page in got[:-1])
    assert 0 < len(got[-1]) <= size


async def test_the_link_keeps_the_rest_of_the_query(platform: Running) -> None:
    for name in "abc":
        platform.lease(server_name=name)
        platform.clock.turn(10)
    got = await pages(platform, f"{API}/leases?state=active&state=granted&limit=2&user=alice", "reader")
    assert [[each["server_name"] for each in page] for page in got] == [["c", "b"], ["a"]]


async def test_audit_is_newest_first_and_pages_back_to_the_beginning(platform: Running) -> None:
    for _ in range(4):
        await platform.ask("PUT", f"{QUOTAS}/users/alice", "admin", json={"limits": []})
    got = await pages(platform, f"{API}/audit?limit=2", "reader")
    assert [each["number"] for page in got for each in page] == [5, 4, 3, 2, 1]


async def test_audit_shows_users_what_concerns_them_only(platform: Running) -> None:
    await platform.ask("PUT", f"{QUOTAS}/users/alice", "admin", json={"limits": []})
    await platform.ask("PUT", f"{QUOTAS}/users/bob", "admin", json={"limits": []})
    for query in ("", "?subject=user:alice"):
        seen = (await platform.ask("GET", f"{API}/audit{query}", "alice")).json()
        assert {each["subject"] for each in seen} == {"user:alice"}
    for subject in ("user:bob", "default", "group:lab"):
        problem(await platform.ask("GET", f"{API}/audit?subject={subject}", "alice"), 403, "not-allowed")
    found = (await platform.ask("GET", f"{API}/audit?subject=default&action=quota.set", "reader")).json()
    assert [each["number"] for each in found] == [1]


async def test_a_cursor_that_leads_nowhere_ends_the_list(platform: Running) -> None:
    platform.lease()
    for path in (f"{API}/leases?after={'f' * 32}", f"{QUOTAS}?after=user:zzz"):
        response = await platform.ask("GET", path, "reader")
        assert (response.status_code, response.json()) == (200, [])

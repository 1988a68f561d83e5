"""Whatever is wrong with a request is a 4xx that says which field and why."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.conftest import API, QUOTAS, Running, problem

GOOD = {"what": "gpu_seconds", "limit": 10, "window": "day"}
LEASE = {"user": "alice", "groups": ["lab"], "account": "user:alice", "flavor": "gpu-1x", "tier": "guaranteed"}


def changed(**changes: Any) -> dict[str, Any]:
    return {"limits": [{**GOOD, **changes}]}


def without(name: str) -> dict[str, Any]:
    return {"limits": [{key: value for key, value in GOOD.items() if key != name}]}


@pytest.mark.parametrize(
    ("body", "field", "why"),
    [
        (changed(limit=-1), "limits[0].limit", "greater than or equal to 0"),
        (changed(limit=1.0), "limits[0].limit", "whole number"),
        (changed(limit=1.5), "limits[0].limit", "whole number"),
        (changed(limit="10"), "limits[0].limit", "whole number"),
        (changed(limit=True), "limits[0].limit", "whole number"),
        (changed(limit=None), "limits[0].limit", "whole number"),
        (changed(limit=[1]), "limits[0].limit", "whole number"),
        (changed(limit=10**12 + 1), "limits[0].limit", "less than or equal to 1000000000000"),
        (changed(limit=10**400), "limits[0].limit", ""),
        (without("limit"), "limits[0].limit", "missing"),
        (without("what"), "limits[0].what", "missing"),
        (changed(what="gpu_hours"), "limits[0].what", "gpu_seconds"),
        (changed(what=3), "limits[0].what", "gpu_seconds"),
        (changed(windows="day"), "limits[0].windows", "no such field"),
        (without("window"), "limits[0].window", "needs a window"),
        (changed(window="fortnight"), "limits[0].window", "ISO 8601"),
        (changed(window="P1000Y"), "limits[0].window", "ten years"),
        (changed(window="PT1S"), "limits[0].window", "15 minutes"),
        (changed(window="P" + "9" * 100 + "D"), "limits[0].window", "64"),
        (changed(window=7), "limits[0].window", "string"),
        (changed(what="gpus"), "limits[0].window", "no window"),
        (changed(flavor="h900"), "limits[0].flavor", "gpu-1x"),
        (changed(flavor=""), "limits[0].flavor", "at least 1"),
        (changed(flavor="a\x00b"), "limits[0].flavor", "characters"),
        ({"limits": [GOOD, GOOD]}, "limits[1]", "twice"),
        ({"limits": [GOOD] * 51}, "limits", "50"),
        ({"limits": {}}, "limits", ""),
        ({"limits": None}, "limits", ""),
        ({"limits": ["gpus"]}, "limits[0]", ""),
        ({"limits": [], "time_zone": "Mars/Olympus"}, "time_zone", "IANA"),
        ({"limits": [], "time_zone": "../../etc/passwd"}, "time_zone", "IANA"),
        ({"limits": [], "time_zone": ""}, "time_zone", "at least 1"),
        ({"limits": [], "time_zone": None}, "time_zone", "string"),
        ({"limits": [], "why": "x" * 501}, "why", "500"),
        ({"limits": [], "why": "a\nb"}, "why", "characters"),
        ({"limits": [], "limit": 3}, "limit", "no such field"),
        ({}, "limits", "missing"),
        ([], "body", ""),
        ("limits", "body", ""),
        (None, "body", ""),
    ],
)  # fmt: skip
async def test_a_wrong_quota_is_refused_by_field(platform: Running, body: Any, field: str, why: str) -> None:
    response = await platform.ask("PUT", f"{QUOTAS}/users/alice", "admin", json=body)
    document = problem(response, 422, "invalid-request")
    assert document["field"] == field
    assert why in document["detail"]
    assert (await platform.ask("GET", f"{QUOTAS}/users/alice", "admin")).json()["own"] is False


async def test_all_wrong_fields_are_named_at_once(platform: Running) -> None:
    body = {"limits": [{"what": "gpus", "limit": -1}, {"what": "gpus", "limit": 1, "x": 2}], "time_zone": 7}
    document = problem(await platform.ask("PUT", f"{QUOTAS}/default", "admin", json=body), 422, "invalid-request")
    assert [each["field"] for each in document["errors"]] == ["limits[0].limit", "limits[1].x", "time_zone"]
    assert all(each["field"] in document["detail"] for each in document["errors"])


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"limits": [{"what": "gpus"}]}, "limits[0].limit"),
        ({"limits": [{"what": "gpus", "limit": None}, {"what": "gpus", "limit": 1}]}, "limits[1]"),
        ({"limits": [{"what": "gpu_seconds", "limit": None}]}, "limits[0].window"),
        ({"limits": [{"what": "gpus", "limit": 0.5}]}, "limits[0].limit"),
        ({"time_zone": 3}, "time_zone"),
        ({"own": "yes"}, "own"),
    ],
)
async def test_a_wrong_change_is_refused_by_field(platform: Running, body: Any, field: str) -> None:
    response = await platform.ask("PATCH", f"{QUOTAS}/users/alice", "admin", json=body)
    assert problem(response, 422, "invalid-request")["field"] == field


@pytest.mark.parametrize(
    ("changes", "status", "field"),
    [
        ({"user": ""}, 422, "user"),
        ({"user": None}, 422, "user"),
        ({"account": "alice"}, 422, "account"),
        ({"account": "default"}, 422, "account"),
        ({"tier": "cheap"}, 422, "tier"),
        ({"kind": "pod"}, 422, "kind"),
        ({"groups": "lab"}, 422, "groups"),
        ({"groups": [""]}, 422, "groups[0]"),
        ({"server_name": 3}, 422, "server_name"),
        ({"gpus": 8}, 422, "gpus"),
        ({"flavor": "nope"}, 404, "flavor"),
        ({"tier": "surplus", "flavor": "cpu"}, 404, "tier"),
    ],
)
async def test_a_wrong_request_for_a_lease_is_refused_by_field(
    platform: Running, changes: dict[str, Any], status: int, field: str
) -> None:
    response = await platform.ask("POST", f"{API}/leases", "spawner", json={**LEASE, **changes})
    kind = "invalid-request" if status == 422 else "not-found"
    assert problem(response, status, kind)["field"] == field


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (b"{", "body"),
        (b"", "body"),
        (b"\xff\xfe", "body"),
        (b'{"limits": [], "why": "\\ud800"}', "body"),
        (b"[" * 5000, "body"),
        (b'{"limits": [{"what": "gpus", "limit": NaN}]}', "limits[0].limit"),
        (b'{"limits": [{"what": "gpus", "limit": 1e400}]}', "limits[0].limit"),
        (b'{"limits": [{"what": "gpus", "limit": ' + b"9" * 5000 + b"}]}", "body"),
    ],
)
async def test_a_body_that_is_not_proper_json_is_refused(platform: Running, content: bytes, field: str) -> None:
    headers = {"Content-Type": "application/json"}
    response = await platform.ask("PUT", f"{QUOTAS}/default", "admin", headers, content=content)
    assert problem(response, 422, "invalid-request")["field"] == field


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonx"])
async def test_a_body_of_another_type_is_refused(platform: Running, content_type: str) -> None:
    headers = {"Content-Type": content_type}
    response = await platform.ask("PUT", f"{QUOTAS}/default", "admin", headers, content=b'{"limits": []}')
    problem(response, 415, "unsupported-media-type")


async def test_a_body_that_is_too_large_is_refused(platform: Running) -> None:
    async def endless() -> Any:
        for _ in range(200):
            yield b" " * 1024

    for content in (b" " * 70_000, endless()):
        headers = {"Content-Type": "application/json"}
        response = await platform.ask("PUT", f"{QUOTAS}/default", "admin", headers, content=content)
        problem(response, 413, "body-too-large")


@pytest.mark.parametrize(
    ("path", "field"),
    [
        (f"{QUOTAS}?limit=0", "limit"),
        (f"{QUOTAS}?limit=201", "limit"),
        (f"{QUOTAS}?limit=1.0", "limit"),
        (f"{QUOTAS}?limit=%201", "limit"),
        (f"{QUOTAS}?limit=1&limit=2", "limit"),
        (f"{QUOTAS}?limits=1", "limits"),
        (f"{QUOTAS}?after=alice", "after"),
        (f"{QUOTAS}/default?x", "x"),
        (f"{QUOTAS}/users/{'a' * 256}", "name"),
        (f"{QUOTAS}/users/a%00b", "name"),
        (f"{API}/leases?state=open", "state[0]"),
        (f"{API}/leases?since=1700000000", "since"),
        (f"{API}/leases?since=2026-01-01T00:00:00", "since"),
        (f"{API}/leases?account=alice", "account"),
        (f"{API}/leases?user=", "user"),
        (f"{API}/leases/1", "id"),
        (f"{API}/leases?after=%00", "after"),
        (f"{QUOTAS}?after=user:%00", "after"),
        (f"{API}/notices?lease=x", "lease"),
        (f"{API}/audit?lease=x", "lease"),
        (f"{API}/audit?subject=%00", "subject"),
        (f"{API}/usage?days=0", "days"),
        (f"{API}/usage?days=367", "days"),
        (f"{API}/usage?account=user:", "account"),
        (f"{API}/usage", "account"),
        (f"{API}/notices?current=1", "current"),
        (f"{API}/audit?after=-1", "after"),
        (f"{API}/audit?after={'9' * 30}", "after"),
        (f"{API}/pools?name=gpu", "name"),
    ],
)
async def test_a_wrong_query_or_path_is_refused_by_name(platform: Running, path: str, field: str) -> None:
    assert problem(await platform.ask("GET", path, "admin"), 422, "invalid-request")["field"] == field


async def test_nothing_that_was_sent_is_echoed(platform: Running) -> None:
    secret = "s3cr3t-value"
    body = {"limits": [{**GOOD, "limit": secret}]}
    assert secret not in (await platform.ask("PUT", f"{QUOTAS}/default", "admin", json=body)).text

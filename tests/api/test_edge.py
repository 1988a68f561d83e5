"""What holds for every answer: problems for whatever fails, security headers, metrics, and nothing leaked."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest
from starlette.types import Message

from sublet_hub.api import edge
from sublet_hub.api.routers import pools
from sublet_hub.api.session import Sessions
from sublet_hub.domain.errors import Unavailable
from sublet_hub.storage import reporting
from sublet_hub.storage.memory import MemoryStore
from tests.api.conftest import API, QUOTAS, Running, problem

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize(
    "path", [f"{API}/nothing", f"{API}/", "/", "/hub/api/quotas/users", "/hub/api/users", f"{API}/leases/x/y"]
)
async def test_an_unknown_path_is_a_problem(platform: Running, path: str) -> None:
    problem(await platform.ask("GET", path, "admin"), 404, "not-found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", f"{QUOTAS}/users/alice", "DELETE, GET, PATCH, PUT"),
        ("DELETE", f"{API}/leases", "GET, POST"),
        ("TRACE", f"{API}/pools", "GET"),
        ("MADE-UP", "/services/sublet/health", "GET"),
    ],
)
async def test_an_unknown_method_names_those_there_are(
    platform: Running, method: str, path: str, allowed: str
) -> None:
    response = await platform.ask(method, path, "admin")
    problem(response, 405, "method-not-allowed")
    assert response.headers["allow"] == allowed


async def test_people_get_a_page_where_they_asked_for_one(platform: Running) -> None:
    html = {"Accept": "text/html,*/*"}
    missing = await platform.ask("GET", "/services/sublet/<script>", headers=html)
    assert (missing.status_code, missing.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "<script>" not in missing.text
    assert "script-src 'nonce-" in missing.headers["content-security-policy"]
    assert "stylesheet" in missing.text
    problem(await platform.ask("GET", f"{API}/nothing", "admin", html), 404, "not-found")


async def test_without_its_last_slash_the_first_page_is_found(platform: Running) -> None:
    response = await platform.ask("GET", "/services/sublet")
    assert (response.status_code, response.headers["location"]) == (307, "/services/sublet/")


@pytest.mark.parametrize(
    ("path", "token"),
    [(f"{API}/pools", "alice"), (f"{API}/pools", None), ("/nothing", None), ("/services/sublet/health", None)],
)
async def test_every_answer_has_the_security_headers(platform: Running, path: str, token: str | None) -> None:
    headers = (await platform.ask("GET", path, token)).headers
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert "server" not in headers


async def test_a_failure_of_ours_is_logged_and_counted_and_says_nothing(
    platform: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_books: object) -> list[object]:
        raise RuntimeError("the password is swordfish")

    monkeypatch.setattr(reporting, "pools", broken)
    with caplog.at_level(logging.ERROR):
        response = await platform.ask("GET", f"{API}/pools", "alice")
    problem(response, 500, "internal-error")
    assert "swordfish" not in response.text
    assert "swordfish" in caplog.text
    metrics = (await platform.ask("GET", "/services/sublet/metrics")).text
    assert 'sublet_api_failures_total{error="RuntimeError"} 1.0' in metrics
    assert f'sublet_api_requests_total{{method="GET",route="{pools.router.prefix}",status="500"}} 1.0' in metrics


async def test_a_database_that_does_not_answer_is_unavailable(
    platform: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_store: object, *, write: bool) -> object:
        raise Unavailable("The database does not answer.")

    monkeypatch.setattr(MemoryStore, "transaction", away)
    problem(await platform.ask("GET", f"{API}/pools", "alice"), 503, "unavailable")
    problem(await platform.ask("GET", f"{QUOTAS}/default", "admin"), 503, "unavailable")
    problem(await platform.ask("PUT", f"{QUOTAS}/default", "admin", json={"limits": []}), 503, "unavailable")
    assert (await platform.ask("GET", "/services/sublet/health")).json() == {"status": "ok"}


async def test_people_are_told_on_a_page_of_what_nobody_foresaw(
    platform: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("the password is swordfish")

    monkeypatch.setattr(Sessions, "token", broken)
    html = {"Accept": "text/html,*/*"}
    failed = await platform.ask("GET", "/services/sublet/", headers=html)
    assert (failed.status_code, failed.headers["content-type"]) == (500, "text/html; charset=utf-8")
    assert "Something went wrong on our side" in failed.text
    assert "Try again" in failed.text
    assert "swordfish" not in failed.text
    monkeypatch.setattr(edge, "MOST_IN_FLIGHT", 0)
    busy = await platform.ask("GET", "/services/sublet/", headers=html)
    assert (busy.status_code, busy.headers["content-type"]) == (503, "text/html; charset=utf-8")


async def test_too_many_at_once_are_refused_and_not_queued(
    platform: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge, "MOST_IN_FLIGHT", 0)
    problem(await platform.ask("GET", f"{API}/pools", "alice"), 503, "unavailable")
    monkeypatch.undo()
    assert (await platform.ask("GET", f"{API}/pools", "alice")).status_code == 200


async def metrics_of(platform: Running) -> str:
    return (await platform.ask("GET", "/services/sublet/metrics")).text


async def test_metrics_are_not_to_be_had_through_the_proxy(platform: Running) -> None:
    refused = await platform.ask("GET", "/services/sublet/metrics", headers={"X-Forwarded-For": "10.0.0.1"})
    problem(refused, 403, "not-allowed")


async def test_metrics_count_what_happens_and_name_nobody(platform: Running) -> None:
    platform.lease("alice")
    platform.lease("bob", start=False)
    for token in ("alice", "alice", "nonsense"):
        await platform.ask("GET", f"{QUOTAS}/users/alice?x=bob", token)
    await platform.ask("GET", f"{QUOTAS}/users/alice", "alice")
    text = await metrics_of(platform)
    for line in (
        'sublet_leases{state="active"} 1.0',
        'sublet_leases{state="granted"} 1.0',
        'sublet_leases{state="ending"} 0.0',
        'sublet_api_requests_total{method="GET",route="/hub/api/quotas/users/{name}",status="200"} 1.0',
        'sublet_api_requests_total{method="GET",route="/hub/api/quotas/users/{name}",status="422"} 3.0',
        'sublet_api_token_checks_total{result="miss"} 1.0',
        'sublet_api_database_seconds_count{operation="read"} 1.0',
    ):
        assert line in text, text
    assert not re.search(r"\b(alice|bob)\b", text)


async def test_the_page_on_metrics_has_every_metric_and_no_other(platform: Running) -> None:
    families = set(re.findall(r"^# TYPE (\w+) ", await metrics_of(platform), re.MULTILINE))
    ours = {name for name in families if not name.endswith("_created")}
    page = (DOCS / "metrics.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `(sublet_(?!meter_|gateway_)\w+)` \|", page, re.MULTILINE))
    assert documented == ours


async def test_a_client_that_goes_away_is_no_failure_of_ours(platform: Running) -> None:
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "PUT", "scheme": "http",
        "path": f"{QUOTAS}/default", "raw_path": b"/hub/api/quotas/default", "query_string": b"", "root_path": "",
        "headers": [(b"authorization", b"token admin"), (b"content-type", b"application/json")],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
    }  # fmt: skip
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await platform.app(scope, receive, send)
    assert sent == []
    metrics = await metrics_of(platform)
    assert 'sublet_api_requests_total{method="PUT",route="/hub/api/quotas/default",status="499"} 1.0' in metrics
    assert "sublet_api_failures_total{" not in metrics

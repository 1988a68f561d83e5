"""A small real HTTP server in the place of the platform, and the environment of a lease that points to it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

API = "/services/sublet/api"
LIMIT: dict[str, Any] = {
    "what": "gpu_seconds",
    "limit": 36000,
    "window": "week",
    "flavor": None,
    "used": 5400,
    "held": 600,
    "left": 30000,
    "resets_at": "2099-01-05T00:00:00.000Z",
}
LEASE: dict[str, Any] = {
    "id": "lease-1",
    "user": "alice",
    "account": "group:lab",
    "flavor": "h100-2x",
    "tier": "surplus",
    "kind": "notebook",
    "state": "active",
    "requested_at": "2026-11-23T07:00:00.000Z",
    "started_at": "2026-11-23T07:00:05.000Z",
    "ended_at": None,
    "deadline_at": "2099-01-01T12:00:00.000Z",
    "gpus_milli": 2000,
    "gpu_seconds": 5400,
    "cost_microunits": 1_200_000,
    "currency": "USD",
    "end_reason": None,
    "simulated": True,
    "server_name": "train",
    "pool": "h100",
    "deadline_reason": "quota",
    "deadline_limit": {
        "subject": "group:lab",
        "what": "gpu_seconds",
        "limit": 36000,
        "window": "week",
        "flavor": None,
        "resets_at": None,
    },
    "price_microunits_per_gpu_hour": 800_000,
}


def quota_document() -> dict[str, Any]:
    return {
        "user": "alice",
        "currency": "USD",
        "leases": [dict(LEASE)],
        "accounts": [
            {"subject": "user:alice", "own": False, "limits": [], "time_zone": "UTC"},
            {"subject": "group:lab", "own": True, "limits": [dict(LIMIT)], "time_zone": "Europe/Berlin"},
        ],
    }


def usage_document(account: str, today: date, days: int, used: dict[int, tuple[int, int]]) -> dict[str, Any]:
    """An account's use of so many days up to today: GPU-seconds and microunits by day of the month."""
    dates = [today - timedelta(days=ago) for ago in reversed(range(days))]
    rows = [
        {
            "date": str(day),
            "gpu_seconds": used.get(day.day, (0, 0))[0],
            "cost_microunits": used.get(day.day, (0, 0))[1],
        }
        for day in dates
    ]
    return {
        "account": account,
        "currency": "USD",
        "time_zone": "Europe/Berlin",
        "days": rows,
        "gpu_seconds": sum(row["gpu_seconds"] for row in rows),
        "cost_microunits": sum(row["cost_microunits"] for row in rows),
    }


@dataclass
class Platform:
    """What the server answers to everything (but for `answers`, by path), and what it was asked and sent."""

    url: str = ""
    status: int = 200
    body: bytes = field(default_factory=lambda: json.dumps(quota_document()).encode())
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    answers: dict[str, object] = field(default_factory=dict)
    """Documents by path and query, below the API's own path."""
    asked: list[tuple[str, str]] = field(default_factory=list)
    sent: list[tuple[str, Any]] = field(default_factory=list)
    """Path and JSON of what was posted."""
    refuse_once: tuple[int, object] | None = None
    """Status and document of the next answer alone."""
    silent: threading.Event | None = None
    """Where set: nothing is answered before it is set."""

    def answer(self, document: object, status: int = 200) -> None:
        self.body, self.status = json.dumps(document).encode(), status


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch) -> Iterator[Platform]:
    state = Platform()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append((self.path, self.headers.get("Authorization", "")))
            if state.silent:
                state.silent.wait(30)
            status, known = state.refuse_once or (state.status, state.answers.get(self.path.removeprefix(API)))
            state.refuse_once = None
            body = state.body if known is None else json.dumps(known).encode()
            self.send_response(status)
            for name, value in state.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            assert self.headers["Content-Type"] == "application/json"
            content = self.rfile.read(int(self.headers["Content-Length"]))
            state.sent.append((self.path.removeprefix(API), json.loads(content)))
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv("SUBLET_API_URL", f"{state.url}{API}")
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "the-token")
    monkeypatch.setenv("SUBLET_LEASE_ID", "lease-1")
    try:
        yield state
    finally:
        if state.silent:
            state.silent.set()
        server.shutdown()
        server.server_close()
        thread.join(10)

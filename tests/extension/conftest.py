"""A small real HTTP server in the place of the platform, and the environment of a lease that points to it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

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


@dataclass
class Platform:
    """What the server answers to everything, and what it was asked."""

    url: str = ""
    status: int = 200
    body: bytes = field(default_factory=lambda: json.dumps(quota_document()).encode())
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    asked: list[tuple[str, str]] = field(default_factory=list)
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
            self.send_response(state.status)
            for name, value in state.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(state.body)))
            self.end_headers()
            self.wfile.write(state.body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv("SUBLET_API_URL", f"{state.url}/services/sublet/api")
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

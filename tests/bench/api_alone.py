"""`sublet api` as a process of its own, on SQLite, beside a hub that knows tokens which are their users' names."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import psutil

from sublet_hub.domain import accounts
from sublet_hub.domain.lease import Deadline, EndReason
from sublet_hub.run.first_start import make_folders, prepare
from sublet_hub.settings import Settings, as_environment
from sublet_hub.wiring import open_books
from tests.fixtures.factories import lease
from tests.fixtures.platform import ROOT, wait_until

WAIT_SECONDS = 300.0
ADMIN = {"Authorization": "token admin"}


def change_default_quota(admin: httpx.Client, gpu_seconds: int) -> None:
    """Let everybody have so many GPU-seconds a day."""
    limits = {"limits": [{"what": "gpu_seconds", "limit": gpu_seconds, "window": "day"}]}
    admin.put("/hub/api/quotas/default", headers=ADMIN, json=limits).raise_for_status()


def fill(settings: Settings, count: int) -> list[str]:
    """A platform with so many running leases, of `user0`, `user1` and so on; gives the leases' ids."""
    make_folders(settings)
    prepare(settings)
    lease_ids = [uuid.uuid4().hex for _ in range(count)]
    with open_books(settings) as books, books.store.transaction(write=True) as tx:
        now_ms = books.clock.now_ms()
        for number, lease_id in enumerate(lease_ids):
            user = f"user{number}"
            made = lease(
                lease_id,
                user=user,
                account=accounts.user(user),
                requested_at_ms=now_ms,
                started_at_ms=now_ms,
                posted_until_ms=now_ms,
                held_until_ms=now_ms + books.policy.slice_ms,
                deadline=Deadline(now_ms + books.policy.longest_lease_ms, EndReason.LIMIT),
            )
            tx.add_lease(made)
    return lease_ids


@contextmanager
def api_process(settings: Settings) -> Iterator[psutil.Process]:
    """`sublet api`, once it answers."""
    log = settings.data / "api.log"
    with log.open("wb") as output:
        command = [sys.executable, "-m", "sublet_hub.cli", "api"]
        process = subprocess.Popen(
            command, cwd=ROOT, env={"PATH": "/usr/bin:/bin", **as_environment(settings)}, stdout=output, stderr=output
        )

    def answers() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            return httpx.get(f"{settings.api_url}/services/sublet/health").is_success
        except httpx.TransportError:
            return False

    try:
        wait_until(answers, WAIT_SECONDS, "the api answers")
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        assert process.wait(WAIT_SECONDS) == 0, log.read_text()


class _Hub(BaseHTTPRequestHandler):
    """Knows tokens that are their users' names, and the admin's."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        name = self.headers["Authorization"].removeprefix("token ")
        scopes = ["access:services", *(["custom:quotas:write"] if name == "admin" else [])]
        body = json.dumps({"name": name, "groups": [], "scopes": scopes}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def hub_of_names() -> Iterator[int]:
    """Its port. `admin` may write quotas."""
    hub = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    hub.daemon_threads = True
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    try:
        yield hub.server_port
    finally:
        hub.shutdown()
        hub.server_close()

"""The api as a process, on a database in a file."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from sublet_hub.run.first_start import make_folders, prepare
from sublet_hub.settings import Settings, as_environment
from sublet_hub.wiring import open_books
from tests.fixtures.factories import lease

START_SECONDS = 60.0


class _Hub(BaseHTTPRequestHandler):
    """Knows one token, of alice."""

    def do_GET(self) -> None:
        known = self.headers["Authorization"] == "token s3cr3t"
        self.send_response(200 if known else 403)
        self.end_headers()
        self.wfile.write(json.dumps({"name": "alice", "groups": [], "scopes": ["access:services"]}).encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@dataclass
class ApiProcess:
    process: subprocess.Popen[bytes]
    http: httpx.Client
    log: Path
    settings: Settings


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def api_process(tmp_path: Path) -> Iterator[ApiProcess]:
    hub = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    settings = Settings(data=tmp_path / "data", api_port=free_port(), hub_port=hub.server_port)
    make_folders(settings)
    prepare(settings)
    log = tmp_path / "api.log"
    with log.open("wb") as output, httpx.Client(base_url=settings.api_url, timeout=10) as http:
        process = subprocess.Popen(
            [sys.executable, "-m", "sublet_hub.cli", "api"],
            env={"PATH": "/usr/bin:/bin", **as_environment(settings)},
            stdout=output,
            stderr=output,
        )
        try:
            _wait_until_it_answers(process, http, log)
            yield ApiProcess(process, http, log, settings)
        finally:
            process.kill()
            process.wait()
            hub.shutdown()
            hub.server_close()


def _wait_until_it_answers(process: subprocess.Popen[bytes], http: httpx.Client, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            http.get("/services/sublet/health").raise_for_status()
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(f"it does not answer: {log.read_text()}")


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_and_stops_in_order_and_keeps_no_record_of_who_asked(
    api_process: ApiProcess, stop: signal.Signals
) -> None:
    path = "/hub/api/quotas/users/alice"
    assert api_process.http.get(path, headers={"Authorization": "token wrong"}).status_code == 401
    read = api_process.http.get(path, headers={"Authorization": "token s3cr3t"})
    assert read.json()["subject"] == "user:alice"
    assert "sublet_leases" in api_process.http.get("/services/sublet/metrics").text
    api_process.process.send_signal(stop)
    assert api_process.process.wait(START_SECONDS) == 0
    log = api_process.log.read_text()
    assert "Traceback" not in log
    assert [word for word in ("alice", "s3cr3t", "quotas/users") if word in log] == []


def test_it_stops_while_somebody_follows_a_lease(api_process: ApiProcess) -> None:
    with open_books(api_process.settings) as books, books.store.transaction(write=True) as tx:
        tx.add_lease(lease("0" * 32))
    path, alice = f"/services/sublet/api/leases/{'0' * 32}/events", {"Authorization": "token s3cr3t"}
    with api_process.http.stream("GET", path, headers=alice) as stream:
        lines = stream.iter_lines()
        assert next(line for line in lines if line.startswith("event: ")) == "event: lease"
        api_process.process.send_signal(signal.SIGTERM)
        assert [line for line in lines if line.startswith("event: ")] == [], "the stream ends, whole"
    assert api_process.process.wait(START_SECONDS) == 0
    assert "graceful shutdown exceeded" not in api_process.log.read_text()


def test_without_a_data_folder_it_says_what_is_missing(tmp_path: Path) -> None:
    env = {"PATH": "/usr/bin:/bin", "SUBLET_DATA": str(tmp_path / "nothing")}
    command = [sys.executable, "-m", "sublet_hub.cli", "api"]
    ran = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode != 0
    assert "sublet up" in ran.stderr
    assert "Traceback" not in ran.stderr

"""`sublet proxy`: the real proxy as its child, in front of a hub that is told of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import psutil
import pytest

from tests.run.conftest import DEADLINE_SECONDS, free_ports, wait_for

pytestmark = pytest.mark.timeout(300)

Start = Callable[[], "subprocess.Popen[str]"]


class Hub:
    """Answers with the statuses it is given, then with 200, and keeps what it was told."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.told: list[tuple[str, str | None]] = []
        hub = self

        class Answer(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                hub.told.append((self.path, self.headers.get("Authorization")))
                self.send_response(hub.statuses.pop(0) if hub.statuses else 200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub()
    yield hub
    hub.server.shutdown()
    hub.server.server_close()


@pytest.fixture
def env(tmp_path: Path, hub: Hub) -> dict[str, str]:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "proxy_token").write_text("proxy-secret")
    (secrets / "runner_token").write_text("runner-secret")
    port, api_port = free_ports(2)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SUBLET_")}
    return kept | {
        "SUBLET_DATA": str(tmp_path),
        "SUBLET_SECRETS_DIR": str(secrets),
        "SUBLET_PORT": str(port),
        "SUBLET_PROXY_API_PORT": str(api_port),
        "SUBLET_HUB_ADDRESS": f"http://127.0.0.1:{hub.server.server_address[1]}",
    }


@pytest.fixture
def start(env: dict[str, str], tmp_path: Path) -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        with (tmp_path / "output").open("a") as output:
            command = [sys.executable, "-m", "sublet_hub.cli", "proxy"]
            process = subprocess.Popen(command, env=env, stdout=output, stderr=subprocess.STDOUT, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def node_of(process: subprocess.Popen[str]) -> psutil.Process:
    """Its child, once it answers to us."""
    (node,) = psutil.Process(process.pid).children()
    assert Path(node.exe()).name == "node"
    return node


def answers(env: dict[str, str]) -> bool:
    headers = {"Authorization": "token proxy-secret"}
    try:
        url = f"http://127.0.0.1:{env['SUBLET_PROXY_API_PORT']}/api/routes"
        return httpx.get(url, headers=headers, trust_env=False).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def test_it_tells_the_hub_until_the_hub_has_given_its_routes_and_again_after_a_restart(
    start: Start, hub: Hub, env: dict[str, str]
) -> None:
    hub.statuses = [503]
    process = start()
    wait_for(lambda: len(hub.told) == 2, "the hub to be told again, since it could not do it at first")
    assert hub.told == [("/hub/api/proxy", "token runner-secret")] * 2
    wait_for(lambda: answers(env), "the proxy to answer")
    process.terminate()
    process.wait(DEADLINE_SECONDS)
    start()
    wait_for(lambda: len(hub.told) == 3, "the hub to be told of the new one")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_stops_it_stops_the_proxy(start: Start, hub: Hub, env: dict[str, str], number: signal.Signals) -> None:
    process = start()
    wait_for(lambda: answers(env), "the proxy to answer")
    node = node_of(process)
    process.send_signal(number)
    assert process.wait(DEADLINE_SECONDS) == 0
    assert not node.is_running()


def test_it_ends_with_the_proxy_and_says_so(start: Start, hub: Hub, env: dict[str, str], tmp_path: Path) -> None:
    process = start()
    wait_for(lambda: answers(env), "the proxy to answer")
    node_of(process).kill()
    assert process.wait(DEADLINE_SECONDS) == 128 + signal.SIGKILL
    assert "The proxy ended (exit code -9)" in (tmp_path / "output").read_text()


def test_the_proxy_dies_with_it(start: Start, hub: Hub, env: dict[str, str]) -> None:
    process = start()
    wait_for(lambda: answers(env), "the proxy to answer")
    node = node_of(process)
    process.kill()
    process.wait(DEADLINE_SECONDS)
    wait_for(lambda: not node.is_running() or node.status() == psutil.STATUS_ZOMBIE, "the proxy to be dead")


def test_without_its_secrets_it_does_not_start(start: Start, env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "secrets" / "runner_token").unlink()
    assert start().wait(DEADLINE_SECONDS) == 1
    assert "runner_token" in (tmp_path / "output").read_text()

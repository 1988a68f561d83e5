"""The last seconds: what is refused, saved, told to kernels and interrupted, whatever ends the server."""

from __future__ import annotations

import json
import signal
import socket
import stat
import subprocess
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from tests.extension.server.conftest import Start
from tests.extension.server.jupyter import PYTHON, WAIT_SECONDS, Browser, Jupyter, kernel_runs, wait_for
from tests.extension.server.stand_in import LEASE_ID, StandIn, notice, problem

pytestmark = pytest.mark.slow


def socket_of(server: Jupyter, folder: Path) -> Path:
    path: Path = wait_for(lambda: next((folder / "run").glob("sublet-*.sock"), None))
    return path


class KernelSide:
    """A kernel's end of the events' socket."""

    def __init__(self, path: Path, callbacks: int) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(WAIT_SECONDS)
        self._socket.connect(str(path))
        self._lines = self._socket.makefile("rb")
        self.say({"kernel": "k1", "callbacks": callbacks})

    def say(self, document: object) -> None:
        self._socket.sendall(json.dumps(document).encode() + b"\n")

    def hear(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self._lines.readline())
        return document


def saving(server: Jupyter, failed: int = 0) -> Browser:
    """A page that saves at once when it is asked to."""
    browser = Browser(server)
    browser.on_save = lambda save: server.client.post(
        "sublet/saved", json={"id": save["id"], "saved": 2, "failed": failed}
    ).raise_for_status()  # fmt: skip
    browser.state(lambda state: state["connected"])
    return browser


def test_new_kernels_and_terminals_are_refused_with_the_reason(platform: StandIn, start: Start) -> None:
    server = start()
    running = server.client.post("api/kernels").json()["id"]
    server.until(lambda state: state["connected"])
    platform.move_deadline(15)
    state = server.until(lambda state: not state["accepting"])
    assert state["ending"]
    assert "because a quota is used up" in state["refusal"]
    session = {"path": "a.ipynb", "type": "notebook", "name": "a.ipynb", "kernel": {"name": "python3"}}
    for path, body in (("kernels", {}), ("sessions", session), ("terminals", {})):
        answer = server.client.post(f"api/{path}", json=body)
        assert (answer.status_code, answer.json()["message"]) == (409, state["refusal"]), path
    assert [each["id"] for each in server.client.get("api/kernels").json()] == [running]
    attached = server.client.post("api/sessions", json=session | {"kernel": {"id": running}})
    assert attached.status_code == 201


def test_a_deadline_that_moves_out_calls_it_off(platform: StandIn, start: Start) -> None:
    server = start()
    server.until(lambda state: state["connected"])
    platform.move_deadline(15)
    server.until(lambda state: state["ending"])
    platform.move_deadline(3600)
    state = server.until(lambda state: not state["ending"])
    assert state["accepting"]
    assert server.client.post("api/kernels").status_code == 201
    assert server.client.post("api/terminals").status_code == 200


def test_a_kernel_at_work_keeps_a_lease_that_would_end_for_idleness(platform: StandIn, start: Start) -> None:
    server = start()
    server.until(lambda state: state["connected"])
    kernel_runs(server, "import time; time.sleep(60)")
    wait_for(lambda: any(each["execution_state"] == "busy" for each in server.client.get("api/kernels").json()))
    platform.move_deadline(300, "limit")
    server.until(lambda state: state["lease"]["deadline_reason"] == "limit")
    kept = f"/leases/{LEASE_ID}/keep"
    assert not any(path == kept for _, path, _ in platform.asked)
    platform.move_deadline(200, "idle")
    wait_for(lambda: any(path == kept for _, path, _ in platform.asked))


def test_browsers_save_and_kernels_are_told_in_time(platform: StandIn, start: Start, folder: Path) -> None:
    server = start(ending_seconds=4, interrupt_seconds=2)
    browser = saving(server)
    kernel = KernelSide(socket_of(server, folder), 1)
    platform.warn(notice("n1", 300))
    heard = kernel.hear()
    assert (heard["event"], heard["notice"]["id"]) == ("notice", "n1")
    assert heard["deadline_at"] == heard["notice"]["deadline_at"]
    platform.move_deadline(5)
    heard = kernel.hear()
    assert heard == {"event": "ending", "reason": "quota", "until": platform.lease["deadline_at"]}
    save = wait_for(lambda: browser.saves)[0]
    assert save["until"] == platform.lease["deadline_at"]
    assert save["why"] == "This server stops because a quota is used up."
    late = KernelSide(socket_of(server, folder), 0)
    assert late.hear()["event"] == "ending"


def test_the_socket_is_the_users_alone_and_kernels_inherit_it(start: Start, folder: Path) -> None:
    server = start()
    path = socket_of(server, folder)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    kernel_runs(server, "import os; open('seen', 'w').write(os.environ['SUBLET_EVENTS_SOCKET'])")
    wait_for(lambda: (server.home / "seen").exists() and (server.home / "seen").read_text() == str(path))


def test_nonsense_on_the_socket_does_no_harm(platform: StandIn, start: Start, folder: Path) -> None:
    server = start()
    path = socket_of(server, folder)
    for nonsense in (b"{\n", b"[]\n", b'{"callbacks": "many"}\n', b"x" * 100_000):
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(WAIT_SECONDS)
            line.connect(str(path))
            try:
                line.sendall(nonsense)
                assert line.recv(1) == b""
            except (BrokenPipeError, ConnectionResetError):
                pass  # it was closed while this was sent
    kernel = KernelSide(path, 0)
    server.until(lambda state: state["connected"])
    platform.warn(notice("n1", 300))
    assert kernel.hear()["event"] == "notice"


def test_busy_kernels_are_interrupted_before_the_deadline(platform: StandIn, start: Start) -> None:
    server = start(ending_seconds=4, interrupt_seconds=3)
    server.until(lambda state: state["connected"])
    kernel_runs(server, "import time\ntry:\n    time.sleep(600)\nfinally:\n    open('interrupted', 'w').close()")
    wait_for(lambda: server.client.get("api/kernels").json()[0]["execution_state"] == "busy")
    platform.move_deadline(5)
    wait_for((server.home / "interrupted").exists)
    wait_for(lambda: "1 busy kernels are interrupted" in server.log)


def test_a_signal_to_a_lease_that_was_told_to_end_is_for_what_ends_it(
    platform: StandIn, start: Start, folder: Path
) -> None:
    server = start(grace_seconds=120)
    kernel = KernelSide(socket_of(server, folder), 1)
    server.until(lambda state: state["connected"])
    platform.move_deadline(300, "admin", state="ending")
    server.until(lambda state: state["lease"]["state"] == "ending")
    server.process.send_signal(signal.SIGTERM)
    assert kernel.hear()["reason"] == "admin"
    kernel.say({"running": "1"})
    kernel.say({"done": "1", "seconds": 0.1, "error": None})
    assert server.process.wait(WAIT_SECONDS) == 0


def test_sigterm_waits_for_browsers_and_callbacks_and_no_longer(
    platform: StandIn, start: Start, folder: Path
) -> None:
    server = start(grace_seconds=120)
    page = {"type": "file", "format": "text", "content": "edited"}
    browser = saving(server)

    def save(asked: dict[str, Any]) -> None:
        # By a new connection, as a browser's request comes through the proxy: the server still has to listen.
        saved = subprocess.run(
            [PYTHON, "-c", PUT, f"http://{server.url}/api/contents/a.txt", json.dumps(page)], check=False
        )
        failed = int(saved.returncode != 0)
        server.client.post("sublet/saved", json={"id": asked["id"], "saved": 1 - failed, "failed": failed})

    browser.on_save = save
    kernel = KernelSide(socket_of(server, folder), 1)
    # A kernel's first words are heard once the state has been asked for after them.
    server.until(lambda state: state["connected"])
    began = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    assert kernel.hear()["reason"] == "shutdown"
    kernel.say({"running": "1"})
    wait_for((server.home / "a.txt").exists)
    assert server.process.poll() is None
    kernel.say({"done": "1", "seconds": 0.1, "error": None})
    assert server.process.wait(WAIT_SECONDS) == 0
    assert time.monotonic() - began < 90
    assert (server.home / "a.txt").read_text() == "edited"
    assert "are not done" not in server.log


def test_sigterm_does_not_wait_longer_than_its_grace(platform: StandIn, start: Start, folder: Path) -> None:
    server = start({"SUBLET_STOP_GRACE_SECONDS": "2"})
    Browser(server).state(lambda state: state["connected"])
    kernel = KernelSide(socket_of(server, folder), 1)
    server.process.send_signal(signal.SIGTERM)
    assert kernel.hear()["event"] == "ending"
    kernel.say({"running": "1"})
    assert server.process.wait(WAIT_SECONDS) == 0
    assert "1 callbacks are not done, 0 documents and 1 browsers have not saved" in server.log


def test_a_second_sigterm_stops_at_once(platform: StandIn, start: Start, folder: Path) -> None:
    server = start(grace_seconds=500)
    kernel = KernelSide(socket_of(server, folder), 1)
    server.until(lambda state: state["connected"])
    server.process.send_signal(signal.SIGTERM)
    assert kernel.hear()["event"] == "ending"
    server.process.send_signal(signal.SIGTERM)
    wait_for(lambda: "received signal 15" in server.log)


def test_a_users_stop_saves_first(platform: StandIn, start: Start) -> None:
    server = start(stop_seconds=60)
    browser = saving(server)
    assert server.client.post("sublet/stop", json={}).status_code == 200
    assert len(browser.saves) == 1
    assert ("POST", f"/leases/{LEASE_ID}/stop", {}) in platform.asked


def test_a_stop_that_is_refused_lets_the_server_go_on(platform: StandIn, start: Start) -> None:
    server = start(stop_seconds=60)
    server.until(lambda state: state["connected"])
    platform.answers["POST", f"/leases/{LEASE_ID}/stop"] = (403, problem(403, "not-allowed", "No."))
    assert server.client.post("sublet/stop", json={}).status_code == 403
    state = server.state()
    assert (state["ending"], state["accepting"]) == (False, True)


def test_saves_that_nobody_asked_for_are_refused(start: Start) -> None:
    server = start()
    assert server.client.post("sublet/saved", json={"id": "x", "saved": 1, "failed": 0}).status_code == 409
    assert server.client.post("sublet/saved", json={"id": "x", "saved": "1", "failed": 0}).status_code == 400


def test_the_next_server_tells_how_the_last_one_ended(platform: StandIn, start: Start) -> None:
    server = start({"SUBLET_STOP_GRACE_SECONDS": "30"})
    saving(server, failed=1)
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(WAIT_SECONDS) == 0
    platform.others[LEASE_ID] = {**platform.lease, "state": "ended", "end_reason": "reclaim",
                                 "ended_at": "2026-11-23T09:05:00.000Z"}  # fmt: skip
    server = start({"SUBLET_LEASE_ID": "f" * 32})
    state = server.until(lambda state: state["previous"])
    assert state["previous"]["lease"] == platform.others[LEASE_ID]
    assert state["previous"]["sentence"] == (
        "Your last server (h100-2x) ended at 23 Nov 09:05 UTC because the owner of the GPUs took them back."
        " 1 open document could not be saved."
    )
    assert server.client.post("sublet/dismiss", json={}).status_code == 204
    assert server.state()["previous"] is None


def test_a_callback_that_is_cut_off_is_told_of(platform: StandIn, start: Start, folder: Path) -> None:
    server = start(ending_seconds=3, interrupt_seconds=1)
    kernel = KernelSide(socket_of(server, folder), 1)
    server.until(lambda state: state["connected"])
    platform.move_deadline(4)
    assert kernel.hear()["event"] == "ending"
    kernel.say({"running": "1"})
    kept = wait_for(lambda: next(server.home.rglob("lease.json"), None))
    wait_for(lambda: json.loads(kept.read_text())["left"] == {"callbacks": 1, "documents": 0})
    server.process.kill()  # as the platform does after the deadline
    server.process.wait(WAIT_SECONDS)
    platform.others[LEASE_ID] = {**platform.lease, "state": "ended", "end_reason": "quota"}
    server = start({"SUBLET_LEASE_ID": "f" * 32})
    previous = server.until(lambda state: state["previous"])["previous"]
    assert "because a quota was used up." in previous["sentence"]
    assert (
        "A function that was to run before the end (sublet.on_notice) failed, or was cut off" in previous["sentence"]
    )


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGTERM])
def test_a_server_that_starts_anew_in_its_lease_says_nothing(
    platform: StandIn, start: Start, kill: signal.Signals
) -> None:
    server = start()
    server.until(lambda state: state["connected"])
    wait_for(lambda: list(server.home.rglob("lease.json")))
    server.process.send_signal(kill)
    server.process.wait(WAIT_SECONDS)
    server = start()
    server.until(lambda state: state["connected"])
    assert server.state()["previous"] is None


PUT = textwrap.dedent(f"""
    import sys, urllib.request
    headers = {{"Authorization": "token users-token", "Content-Type": "application/json"}}
    request = urllib.request.Request(sys.argv[1], sys.argv[2].encode(), headers, method="PUT")
    urllib.request.urlopen(request, timeout={WAIT_SECONDS})
""")

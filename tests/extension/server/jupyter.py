"""A real Jupyter server with the extension, as a process, and a person's requests to it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

import httpx

ROOT = Path(__file__).parents[3]
PYTHON = ROOT / ".venv-notebook" / "bin" / "python"
WAIT_SECONDS = 60.0
TOKEN = "users-token"

T = TypeVar("T")


def wait_for(what: Callable[[], T | None], seconds: float = WAIT_SECONDS) -> T:
    """Until it gives something; what it gave."""
    until = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < until, f"not within {seconds} s"
        time.sleep(0.02)
    return found


def _fitting(states: list[dict[str, Any]], condition: Callable[[dict[str, Any]], object]) -> dict[str, Any] | None:
    return next((each for each in states if condition(each)), None)


class Served(Protocol):
    """A server that runs somewhere, and requests to it."""

    client: httpx.Client


class Browser:
    """Reads the server's event stream in a thread, as a page does."""

    def __init__(self, server: Served) -> None:
        self.states: list[dict[str, Any]] = []
        self.saves: list[dict[str, Any]] = []
        self.on_save: Callable[[dict[str, Any]], object] = lambda save: None
        self._server = server
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            with self._server.client.stream("GET", "sublet/events", timeout=None) as response:
                name = ""
                for line in response.iter_lines():
                    field, _, value = line.partition(": ")
                    if field == "event":
                        name = value
                    elif field == "data" and name == "state":
                        self.states.append(json.loads(value))
                    elif field == "data":
                        self.saves.append(json.loads(value))
                        self.on_save(self.saves[-1])
        except httpx.HTTPError:
            pass  # the server has ended

    def state(self, condition: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """The newest state, once it fulfils the condition."""
        return wait_for(lambda: _fitting(self.states[-1:], condition))


class Jupyter:
    """A running server."""

    def __init__(self, folder: Path, env: Mapping[str, str], options: tuple[str, ...] = ()) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.home = folder / "home"
        self.home.mkdir(exist_ok=True)
        self.log_file = folder / f"log-{port}"
        # As short as a lease's: the kernels' sockets lie there.
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{port}/", headers={"Authorization": f"token {TOKEN}"}, timeout=60
        )
        self.url = f"127.0.0.1:{port}"
        command = [
            str(PYTHON), "-m", "jupyter_server", "--no-browser", "--allow-root", f"--ServerApp.port={port}",
            "--ServerApp.port_retries=0", "--ServerApp.ip=127.0.0.1", f"--IdentityProvider.token={TOKEN}",
            f"--ServerApp.root_dir={self.home}", "--ServerApp.jpserver_extensions=sublet_server=True",
            "--ServerApp.jpserver_extensions=jupyter_server_terminals=True", *options,
        ]  # fmt: skip
        base = {
            "PATH": f"{PYTHON.parent}:/usr/bin:/bin", "HOME": str(self.home), "LANG": "C.UTF-8", "SHELL": "/bin/sh",
            "JUPYTER_RUNTIME_DIR": str(folder / "run"), "JUPYTER_PREFER_ENV_PATH": "0",
        }  # fmt: skip
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(command, env=base | dict(env), cwd=self.home, stdout=log, stderr=log)
        wait_for(self._answers)

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.log
        try:
            return self.client.get("api/status").status_code == 200
        except httpx.TransportError:
            return False

    @property
    def log(self) -> str:
        return self.log_file.read_text(encoding="utf-8", errors="replace")

    def state(self) -> dict[str, Any]:
        document: dict[str, Any] = self.client.get("sublet/state").json()
        return document

    def until(self, condition: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """The state, once it fulfils the condition."""
        return wait_for(lambda: _fitting([self.state()], condition))

    def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(WAIT_SECONDS)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(30)
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait(10)
        self.client.close()


def kernel_runs(server: Jupyter, code: str) -> str:
    """Start a kernel and have it run code without waiting for its end; gives the kernel's id."""
    kernel: str = server.client.post("api/kernels").json()["id"]
    environment = {"PATH": os.environ["PATH"]}
    script = RUN_CELL.format(url=f"ws://{server.url}/api/kernels/{kernel}/channels?token={TOKEN}", code=code)
    subprocess.run([PYTHON, "-c", script], env=environment, check=True, timeout=WAIT_SECONDS)
    return kernel


RUN_CELL = """
import asyncio, json
from tornado.websocket import websocket_connect
async def main():
    line = await websocket_connect({url!r})
    header = dict(msg_id="1", username="", session="s", msg_type="execute_request", version="5.3")
    content = dict(code={code!r}, silent=False, store_history=False, user_expressions={{}}, allow_stdin=False)
    message = dict(header=header, parent_header={{}}, metadata={{}}, content=content, channel="shell", buffers=[])
    await line.write_message(json.dumps(message))
    while True:
        heard = json.loads(await line.read_message())
        if heard["msg_type"] == "execute_input":
            break
    line.close()
asyncio.run(main())
"""


@contextlib.contextmanager
def jupyter(folder: Path, env: Mapping[str, str], *options: str) -> Iterator[Jupyter]:
    server = Jupyter(folder, env, options)
    try:
        yield server
    finally:
        server.close()

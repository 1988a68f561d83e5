"""A data folder and free ports for a platform, and `up` run as a process of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

STUB = Path(__file__).with_name("stub_up.py")
DEADLINE_SECONDS = 90.0
"""Generous: a busy machine may take long, and nothing here measures time."""
PORT_NAMES = ("PORT", "PROXY_API_PORT", "HUB_PORT", "API_PORT", "METER_PORT", "GATEWAY_PORT")


def wait_for(condition: Callable[[], bool], what: str, every_seconds: float = 0.02) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for: {what}"
        time.sleep(every_seconds)


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on just now, all different."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


class Runner:
    """Starts `up` over stand-ins on one data folder, as often as a test wants."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        ports = zip(PORT_NAMES, free_ports(len(PORT_NAMES)), strict=True)
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("SUBLET_")},
            "SUBLET_DATA": str(self.data),
            **{f"SUBLET_{name}": str(port) for name, port in ports},
        }
        self._started: list[subprocess.Popen[str]] = []

    def port(self, name: str) -> int:
        return int(self.env[f"SUBLET_{name}"])

    def start(self, **env: str) -> subprocess.Popen[str]:
        output = (self.folder / f"up-{len(self._started)}.txt").open("w")
        process = subprocess.Popen(
            [sys.executable, str(STUB)],
            env={**self.env, **env},
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        output.close()
        self._started.append(process)
        return process

    def output(self, number: int = 0) -> str:
        return (self.folder / f"up-{number}.txt").read_text()

    def start_ready(self, **env: str) -> subprocess.Popen[str]:
        process = self.start(**env)
        number = len(self._started) - 1
        wait_for(
            lambda: "Sublet is running at" in self.output(number) or process.poll() is not None,
            "the platform to be up",
        )
        assert process.poll() is None, self.output(number)
        return process

    def events(self) -> list[str]:
        try:
            return (self.data / "events").read_text().splitlines()
        except FileNotFoundError:
            return []

    def pid_of(self, name: str) -> int:
        """The process that a part runs as, by its last start."""
        return int(next(line for line in reversed(self.events()) if line.startswith(f"{name} started")).split()[-1])

    def starts_of(self, name: str) -> int:
        return sum(line.startswith(f"{name} started") for line in self.events())

    def end(self) -> None:
        for process in self._started:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.wait()


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Runner]:
    runner = Runner(tmp_path)
    yield runner
    runner.end()

"""In the place of the notebook server: its Unix socket for kernels, with lines of JSON each way."""

from __future__ import annotations

import json
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

WAIT_SECONDS = 30.0


def soon(seconds: float = 300) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def notice(id: str = "n1", reason: str = "quota", seconds: float = 300, **also: Any) -> dict[str, Any]:  # noqa: A002
    """The event of a notice, as section B's server writes it."""
    of = {
        "id": id,
        "lease_id": "lease-1",
        "user": "alice",
        "reason": reason,
        "message": "GPU time of group:lab is used up in 5 minutes. Save your work.",
        "deadline_at": soon(seconds),
        "written_at": soon(0),
        "withdrawn_at": None,
        "lead_seconds": 300,
        **also,
    }
    return {"event": "notice", "notice": of, "deadline_at": of["deadline_at"]}


def ending(reason: str = "quota", seconds: float = 20) -> dict[str, Any]:
    return {"event": "ending", "reason": reason, "until": soon(seconds)}


class NotebookServer:
    """Takes connections, keeps what they say, and says what it is told to all of them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.heard: list[dict[str, Any]] = []
        self.connections = 0
        self._changed = threading.Condition()
        self._open: list[socket.socket] = []
        self._listener: socket.socket | None = None

    def listen(self) -> None:
        self.path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(self.path))
        self._listener.listen()
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def close(self) -> None:
        """Be gone, as when the server restarts."""
        for each in [*self._open, *([self._listener] if self._listener else [])]:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._open = []
        self.path.unlink(missing_ok=True)

    def say(self, *events: object) -> None:
        for event in events:
            line = event if isinstance(event, bytes) else json.dumps(event).encode() + b"\n"
            for each in self._open:
                each.sendall(line)

    def wait(self, what: Callable[[], bool], told: str) -> None:
        """Until it is so; else the test fails with what was heard."""
        with self._changed:
            assert self._changed.wait_for(what, WAIT_SECONDS), f"{told} did not come; heard {self.heard}"

    def wait_connected(self, times: int = 1) -> None:
        self.wait(lambda: self.connections >= times and "callbacks" in str(self.heard), f"connection {times}")

    def wait_done(self, times: int = 1) -> list[dict[str, Any]]:
        self.wait(lambda: len(self.done) >= times, f"{times} done")
        return self.done

    @property
    def done(self) -> list[dict[str, Any]]:
        return [each for each in self.heard if "done" in each]

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                self._open.append(connection)
                threading.Thread(target=self._read, args=(connection,), daemon=True).start()

    def _read(self, connection: socket.socket) -> None:
        with suppress(OSError), connection.makefile("rb") as lines:
            for number, line in enumerate(lines):
                with self._changed:
                    self.connections += number == 0
                    self.heard.append(json.loads(line))
                    self._changed.notify_all()


@contextmanager
def notebook_server() -> Iterator[NotebookServer]:
    # A socket's path has 107 characters at most; pytest's own folders are longer.
    folder = Path(tempfile.mkdtemp(prefix="sublet-"))
    server = NotebookServer(folder / "events")
    server.listen()
    try:
        yield server
    finally:
        server.close()
        shutil.rmtree(folder)

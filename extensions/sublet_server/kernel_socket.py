"""Telling kernels what is to come, over a Unix socket, and hearing of their callbacks.

A line of JSON each way. To a kernel: `{"event": "notice", "notice": {...}, "deadline_at": "..."}` and `{"event":
"ending", "reason": "...", "until": "..."}`. From it: `{"kernel": "<id>" | null, "callbacks": 2}` first and whenever
the number changes, `{"running": "<n>"}`, `{"done": "<n>", "seconds": 1.2, "error": "<class name>" | null}`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import time
from collections.abc import Callable, Iterable
from logging import Logger
from pathlib import Path
from typing import Any

LONGEST_LINE_BYTES = 4096
MOST_CLIENTS = 128
MOST_UNSENT_BYTES = 256 * 1024
MOST_RUNNING = 1000
OUTPUT_LATE_SECONDS = 2.0
"""What a callback prints may come so much after it is done: kernels gather what is printed."""


class KernelClient:
    """A connection of a kernel, and what its callbacks are at."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.kernel: str | None = None
        self.callbacks = 0
        self.running: set[str] = set()
        self.failed = 0
        self._done = 0
        self._for_earlier: set[str] = set()
        """Those that ran already when the end was told: they are for the notice before it."""
        self._called = (0.0, 0.0)
        """From when until when callbacks ran last, one after another, in seconds since the epoch."""
        self._writer = writer

    @property
    def is_done(self) -> bool:
        """Whether nothing is to be waited for."""
        return not self.running and self._done >= self.callbacks

    def called_at(self, moment: float) -> bool:
        """Whether a callback ran then, or had just done so."""
        begun, done = self._called
        return begun <= moment <= (time.time() if self.running else done) + OUTPUT_LATE_SECONDS

    def count_anew(self) -> None:
        """The end is told now, and each callback is to run for it."""
        self._done = self.failed = 0
        self._for_earlier = set(self.running)

    def tell(self, line: bytes) -> None:
        """Send a line; one who doesn't read is cut off."""
        transport = self._writer.transport
        if transport.get_write_buffer_size() > MOST_UNSENT_BYTES:
            transport.abort()
        elif not transport.is_closing():
            self._writer.write(line)

    def heed(self, message: dict[str, Any]) -> None:
        """Take what the kernel says; ValueError for what makes no sense."""
        if "callbacks" in message:
            self.callbacks = max(0, int(message["callbacks"]))
            self.kernel = None if message.get("kernel") is None else str(message["kernel"])
        elif "running" in message:
            if len(self.running) >= MOST_RUNNING:
                raise ValueError("too many callbacks run at once")
            now = time.time()
            self._called = (self._called[0] if self.called_at(now) else now, now)
            self.running.add(str(message["running"]))
        elif "done" in message:
            name = str(message["done"])
            self.running.discard(name)
            self._called = (self._called[0], time.time())
            if name not in self._for_earlier:
                self._done += 1
                self.failed += message.get("error") is not None


class KernelSocket:
    """The socket, and all who are connected to it."""

    def __init__(
        self, path: Path, current: Callable[[], Iterable[dict[str, Any]]], log: Logger, on_change: Callable[[], None]
    ) -> None:
        """`current`: the notices that stand. A kernel that connects hears them too, and knows them by their ids."""
        self.path = path
        self._current = current
        self._log = log
        self._on_change = on_change
        self._clients: set[KernelClient] = set()
        self._ending: bytes | None = None
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Listen; OSError where that can't be. The socket is the user's alone."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            listener.bind(os.fspath(self.path))
        except OSError:
            listener.close()
            raise
        finally:
            os.umask(before)
        self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=LONGEST_LINE_BYTES)

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)

    def notice(self, notice: dict[str, Any]) -> None:
        """Tell all kernels of a notice."""
        self._tell(_of_notice(notice))

    def ending(self, reason: str, until: str) -> None:
        """Tell all kernels, and those that connect later, that the server is about to stop."""
        for client in self._clients:
            client.count_anew()
        self._ending = _line({"event": "ending", "reason": reason, "until": until})
        self._tell(self._ending)

    def go_on(self) -> None:
        """The server doesn't stop after all."""
        self._ending = None

    @property
    def unfinished(self) -> int:
        """How many kernels' callbacks are not done."""
        return sum(not client.is_done for client in self._clients)

    @property
    def failed(self) -> int:
        return sum(client.failed for client in self._clients)

    def called_at(self, kernel: str, moment: float) -> bool:
        """Whether a callback of that kernel ran then: what it prints is an answer to us, and no work."""
        return any(client.kernel == kernel and client.called_at(moment) for client in self._clients)

    def _tell(self, line: bytes) -> None:
        for client in list(self._clients):
            client.tell(line)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._clients) >= MOST_CLIENTS:
            writer.close()
            return
        client = KernelClient(writer)
        self._clients.add(client)
        for line in [self._ending] if self._ending else map(_of_notice, self._current()):
            client.tell(line)
        try:
            while said := await reader.readline():
                message = json.loads(said)
                if not isinstance(message, dict):
                    raise ValueError("no object")  # noqa: TRY004 — of what is read, not of an argument
                client.heed(message)
                self._on_change()
        except (ValueError, TypeError):
            self._log.warning("Sublet: a kernel said something on the events' socket that is not understood")
        except OSError:
            pass  # it is gone
        finally:
            self._clients.discard(client)
            writer.close()
            self._on_change()


def _of_notice(notice: dict[str, Any]) -> bytes:
    return _line({"event": "notice", "notice": notice, "deadline_at": notice.get("deadline_at")})


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"

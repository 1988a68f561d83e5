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
from collections.abc import Callable
from logging import Logger
from pathlib import Path
from typing import Any

LONGEST_LINE_BYTES = 4096
MOST_CLIENTS = 128
MOST_UNSENT_BYTES = 256 * 1024
MOST_RUNNING = 1000


class KernelClient:
    """A connection of a kernel, and what its callbacks are at."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.callbacks = 0
        self.running: set[str] = set()
        self.has_begun = False
        """Whether a callback began since the ending was told."""
        self.failed = 0
        self._writer = writer

    @property
    def is_done(self) -> bool:
        """Whether nothing is to be waited for."""
        return not self.running and (self.has_begun or self.callbacks == 0)

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
        elif "running" in message:
            if len(self.running) >= MOST_RUNNING:
                raise ValueError("too many callbacks run at once")
            self.has_begun = True
            self.running.add(str(message["running"]))
        elif "done" in message:
            self.running.discard(str(message["done"]))
            self.failed += message.get("error") is not None


class KernelSocket:
    """The socket, and all who are connected to it."""

    def __init__(self, path: Path, log: Logger, on_change: Callable[[], None]) -> None:
        self.path = path
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
        self._tell({"event": "notice", "notice": notice, "deadline_at": notice.get("deadline_at")})

    def ending(self, reason: str, until: str) -> None:
        """Tell all kernels, and those that connect later, that the server is about to stop."""
        for client in self._clients:
            client.has_begun = False
        self._ending = self._tell({"event": "ending", "reason": reason, "until": until})

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

    def _tell(self, message: dict[str, Any]) -> bytes:
        line = json.dumps(message).encode() + b"\n"
        for client in list(self._clients):
            client.tell(line)
        return line

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._clients) >= MOST_CLIENTS:
            writer.close()
            return
        client = KernelClient(writer)
        self._clients.add(client)
        if self._ending is not None:
            client.tell(self._ending)
        try:
            while line := await reader.readline():
                message = json.loads(line)
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

"""One platform per data folder: the second start is told who is there."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class AlreadyRunning(Exception):
    """Another process holds the data folder; the message says which and where it listens."""


@contextmanager
def hold(path: Path, address: str) -> Iterator[None]:
    """Hold the folder's lock while the block runs; AlreadyRunning where another process has it.

    The kernel drops the lock when its holder dies, however it dies: there is no stale lock to clear.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning(_who(path)) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps({"pid": os.getpid(), "address": address}).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _who(path: Path) -> str:
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        who = f"process {holder['pid']}, at {holder['address']}"
        return f"Sublet is already running: {who} (data in {path.parent})."
    except (OSError, ValueError, KeyError, TypeError):  # it has the lock and is about to write who it is
        return f"Sublet is already starting in {path.parent}."

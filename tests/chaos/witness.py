"""Looks from outside at what really ran: when a lease's first process began and when the last was gone."""

from __future__ import annotations

import os
import select
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from sublet_hub.cluster import records
from tests.fixtures.site import wait_until


@dataclass
class Life:
    """Seconds since the epoch, by the kernel's word and our own clock; the platform's record says only which process
    it is."""

    lease_id: str
    pid: int
    began: float
    ended: float | None = None

    @property
    def seconds(self) -> float:
        assert self.ended is not None, f"{self.lease_id} runs"
        return self.ended - self.began


class Witness:
    """Watches leases of one machine, each in a thread that waits for the end of its process."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self.lives: dict[str, Life] = {}

    def watch(self, lease_id: str) -> Life:
        """Begin to watch a lease that runs."""
        started = records.read_record(self._data / "leases" / lease_id).started
        assert started is not None
        # The first process of its PID namespace: the kernel reports its end when all others are gone.
        life = Life(lease_id, started.child_pid, psutil.Process(started.child_pid).create_time())
        handle = os.pidfd_open(started.child_pid)
        threading.Thread(target=self._wait, args=(life, handle), daemon=True).start()
        self.lives[lease_id] = life
        return life

    def _wait(self, life: Life, handle: int) -> None:
        # Not `select.select`: it can't take high file numbers, of which a whole test run has some.
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        poll.poll()
        life.ended = time.time()
        os.close(handle)

    def wait_for_all(self, seconds: float) -> None:
        wait_until(
            lambda: all(life.ended is not None for life in self.lives.values()), seconds, "all leases have ended"
        )


def processes_of(life: Life) -> list[psutil.Process]:
    """All that runs in a lease."""
    first = psutil.Process(life.pid)
    return [first, *first.children(recursive=True)]


def ports_of(life: Life) -> list[int]:
    """Where a lease's processes listen on this machine."""
    found = (connection for each in processes_of(life) for connection in each.net_connections("tcp"))
    return [each.laddr.port for each in found if each.status == psutil.CONN_LISTEN]


def states_of(life: Life) -> set[str]:
    """In what states a lease's processes are, as psutil names them."""
    return {each.status() for each in processes_of(life)}

"""The server's kernels: which are busy, whose process is on a GPU, and interrupting them before the end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from logging import Logger
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from jupyter_core.utils import ensure_async

MOST_ANCESTORS = 64
INTERRUPT_SECONDS = 2.0


CalledAt = Callable[[str, float], bool]
"""Whether a kernel answered a notice then, by its id and seconds since the epoch."""


class Kernels:
    """A view of Jupyter Server's kernel manager."""

    def __init__(self, kernel_manager: Any, log: Logger, called_at: CalledAt = lambda *_: False) -> None:
        self._kernels = kernel_manager
        self._log = log
        self._called_at = called_at
        self._worked: WeakKeyDictionary[Any, datetime] = WeakKeyDictionary()

    def ids(self) -> list[str]:
        return list(self._kernels.list_kernel_ids())

    def busy(self, since: datetime | None = None) -> set[str]:
        """The kernels that are busy now; with `since`, also those that were at some moment since then.

        Jupyter Server notes each message of a kernel at work, so that a cell of a tenth of a second is not missed. Of
        what comes while no cell runs, what a function of `sublet.on_notice` prints is left out: else a notice for
        idleness would itself be work, and take back the end that it tells of.
        """
        return {name for name, kernel in self._all() if self._is_busy(name, kernel, since)}

    def of_processes(self, pids: set[int]) -> dict[int, str]:
        """For each process of a GPU the kernel that it is of: the kernel's own, or a child of it.

        In a namespace of its own a process has another number than the driver tells. So a process counts only if it
        has a device of NVIDIA open; one that isn't found here is in no kernel's name.
        """
        kernels = {pid: name for name, kernel in self._all() if (pid := _pid(kernel)) is not None}
        found = {}
        for pid in pids:
            if kernels and _has_gpu_open(pid):
                name = next((kernels[each] for each in _line_of(pid) if each in kernels), None)
                if name is not None:
                    found[pid] = name
        return found

    async def interrupt_busy(self) -> int:
        """Interrupt the kernels that are busy; gives how many."""
        count = 0
        for name in self.busy():
            try:
                await asyncio.wait_for(ensure_async(self._kernels.interrupt_kernel(name)), INTERRUPT_SECONDS)
                count += 1
            except Exception:  # noqa: BLE001 — a kernel that can't be interrupted must not keep the others from it
                self._log.exception("Sublet: a kernel was not interrupted")
        return count

    def _is_busy(self, name: str, kernel: Any, since: datetime | None) -> bool:
        if getattr(kernel, "execution_state", None) == "busy":
            return True
        last = getattr(kernel, "last_activity", None)
        if since is None or last is None:
            return False
        if kernel not in self._worked:
            self._worked[kernel] = last
            kernel.observe(self._note, "execution_state")
        return self._worked[kernel] >= since or (last >= since and not self._called_at(name, last.timestamp()))

    def _note(self, change: Any) -> None:
        """A cell begins, or is done."""
        self._worked[change["owner"]] = datetime.now(UTC)

    def _all(self) -> Iterator[tuple[str, Any]]:
        for name in self.ids():
            try:
                yield name, self._kernels.get_kernel(name)
            except Exception:  # noqa: BLE001, S112 — gone meanwhile: each manager has an error of its own for it
                continue


def _pid(kernel: Any) -> int | None:
    pid = getattr(getattr(kernel, "provisioner", None), "pid", None)
    return pid if isinstance(pid, int) else None


def _line_of(pid: int) -> Iterator[int]:
    """A process, its parent, and so on."""
    for _ in range(MOST_ANCESTORS):
        if pid <= 1:
            return
        yield pid
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return
        pid = int(stat.rpartition(")")[2].split()[1])


def _has_gpu_open(pid: int) -> bool:
    folder = f"/proc/{pid}/fd"
    try:
        for each in os.listdir(folder):  # noqa: PTH208 — a listing of names, quick where there are thousands
            if _target(f"{folder}/{each}").startswith("/dev/nvidia"):
                return True
    except OSError:
        return False
    return False


def _target(link: str) -> str:
    try:
        return os.readlink(link)  # noqa: PTH115 — the same
    except OSError:
        return ""

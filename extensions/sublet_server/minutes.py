"""One record a minute of what the lease's GPUs and kernels did: counts only, no names and no content."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sublet_server.gpus import GpuSample
from sublet_server.state import Document, LeaseState
from sublet_server.times import moment

if TYPE_CHECKING:
    from sublet_server.kernels import Kernels

MINUTE_SECONDS = 60
LONGEST_GAP_SECONDS = 15.0
"""A minute of which more went unseen (a suspended machine, a server that hung) is not told at all."""


class Minute:
    """A minute that is being counted."""

    def __init__(self, begins: float, *, is_whole: bool) -> None:
        self.begins = begins
        self.is_whole = is_whole
        self._busy: set[str] = set()
        self._kernels = 0
        self._gpus: dict[str, list[GpuSample]] = {}

    def saw_kernels(self, count: int, busy: set[str]) -> None:
        self._kernels = max(self._kernels, count)
        self._busy |= busy

    def saw_gpus(self, samples: tuple[GpuSample, ...]) -> None:
        for each in samples:
            self._gpus.setdefault(each.device, []).append(each)

    def record(self) -> Document:
        """The minute as the API takes it, by its end: the mean of utilisation, and the most memory."""
        return {
            "at": moment(self.begins + MINUTE_SECONDS),
            "seconds": MINUTE_SECONDS,
            "gpus": [_summary(device, samples) for device, samples in self._gpus.items()],
            "kernels": self._kernels,
            "kernels_busy": len(self._busy),
        }


def _summary(device: str, samples: list[GpuSample]) -> dict[str, Any]:
    used = [each.utilisation_percent for each in samples if each.utilisation_percent is not None]
    return {
        "device": device,
        "utilisation_percent": round(sum(used) / len(used)) if used else None,
        "memory_used_bytes": max(each.memory_used_bytes for each in samples),
        "memory_total_bytes": max(each.memory_total_bytes for each in samples),
    }


class Counting:
    """Counts minute by minute, and hands on each that was seen whole. All of it runs in the server's loop."""

    def __init__(
        self, state: LeaseState, kernels: Kernels, seconds: float, on_record: Callable[[Document], None]
    ) -> None:
        self._state = state
        self._kernels = kernels
        self._seconds = seconds
        self._on_record = on_record
        self._minute: Minute | None = None
        self._looked_at = 0.0

    async def run(self) -> None:
        """Look at the kernels every few seconds, and at the turn of each minute."""
        self._minute = None
        while not self._state.is_over:
            now = self._state.clock()
            self._look(now)
            await asyncio.sleep(min(self._seconds, MINUTE_SECONDS - now % MINUTE_SECONDS))

    def heed(self, samples: tuple[GpuSample, ...]) -> None:
        """What the GPUs do now."""
        if self._minute is not None:
            self._minute.saw_gpus(samples)
        gpu = self._present(samples)
        if gpu != self._state.gpu:
            self._state.gpu = gpu
            self._state.changed()

    def _look(self, now: float) -> None:
        begins = now - now % MINUTE_SECONDS
        minute, gap = self._minute, now - self._looked_at
        self._looked_at = now
        if minute is not None and minute.begins == begins:
            minute.is_whole = minute.is_whole and gap <= LONGEST_GAP_SECONDS
            self._see_kernels(minute)
            return
        if minute is not None and minute.is_whole and gap <= LONGEST_GAP_SECONDS:
            self._see_kernels(minute)
            self._finish(minute)
        self._minute = Minute(begins, is_whole=now - begins <= LONGEST_GAP_SECONDS)
        self._see_kernels(self._minute)

    def _finish(self, minute: Minute) -> None:
        record = minute.record()
        self._state.history.append(record)
        self._on_record(record)
        self._state.changed()

    def _see_kernels(self, minute: Minute) -> None:
        minute.saw_kernels(len(self._kernels.ids()), self._kernels.busy(datetime.fromtimestamp(minute.begins, UTC)))

    def _present(self, samples: tuple[GpuSample, ...]) -> Document | None:
        if not samples:
            return None
        owners = self._kernels.of_processes({process.pid for each in samples for process in each.processes})
        return {
            "gpus": [
                {
                    "device": each.device,
                    "utilisation_percent": each.utilisation_percent,
                    "memory_used_bytes": each.memory_used_bytes,
                    "memory_total_bytes": each.memory_total_bytes,
                    "processes": [
                        {"kernel": owners.get(process.pid), "memory_used_bytes": process.memory_used_bytes}
                        for process in each.processes
                    ],
                }
                for each in samples
            ]
        }

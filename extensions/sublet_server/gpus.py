"""What the lease's GPUs do, as NVML tells it. What it doesn't tell is not guessed.

https://docs.nvidia.com/deploy/nvml-api/
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from logging import Logger
from typing import Any

ALL = "all"
AFTER_TROUBLE_SECONDS = 60.0


class NoGpusError(Exception):
    """There is no NVIDIA driver here, or no GPU of the lease is to be seen through it."""


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process on a GPU. Memory is None where the driver doesn't say (as for MIG slices in some versions)."""

    pid: int
    memory_used_bytes: int | None


@dataclass(frozen=True, slots=True)
class GpuSample:
    """One GPU or slice at one moment. A MIG slice has no utilisation of its own: None."""

    device: str
    utilisation_percent: int | None
    memory_used_bytes: int
    memory_total_bytes: int
    processes: tuple[GpuProcess, ...]


class Nvml:
    """NVML, opened for some devices. Its library is loaded here and not before: few leases have a GPU."""

    def __init__(self, names: Sequence[str]) -> None:
        """NoGpusError where there is nothing to sample."""
        try:
            import pynvml
        except ImportError:
            raise NoGpusError("nvidia-ml-py is not installed") from None
        self._nvml: Any = pynvml
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            raise NoGpusError(f"NVML: {error}") from None
        self._handles = self._find(names)
        if not self._handles:
            raise NoGpusError("NVML knows none of this lease's devices")

    def sample(self) -> tuple[GpuSample, ...]:
        """All devices now; one that can't be read is left out."""
        found = (self._sample(name, handle) for name, handle in self._handles.items())
        return tuple(each for each in found if each is not None)

    def _find(self, names: Sequence[str]) -> dict[str, Any]:
        nvml = self._nvml
        if ALL in names:
            names = [str(index) for index in range(nvml.nvmlDeviceGetCount())]
        handles = {}
        for name in names:
            try:
                if name.isdecimal():
                    handle = nvml.nvmlDeviceGetHandleByIndex(int(name))
                    handles[nvml.nvmlDeviceGetUUID(handle)] = handle
                else:
                    handles[name] = nvml.nvmlDeviceGetHandleByUUID(name)
            except nvml.NVMLError:
                continue
        return handles

    def _sample(self, name: str, handle: Any) -> GpuSample | None:
        try:
            memory = self._nvml.nvmlDeviceGetMemoryInfo(handle)
        except self._nvml.NVMLError:
            return None
        return GpuSample(
            device=name,
            utilisation_percent=self._utilisation(handle),
            memory_used_bytes=int(memory.used),
            memory_total_bytes=int(memory.total),
            processes=self._processes(handle),
        )

    def _utilisation(self, handle: Any) -> int | None:
        try:
            return min(100, int(self._nvml.nvmlDeviceGetUtilizationRates(handle).gpu))
        except self._nvml.NVMLError:
            return None

    def _processes(self, handle: Any) -> tuple[GpuProcess, ...]:
        try:
            running = self._nvml.nvmlDeviceGetComputeRunningProcesses(handle)
        except self._nvml.NVMLError:
            return ()
        return tuple(GpuProcess(int(each.pid), each.usedGpuMemory) for each in running)


class Sampler(threading.Thread):
    """Samples in a thread of its own: a driver in trouble may keep a call for long, and the server must not wait.

    A daemon thread, so that such a call doesn't hold up the end of the process either.
    """

    def __init__(
        self, names: Sequence[str], seconds: float, heed: Callable[[tuple[GpuSample, ...]], None], log: Logger
    ) -> None:
        super().__init__(name="sublet-gpus", daemon=True)
        self._names = names
        self._seconds = seconds
        self._heed = heed
        self._log = log
        self._over = threading.Event()

    def run(self) -> None:
        try:
            nvml = Nvml(self._names)
        except NoGpusError as none:
            self._log.info("Sublet: no GPU is sampled: %s", none)
            return
        except Exception:  # noqa: BLE001 — the top of the thread
            self._log.exception("Sublet: no GPU is sampled")
            return
        wait = 0.0
        while not self._over.wait(wait):
            try:
                self._heed(nvml.sample())
                wait = self._seconds
            except Exception:  # noqa: BLE001 — the top of a loop
                if not self._over.is_set():
                    self._log.exception("Sublet: the GPUs were not sampled")
                wait = AFTER_TROUBLE_SECONDS

    def end(self) -> None:
        """Ask it to end; it isn't waited for."""
        self._over.set()

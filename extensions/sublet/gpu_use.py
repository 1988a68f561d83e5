"""How busy the GPUs are while something runs: NVML's own figures, sampled. Where there are none, none are given.

https://docs.nvidia.com/deploy/nvml-api/
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

LIBRARY = "libnvidia-ml.so.1"
SAMPLE_SECONDS = 0.5
"""NVML's figure is itself over the last sixth of a second to second, depending on the GPU."""
OK = 0


class _Utilisation(ctypes.Structure):
    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


@dataclass(slots=True)
class GpuUse:
    """Samples of a while. A sample is the percent of time in which something ran on a GPU."""

    gpus: int = 0
    """How many GPUs gave samples."""
    percents: list[int] = field(default_factory=list)

    @property
    def percent(self) -> int | None:
        """The mean over all GPUs and samples; None where there are none."""
        return round(sum(self.percents) / len(self.percents)) if self.percents else None


@contextmanager
def sampled(env: Mapping[str, str] = os.environ, library: str = LIBRARY) -> Iterator[GpuUse]:
    """Sample the GPUs that are seen here until the block is left."""
    use, over = GpuUse(), threading.Event()
    thread = threading.Thread(target=_sample, args=(use, over, env, library), name="sublet-gpu-use", daemon=True)
    thread.start()
    try:
        yield use
    finally:
        over.set()
        thread.join(SAMPLE_SECONDS * 4)


def _sample(use: GpuUse, over: threading.Event, env: Mapping[str, str], library: str) -> None:
    try:
        nvml = ctypes.CDLL(library)
    except OSError:
        return  # no NVIDIA driver here
    if nvml.nvmlInit_v2() != OK:
        return
    try:
        devices = _devices(nvml, env.get("CUDA_VISIBLE_DEVICES"))
        seen: set[int] = set()
        while not over.wait(SAMPLE_SECONDS):
            for number, device in enumerate(devices):
                rates = _Utilisation()
                # A slice of a GPU has no utilisation of its own: NVML says that it is not supported.
                if nvml.nvmlDeviceGetUtilizationRates(device, ctypes.byref(rates)) == OK:
                    use.percents.append(rates.gpu)
                    seen.add(number)
            use.gpus = len(seen)
    finally:
        nvml.nvmlShutdown()


def _devices(nvml: Any, visible: str | None) -> list[ctypes.c_void_p]:
    """Handles of the devices that CUDA programs see here; all where nothing is said."""
    if visible is None:
        count = ctypes.c_uint()
        nvml.nvmlDeviceGetCount_v2(ctypes.byref(count))
        names = [str(index) for index in range(count.value)]
    else:
        names = [name.strip() for name in visible.split(",") if name.strip()]
    found = []
    for name in names:
        device = ctypes.c_void_p()
        if name.isdecimal():
            status = nvml.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(int(name)), ctypes.byref(device))
        else:
            status = nvml.nvmlDeviceGetHandleByUUID(name.encode(), ctypes.byref(device))
        if status == OK:
            found.append(device)
    return found

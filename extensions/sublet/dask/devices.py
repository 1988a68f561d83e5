"""Which GPUs a server has and how much memory each of them: what Dask-CUDA would otherwise ask of the whole machine.

Dask-CUDA takes the memory of the first GPU of the machine, which a lease need not see, and for a slice of a GPU
that of the whole one. So it is asked here, by NVML, and passed on in bytes. https://docs.nvidia.com/deploy/nvml-api/
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sublet.errors import NotHere

SIMULATED = "SIM-"


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU or a slice of one."""

    name: str
    """What `CUDA_VISIBLE_DEVICES` takes."""
    model: str
    memory_bytes: int | None
    """None where it has no memory of its own, such as on a system on a chip."""


def gpus(env: Mapping[str, str]) -> tuple[Gpu, ...]:
    """The GPUs that CUDA programs see in such an environment; none without a driver, or where they are simulated.
    NotHere where one doesn't answer."""
    visible = env.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and not _names(visible):
        return ()
    try:
        nvml: Any = importlib.import_module("pynvml")
    except ModuleNotFoundError:
        return ()
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return ()  # no NVIDIA driver here
    try:
        if visible is None:
            return tuple(_all(nvml))
        return tuple(_gpu(nvml, name, _handle(nvml, name)) for name in _names(visible))
    except nvml.NVMLError as error:
        raise NotHere(f"The GPUs of this server don't answer ({error}). Stop it and start it again.") from None
    finally:
        nvml.nvmlShutdown()


def simulated(env: Mapping[str, str]) -> bool:
    """Whether the platform only plays that there are GPUs."""
    return env.get("SUBLET_SIMULATED") == "1" or env.get("CUDA_VISIBLE_DEVICES", "").startswith(SIMULATED)


def _names(visible: str) -> list[str]:
    names = [name.strip() for name in visible.split(",")]
    return [name for name in names if name and not name.startswith(SIMULATED)]


def _handle(nvml: Any, name: str) -> Any:
    if name.isdecimal():
        return nvml.nvmlDeviceGetHandleByIndex(int(name))
    return nvml.nvmlDeviceGetHandleByUUID(name.encode())


def _all(nvml: Any) -> Iterator[Gpu]:
    """By UUID, since NVML and CUDA need not count them in the same order."""
    for index in range(nvml.nvmlDeviceGetCount()):
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        for device in _slices(nvml, handle) or [handle]:
            yield _gpu(nvml, _text(nvml.nvmlDeviceGetUUID(device)), device)


def _slices(nvml: Any, handle: Any) -> list[Any]:
    """Those of a GPU that is cut up: it can't be used whole."""
    try:
        if nvml.nvmlDeviceGetMigMode(handle)[0] != nvml.NVML_DEVICE_MIG_ENABLE:
            return []
    except nvml.NVMLError:
        return []  # can't be cut up, or an old driver
    found = []
    for slot in range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        try:
            found.append(nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, slot))
        except nvml.NVMLError_NotFound:
            continue
    return found


def _gpu(nvml: Any, name: str, handle: Any) -> Gpu:
    try:
        memory = int(nvml.nvmlDeviceGetMemoryInfo(handle).total)
    except nvml.NVMLError_NotSupported:
        memory = None
    return Gpu(name, _text(nvml.nvmlDeviceGetName(handle)), memory)


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
